//! What every backend must do alike, on every platform: one source, run on simulated kernels and on real ones.
//!
//! A case opens the device itself, as often as it likes: nobody else may have it open.

mod addresses;
mod all_mappings;
mod dirty;
mod drops;
mod limits;
mod lives;
mod mappings;
mod memory;
mod rights;
mod threads;
mod windows;

use std::sync::Arc;

use anyhow::{Context, Result};
use libtest_mimic::{Completion, Trial};
use pci_device::{Command, ConfigSpace};
use vfio_core::host::{self, Bdf};
use vfio_core::iommu::Domain;
use vfio_core::{Device, Vfio};

use crate::devices::{Driver, Model};

/// The device that a case may use, and the backends that may be chosen.
struct Subject {
    vfio: Arc<Vfio>,
    bdf: Bdf,
}

/// How a case ended that did not fail.
enum Outcome {
    /// What it claims is so.
    Passed,
    /// There is nothing here that it could be about.
    NotHere(&'static str),
}

type Case = fn(&Subject) -> Result<Outcome>;

const CASES: &[(&str, Case)] = &[
    ("an_overlap_is_refused", mappings::overlap),
    ("an_unmap_takes_whole_mappings", mappings::whole),
    ("unmapped_bytes_are_answered", mappings::bytes),
    ("an_empty_range_cannot_be_asked_for", mappings::empty),
    ("memory_that_is_not_there_is_not_mapped", mappings::absent),
    ("the_same_memory_can_be_mapped_twice", mappings::twice),
    ("what_is_misaligned_is_refused", limits::misaligned),
    ("what_is_out_of_reach_is_refused", limits::out_of_reach),
    ("addresses_are_below_the_mask", limits::masks),
    ("mappings_that_are_counted_are_counted", limits::counted),
    ("memory_has_the_rights_that_it_was_given", rights::kept),
    ("dirty_pages_are_told", dirty::told),
    (
        "memory_that_moves_in_the_process_stays_reachable",
        addresses::renewed,
    ),
    ("a_life_ends_with_its_last_device", lives::ends),
    ("a_life_does_not_touch_the_next", lives::apart),
    ("two_handles_have_one_life", lives::shared),
    (
        "the_first_windows_are_back_in_the_next_life",
        windows::come_back,
    ),
    ("drops_in_any_order_release_everything", drops::any_order),
    ("threads_map_and_unmap_at_once", threads::disjoint),
    (
        "of_threads_that_want_one_range_one_gets_it",
        threads::one_winner,
    ),
];

/// What takes long, or much of what there is.
const LONG: &[(&str, Case)] = &[(
    "all_mappings_that_there_are_can_be_made",
    all_mappings::made,
)];

/// Which cases are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that take moments.
    Short,
    /// Those that take long, or much of what there is: every mapping that there can be, each of a page that is locked.
    Long,
}

impl Which {
    fn cases(self) -> &'static [(&'static str, Case)] {
        match self {
            Self::Short => CASES,
            Self::Long => LONG,
        }
    }
}

/// The names of the cases, without a device: to list them.
pub fn names(which: Which) -> Vec<Trial> {
    let cases = which.cases().iter();
    cases
        .map(|(name, _)| Trial::test(*name, || Ok(())))
        .collect()
}

/// The cases for a device, each with `prefix` before its name. One at a time may be run.
pub fn trials(which: Which, prefix: &str, vfio: &Arc<Vfio>, bdf: Bdf) -> Vec<Trial> {
    let trial = |&(name, run): &(&str, Case)| {
        let subject = Subject {
            vfio: Arc::clone(vfio),
            bdf,
        };
        Trial::ignorable_test(format!("{prefix}{name}"), move || {
            let outcome = run(&subject).map_err(|error| format!("{error:#}"))?;
            Ok(match outcome {
                Outcome::Passed => Completion::Completed,
                Outcome::NotHere(why) => Completion::ignored_with(why),
            })
        })
    };
    which.cases().iter().map(trial).collect()
}

impl Subject {
    fn open(&self) -> Result<Device> {
        Ok(self.vfio.open(self.bdf)?)
    }

    /// A driver for the device, started; `None` if there is none.
    fn drive(&self, device: &Device) -> Result<Option<Box<dyn Driver>>> {
        let sysfs = host::device(&**self.vfio.kernel(), self.bdf)?;
        let Some(model) = Model::of(&sysfs) else {
            return Ok(None);
        };
        ConfigSpace::of(device)?.enable(Command::MEMORY | Command::BUS_MASTER)?;
        let mut driver = model.drive(device).context("drive the device")?;
        driver.start().context("start the device")?;
        Ok(Some(driver))
    }
}

/// What a case about mappings needs: some addresses, and the step in which they can be mapped.
fn step(domain: &Domain) -> Result<u64> {
    let low = vfio_core::address::DmaMask::bits(32);
    Ok(domain.alloc(1, low)?.page_size())
}

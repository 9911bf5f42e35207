//! The suites: what is claimed of this machine's VFIO, case by case.
//!
//! A new case is a function, and a line in one of the lists below. They run in the order of the lists.

mod attach;
mod blocked;
mod delivery;
mod dma;
mod eeh;
mod guest_memory;
mod interrupts;
mod kvm;
mod loopback;
mod reset;
mod rig;
mod windows;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Completion, Trial};

use crate::devices::{Driver, Model};

pub use rig::Rig;

/// How a case ended that did not fail.
#[derive(Debug)]
enum Outcome {
    /// What it claims is so.
    Passed,
    /// The device does not have what it is about.
    NotHere(&'static str),
}

/// A claim, and the way to find out.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    run: Run,
}

/// What a case needs.
#[derive(Clone, Copy)]
enum Run {
    /// Any device.
    Attached(fn(&Rig) -> Result<Outcome>),
    /// A device that can be had do something.
    Driven(fn(&Rig, &mut dyn Driver) -> Result<Outcome>),
}

const fn attached(name: &'static str, run: fn(&Rig) -> Result<Outcome>) -> Case {
    let run = Run::Attached(run);
    Case { name, run }
}

const fn driven(name: &'static str, run: fn(&Rig, &mut dyn Driver) -> Result<Outcome>) -> Case {
    let run = Run::Driven(run);
    Case { name, run }
}

/// What can be asked of every device.
const ATTACH: &[Case] = &[
    attached(
        "config_space_names_the_device_that_sysfs_names",
        attach::ids,
    ),
    attached("regions_are_read_as_their_flags_say", attach::regions),
    attached("buffers_are_mapped_and_unmapped", attach::buffers),
    attached("a_second_handle_is_the_same_device", attach::second_handle),
    attached("windows_come_and_go", windows::come_and_go),
    attached("the_host_bridge_has_the_devices_memory", attach::bridge),
    attached("intx_is_fired_by_the_kernel", loopback::intx),
    attached("msi_is_fired_by_the_kernel", loopback::msi),
    attached("msix_is_fired_by_the_kernel", loopback::msix),
    attached("config_space_survives_a_reset", reset::config_space),
    attached("kvm_knows_a_group_until_the_last_of_it", kvm::groups),
    attached("kvm_refuses_what_makes_no_sense", kvm::wrong_arguments),
    attached("kvm_has_memory_slots", kvm::slots),
    attached("kvm_shows_a_guest_what_is_mapped_of_a_bar", kvm::inserted),
    attached("kvm_has_tables", kvm::tables),
    attached("kvm_attaches_tables_to_groups", kvm::attached),
    attached("an_endpoint_is_there_if_the_kernel_says_so", eeh::told),
    attached("an_endpoint_that_works_is_asked", eeh::operations),
    attached("an_endpoint_is_reset", eeh::resets),
    attached("errors_of_an_endpoint_are_made", eeh::errors),
];

/// What can be asked of a device that does something.
const FULL: &[Case] = &[
    driven("the_device_says_who_it_is", dma::identify),
    driven("the_device_reads_memory_at_32_bits", dma::reads_32),
    driven("the_device_writes_memory_at_32_bits", dma::writes_32),
    driven("the_device_reads_memory_at_64_bits", dma::reads_64),
    driven("the_device_writes_memory_at_64_bits", dma::writes_64),
    driven("the_device_raises_intx", interrupts::intx),
    driven("the_device_raises_msi", interrupts::msi),
    driven("the_device_raises_msix", interrupts::msix),
    driven("a_reset_stops_the_device", reset::state),
    driven("a_reset_of_the_endpoint_stops_the_device", eeh::stops),
    driven("an_endpoint_that_froze_is_recovered", eeh::recovered),
    // On POWER hardware a blocked access freezes the device's PE: nothing comes after these.
    driven(
        "read_only_memory_is_read_but_not_written",
        blocked::read_only,
    ),
    driven("unmapped_memory_is_not_written", blocked::unmapped_write),
    driven("unmapped_memory_is_not_read", blocked::unmapped_read),
    driven("kvm_lets_a_guest_map_for_the_device", kvm::maps),
    driven("kvm_takes_a_guests_window_over", kvm::taken_over),
    driven(
        "the_device_reaches_what_the_guest_sees",
        guest_memory::reached,
    ),
    driven(
        "devices_in_two_containers_reach_what_the_guest_sees",
        guest_memory::by_two_containers,
    ),
    driven(
        "devices_in_one_container_reach_what_the_guest_sees",
        guest_memory::by_one_container,
    ),
    driven(
        "what_one_container_refuses_changes_no_other",
        guest_memory::refused,
    ),
    driven(
        "what_the_kernel_refuses_in_one_container_is_undone_in_the_others",
        guest_memory::undone,
    ),
    driven(
        "the_device_reaches_what_the_guest_has_mapped_in_its_own_iommu",
        guest_memory::behind_iommu,
    ),
    driven(
        "the_device_reaches_what_the_guest_has_put_in_its_tces",
        guest_memory::by_tces,
    ),
    driven(
        "huge_pages_are_carried_by_huge_memory_alone",
        guest_memory::huge,
    ),
    driven(
        "the_device_reaches_another_devices_memory",
        guest_memory::peer,
    ),
];

/// The cases of a device with that driver.
fn cases(model: Option<Model>) -> impl Iterator<Item = Case> {
    let full = if model.is_some() { FULL } else { &[] };
    ATTACH.iter().chain(full).copied()
}

/// The cases of a device with that driver, by name, without a device: to list them.
pub fn names(model: Option<Model>) -> Vec<Trial> {
    cases(model)
        .map(|case| Trial::test(case.name, || Ok(())))
        .collect()
}

/// The cases of an open device, each with `prefix` before its name. They are to be run in this order: they share the
/// device, which takes seconds to open on some machines.
pub fn trials(prefix: &str, rig: Rig) -> Vec<Trial> {
    let model = rig.model();
    let bench = Arc::new(Mutex::new(Bench { driver: None, rig }));
    cases(model)
        .map(|case| {
            let bench = Arc::clone(&bench);
            Trial::ignorable_test(format!("{prefix}{}", case.name), move || {
                let mut bench = bench.lock().unwrap_or_else(PoisonError::into_inner);
                bench.run(case).map_err(|error| format!("{error:#}").into())
            })
        })
        .collect()
}

/// What the cases share.
struct Bench {
    /// Made for the first case that needs it: its buffers would be in the way of those before. Goes first.
    driver: Option<Box<dyn Driver>>,
    rig: Rig,
}

impl Bench {
    fn run(&mut self, case: Case) -> Result<Completion> {
        let outcome = match case.run {
            Run::Attached(run) => run(&self.rig),
            Run::Driven(run) => {
                let driver = match &mut self.driver {
                    Some(driver) => driver,
                    none => {
                        let model = self.rig.model().context("there is no driver")?;
                        none.insert(model.drive(&self.rig.device).context("drive the device")?)
                    }
                };
                driver.start().context("start the device")?;
                run(&self.rig, &mut **driver)
            }
        };
        Ok(match outcome? {
            Outcome::Passed => Completion::Completed,
            Outcome::NotHere(why) => Completion::ignored_with(why),
        })
    }
}

/// How cases are run: one after the other, those whose names contain `filter`.
pub fn arguments(filter: Option<&str>) -> Arguments {
    Arguments {
        test_threads: Some(1),
        filter: filter.map(str::to_owned),
        ..Arguments::default()
    }
}

//! Devices in a guest, on real kernels: what a VMM does with [`pci_device`], with a VMM that is written down.
//!
//! What devices that are known must look like is in a table (`zoo.rs`); of any other device what kernel and specification
//! say is asked.

mod bars;
mod config;
mod guest;
mod interrupts;
mod moving;
mod power;
mod vm;
mod zoo;

use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Completion, Trial};
use vfio_core::Vfio;
use vfio_core::host::Bdf;

use guest::Guest;

/// A claim, and the way to find out; what it says is why it could not be asked of this device.
type Case = fn(&Guest) -> Result<Option<&'static str>>;

const CASES: &[(&str, Case)] = &[
    ("the_layout_is_that_of_the_device", bars::layout),
    ("config_space_is_what_sysfs_says", config::as_sysfs),
    ("a_dword_of_config_space_is_one_call_at_most", config::calls),
    ("bars_are_where_the_guest_puts_them", bars::placed),
    (
        "slow_path_and_mapping_reach_the_same_registers",
        bars::registers,
    ),
    ("the_table_is_the_vmms", bars::table),
    ("bars_move_and_are_switched_off", moving::moved),
    ("a_small_bar_is_mapped_where_it_is_alone", moving::small),
    ("the_rom_is_read_when_it_is_asked_for", bars::rom),
    ("kvm_has_what_is_mapped_where_the_guest_put_it", vm::kvm),
    ("a_device_sleeps_and_wakes_up", power::sleeps),
    ("the_line_is_switched_while_it_is_set_up", interrupts::line),
    ("the_guest_resets_its_device", power::resets),
];

/// The cases, by name, without a device: to list them.
pub fn names() -> Vec<Trial> {
    let named = |(name, _): &(&str, Case)| Trial::test(*name, || Ok(()));
    CASES.iter().map(named).collect()
}

/// The cases of a device, each with `prefix` before its name.
///
/// # Errors
/// The device cannot be opened, or given to a guest.
pub fn trials(prefix: &str, vfio: &Arc<Vfio>, bdf: Bdf) -> Result<Vec<Trial>> {
    let guest = Arc::new(Guest::with(vfio, bdf)?);
    let trial = |(name, case): &(&str, Case)| {
        let (guest, case) = (Arc::clone(&guest), *case);
        Trial::ignorable_test(format!("{prefix}{name}"), move || {
            match case(&guest).map_err(|error| format!("{error:#}"))? {
                None => Ok(Completion::Completed),
                Some(why) => Ok(Completion::ignored_with(why)),
            }
        })
    };
    Ok(CASES.iter().map(trial).collect())
}

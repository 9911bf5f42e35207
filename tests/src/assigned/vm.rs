//! A VM of KVM's that follows a guest: what it is told where.

use std::sync::Arc;

use anyhow::{Result, ensure};
use pci_device::vmm::{KvmSlots, MemorySlots as _};
use vfio_core::ErrorKind;
use vfio_core::kvm::{MemorySlots, create_vm};

use super::guest::Guest;

/// What is mapped of a device is put into a VM where the guest has placed it, and taken away; nothing stays.
pub(super) fn kvm(guest: &Guest) -> Result<Option<&'static str>> {
    let kernel = guest.real().kernel();
    let vm = match create_vm(kernel) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Some("this host has no KVM"));
        }
        vm => vm?,
    };
    guest.place(0)?;
    let slices = guest.vmm.slices();
    if slices.is_empty() {
        return Ok(Some("nothing of the device is mapped"));
    }
    // As many as there are slices: one that stays would be missed.
    let count = u32::try_from(slices.len())?;
    let slots = MemorySlots::new(kernel, vm.try_clone()?, 3..3 + count)?;
    let vm = Arc::new(KvmSlots::of(slots));
    for shift in 0..3 {
        guest.place(shift)?;
        let slices = guest.vmm.slices();
        for slice in &slices {
            vm.insert(slice)?;
        }
        let refused = vm.insert(&slices[0]).err().map(|error| error.kind());
        ensure!(refused == Some(ErrorKind::Exhausted), "{refused:?}");
        for slice in &slices {
            vm.remove(slice)?;
        }
        ensure!(vm.remove(&slices[0]).is_err(), "it is there twice");
    }
    guest.expect_no_event()?;
    Ok(None)
}

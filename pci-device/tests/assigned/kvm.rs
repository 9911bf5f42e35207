//! A VM of KVM's: what its guest reads and writes where it has placed a BAR.

use std::os::fd::AsFd;
use std::sync::Arc;

use pci_device::Settings;
use pci_device::vmm::KvmSlots;
use vfio_core::kernel::Kernel;
use vfio_core::kvm::{MemorySlots, create_vm};
use vfio_sim::GuestAccess;
use vfio_sim::machine::Device;

use super::rig::*;

const AT: u64 = 0x80_0000_0000;

#[test]
fn a_guest_reaches_its_bar_where_it_has_placed_it() {
    let mut vm = None;
    let machine = machine(Device::assorted(BDF), 4096).with_kvm();
    let rig = Rig::with_kernel(machine, &Settings::default(), |kernel, vmm| {
        let kernel: &Arc<dyn Kernel> = kernel;
        let fd = create_vm(kernel).unwrap();
        let slots = MemorySlots::new(kernel, fd.try_clone().unwrap(), 8..16).unwrap();
        vmm.slots = vec![Arc::new(KvmSlots::of(slots))];
        vm = Some(fd);
    });
    let vm = vm.unwrap();
    let read = |at: u64| {
        let mut bytes = [0; 4];
        let access = rig.sim.guest_read(vm.as_fd(), at, &mut bytes).unwrap();
        (access == GuestAccess::Done).then_some(bytes)
    };
    rig.place(2, AT, true);
    assert_eq!(read(AT), None);
    rig.set_command(MEMORY);
    rig.write(2, 0x10, &[1, 2, 3, 4]);
    assert_eq!(read(AT + 0x10), Some([1, 2, 3, 4]));
    rig.sim.guest_write(vm.as_fd(), AT + 0x20, &[5; 4]).unwrap();
    assert_eq!(rig.read(2, 0x20), [5; 4]);
    rig.write32(0x18, 0x1000_0000);
    assert_eq!(read(AT + 0x10), None);
    assert_eq!(read(AT + 0x1000_0010), Some([1, 2, 3, 4]));
    rig.set_command(0);
    assert_eq!(read(AT + 0x1000_0010), None);
    rig.set_command(MEMORY);
    drop(rig.device);
    let access = rig
        .sim
        .guest_read(vm.as_fd(), AT + 0x1000_0010, &mut [0; 4]);
    assert_ne!(access.unwrap(), GuestAccess::Done);
}

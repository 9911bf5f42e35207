//! I/O BARs: where a guest finds ports is its platform's matter.

use pci_device::Settings;
use pci_device::vmm::{Call, Event, IoSpace, Space};
use vfio_sim::Machine;
use vfio_sim::machine::Device;

use super::rig::*;

fn rig(io_space: IoSpace) -> Rig {
    let machine = machine(Device::assorted(BDF), 4096);
    let rig = Rig::on(machine, &Settings::default(), |vmm| vmm.io_space = io_space);
    rig.place(1, 0x1000, false);
    rig.set_command(IO);
    rig
}

#[test]
fn ports_on_x86() {
    let rig = rig(IoSpace::Ports);
    let trap = rig.trap(1).unwrap();
    assert_eq!(
        (trap.space, trap.range),
        (Space::Ports, range(0x1000, 0x20))
    );
    rig.write(1, 4, &[5; 2]);
    assert_eq!(rig.count("pread", || assert_eq!(rig.read(1, 4), [5; 2])), 1);
}

#[test]
fn an_aperture_in_memory_elsewhere() {
    let rig = rig(IoSpace::Aperture(0x3eff_0000_0000..0x3eff_0001_0000));
    let trap = rig.trap(1).unwrap();
    let expected = (Space::Memory, range(0x3eff_0000_1000, 0x20));
    assert_eq!((trap.space, trap.range), expected);
    // The I/O enable bit is what counts, not that it is in memory.
    rig.set_command(MEMORY);
    assert_eq!(rig.trap(1), None);
    rig.set_command(IO);
    rig.place(1, 0x1_0000, false); // behind the aperture
    assert_eq!(rig.trap(1), None);
    assert_eq!(rig.read32(0x14), 0x1_0001); // but the register is as the guest wrote it
}

#[test]
fn nowhere_where_there_is_none() {
    let rig = rig(IoSpace::None);
    assert_eq!(rig.trap(1), None);
    assert_eq!(rig.read32(0x14), 0x1001);
    assert_eq!(rig.read(1, 0), [0xff; 4]);
}

/// powernv has no I/O space: VFIO reports no region, the guest sees no BAR, and the VMM is told.
#[test]
fn a_host_without_io_space_has_no_such_bar() {
    use iommu_spapr as _;

    let machine = Machine::powernv9().with_devices([Device::assorted(BDF)]);
    let rig = Rig::on(machine, &Settings::default(), |_| {});
    assert_eq!(rig.told, [Call::Event(Event::Unassigned(1))]);
    rig.write32(0x14, u32::MAX);
    assert_eq!(rig.read32(0x14), 0);
    rig.set_command(IO | MEMORY);
    assert_eq!(rig.trap(1), None);
    assert_eq!(rig.read32(4) & 1, 0); // nor anything to switch on
}

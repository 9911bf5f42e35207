//! C37b, C37c, D57 of sPAPR as machines are described, and the hazards that are told (H1 to H6).

use vfio_core::kernel::{Arg, Errno, Opcode};
use vfio_core::uapi::{
    self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory, SpaprTceCreate, SpaprTceRemove,
};
use vfio_sim::machine::{Device, Group, Hardware, IommuDriver};
use vfio_sim::{Hazard, Machine};

use crate::door::{BOTH, call, ioctl, join, map, open_group};
use crate::memory::Memory;
use crate::rig::Rig;

const PAGE: u64 = 0x1_0000;
/// The page of the default window.
const TCE: u64 = 0x1000;
const HIGH: u64 = 1 << 59;

fn v1(machine: Machine) -> (Rig, Memory) {
    let rig = Rig::new(machine, SPAPR_TCE_IOMMU);
    let enable = ioctl(&rig.sim, &rig.container, uapi::SPAPR_ENABLE, Arg::None);
    assert_eq!(enable, Ok(0));
    let memory = Memory::new(&rig.sim, 2);
    (rig, memory)
}

fn v2(machine: Machine) -> Rig {
    Rig::new(machine, SPAPR_TCE_V2_IOMMU)
}

fn block(rig: &Rig, opcode: Opcode, vaddr: u64, size: u64) -> Result<u32, Errno> {
    let mut block = SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr,
        size,
    };
    call(&rig.sim, &rig.container, opcode, &mut block)
}

/// Where the window starts.
fn create(rig: &Rig, page_shift: u32, window_size: u64, levels: u32) -> Result<u64, Errno> {
    let mut create = SpaprTceCreate {
        argsz: 40,
        page_shift,
        window_size,
        levels,
        ..SpaprTceCreate::default()
    };
    let opcode = uapi::SPAPR_TCE_CREATE;
    call(&rig.sim, &rig.container, opcode, &mut create).map(|_| create.start_addr)
}

#[test]
fn c37b_without_page_sizes_there_is_no_window() {
    let mut machine = Machine::pseries();
    for IommuDriver { hardware, .. } in &mut machine.iommus {
        if let Hardware::Spapr(it) = hardware {
            (it.windows, it.levels, it.page_sizes) = (u32::MAX, 0, 0);
        }
    }
    let (rig, memory) = v1(machine);
    assert_eq!(rig.map(0, &memory), Err(Errno::INVAL));
}

#[test]
fn c37c_d57_a_hypervisors_windows_are_those_of_one_group() {
    let second = Group::new(7, [Device::nvme("0001:00:01.0")]);
    let mut machine = Machine::pseries();
    machine.groups.push(second);
    let rig = v2(machine);
    let group = open_group(&rig.sim, 7).unwrap();
    assert_eq!(create(&rig, 16, 1 << 50, 1), Err(Errno::NODEV));
    assert_eq!(create(&rig, 16, 1 << 30, 1), Err(Errno::NODEV), "for good");
    assert_eq!(rig.sim.hazards(), [Hazard::H5; 2]);
    let joined = join(&rig.sim, &group, &rig.container);
    assert_eq!(joined, Err(Errno::PERM), "the default window is there");
}

#[test]
fn h1_unmapping_past_the_end() {
    const END: u64 = 0x4000_0000;
    let (rig, memory) = v1(Machine::pseries());
    let last = (END - TCE, memory.at(), TCE);
    map(&rig.sim, &rig.container, last, BOTH).unwrap();
    assert_eq!(rig.unmap(END - TCE, 2 * TCE).0, Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H1]);
    assert_eq!(rig.mapped(), []);
}

#[test]
fn h2_mapping_past_the_end() {
    const END: u64 = 0x8000_0000;
    let (rig, memory) = v1(Machine::powernv9());
    let across = (END - TCE, memory.at(), 2 * TCE);
    assert_eq!(map(&rig.sim, &rig.container, across, BOTH), Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H2]);
    assert_eq!(rig.mapped(), [(END - TCE, TCE)]);
}

#[test]
fn h3_unregistering_what_is_mapped() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 1);
    block(&rig, uapi::SPAPR_REGISTER_MEMORY, memory.at(), PAGE).unwrap();
    rig.map(0, &memory).unwrap();
    block(&rig, uapi::SPAPR_UNREGISTER_MEMORY, memory.at(), PAGE).unwrap();
    assert_eq!(rig.sim.hazards(), [Hazard::H3]);
}

#[test]
fn h4_registering_nothing() {
    let rig = v2(Machine::pseries());
    let nothing = block(&rig, uapi::SPAPR_REGISTER_MEMORY, 0, 0);
    assert_eq!(nothing, Err(Errno::NOMEM));
    assert_eq!(rig.sim.hazards(), [Hazard::H4]);
}

#[test]
fn h5_tables_that_cannot_be_made() {
    let rig = v2(Machine::powernv9());
    for (shift, size, levels) in [(16, 1 << 40, 1), (16, 1 << 30, 3), (64, 1 << 30, 1)] {
        assert!(create(&rig, shift, size, levels).is_err());
    }
    assert_eq!(rig.sim.hazards(), [Hazard::H5; 3]);
    assert!(create(&rig, 16, 1 << 30, 9).is_err());
    assert_eq!(rig.sim.hazards().len(), 3, "that was not accounted");
}

#[test]
fn h6_remove_takes_any_address_inside() {
    let rig = v2(Machine::powernv9());
    create(&rig, 16, 8 << 30, 1).unwrap();
    let mut remove = SpaprTceRemove {
        argsz: 16,
        flags: 0,
        start_addr: HIGH + 5,
    };
    let opcode = uapi::SPAPR_TCE_REMOVE;
    let removed = call(&rig.sim, &rig.container, opcode, &mut remove);
    assert_eq!(removed, Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H6]);
    assert_eq!(rig.sim.holdings()[0].windows, [(0, 1 << 31)]);
}

#[test]
fn d54_what_holdings_tell_of_windows() {
    let rig = v2(Machine::powernv9());
    assert_eq!(create(&rig, 16, 8 << 30, 1), Ok(HIGH));
    let windows = [(0, 1 << 31), (HIGH, 8 << 30)];
    assert_eq!(rig.sim.holdings()[0].windows, windows);
}

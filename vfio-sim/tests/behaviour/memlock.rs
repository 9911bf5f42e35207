//! B25, B27, C41 to C43, D49, D50: what is accounted, to whom, and what the limit does.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{
    self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory, SpaprTceCreate, TYPE1V2_IOMMU,
};
use vfio_sim::{Machine, Rights, SimKernel};
use zerocopy::IntoBytes;

use crate::door::{
    BOTH, call, ioctl, join, leave, map, open_container, open_group, set_iommu, unmap,
};
use crate::memory::Memory;
use crate::rig::Rig;

const PAGE: u64 = 4096;

fn limited(machine: Machine, iommu: u32, limit: u64) -> Rig {
    let rig = Rig::new(machine, iommu);
    rig.sim.set_rights(Rights::user(limit));
    rig
}

fn register(
    sim: &SimKernel,
    container: &std::os::fd::OwnedFd,
    memory: &Memory,
) -> Result<u32, Errno> {
    let block = SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr: memory.at(),
        size: memory.len(),
    };
    let arg = Arg::In(block.as_bytes());
    ioctl(sim, container, uapi::SPAPR_REGISTER_MEMORY, arg)
}

#[test]
fn b25_no_page_is_touched_beyond_the_first_that_is_too_many() {
    let rig = limited(Machine::x86_64(), TYPE1V2_IOMMU, 2 * PAGE);
    let memory = Memory::new(&rig.sim, 16 << 10);
    assert_eq!(rig.map(0, &memory), Err(Errno::NOMEM));
    // This host may give out more than a page at once.
    let huge_pages = 1 << 10;
    assert!(memory.present() <= huge_pages, "{}", memory.present());
}

#[test]
fn b27_whoever_maps_is_accounted_whoever_unmaps() {
    let rig = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU);
    let memory = Memory::new(&rig.sim, 2);
    let other = rig.sim.process(Rights::user(PAGE));
    let range = (0, memory.at(), 2 * PAGE);
    assert_eq!(map(&other, &rig.container, range, BOTH), Err(Errno::NOMEM));
    assert_eq!(map(&rig.sim, &rig.container, range, BOTH), Ok(0));
    assert_eq!((rig.sim.locked(), other.locked()), (2 * PAGE, 0));
    assert_eq!(
        unmap(&other, &rig.container, (0, 2 * PAGE), 0),
        (Ok(0), 2 * PAGE)
    );
    assert_eq!((rig.sim.locked(), other.locked()), (0, 0));
}

#[test]
fn b32_a_new_address_takes_the_account_with_it() {
    let rig = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU);
    let memory = Memory::new(&rig.sim, 2);
    let other = rig.sim.process(Rights::user(PAGE));
    let range = (0, memory.at(), 2 * PAGE);
    rig.map(0, &memory).unwrap();
    unmap(
        &rig.sim,
        &rig.container,
        (0, 2 * PAGE),
        uapi::DMA_UNMAP_FLAG_VADDR,
    )
    .0
    .unwrap();
    let renew = || map(&other, &rig.container, range, uapi::DMA_MAP_FLAG_VADDR);
    assert_eq!(renew(), Err(Errno::NOMEM));
    other.set_rights(Rights::user(2 * PAGE));
    assert_eq!(renew(), Ok(0));
    assert_eq!((rig.sim.locked(), other.locked()), (0, 2 * PAGE));
}

#[test]
fn c41_c42_c43_v1_accounts_the_window_and_its_table() {
    for (machine, window, table) in [
        (Machine::pseries(), 1 << 30, 2 << 20),
        (Machine::powernv9(), 2 << 30, 8 << 20),
    ] {
        let rig = limited(machine, SPAPR_TCE_IOMMU, window - 1);
        let enable = || ioctl(&rig.sim, &rig.container, uapi::SPAPR_ENABLE, Arg::None);
        let memory = Memory::new(&rig.sim, 1);
        assert_eq!((enable(), rig.sim.locked()), (Err(Errno::NOMEM), 0));
        rig.sim.set_rights(Rights::user(window));
        assert_eq!((enable(), rig.sim.locked()), (Ok(0), window));
        assert_eq!(
            rig.map(0, &memory),
            Err(Errno::NOMEM),
            "the table is too much"
        );
        rig.sim.set_rights(Rights::user(window + table));
        assert_eq!(
            (rig.map(0, &memory), rig.sim.locked()),
            (Ok(0), window + table)
        );
        ioctl(&rig.sim, &rig.container, uapi::SPAPR_DISABLE, Arg::None).unwrap();
        assert_eq!(rig.sim.locked(), table, "the table stays");
        leave(&rig.sim, &rig.group).unwrap();
        assert_eq!(rig.sim.locked(), 0, "C48");
    }
}

#[test]
fn d49_d54_v2_accounts_blocks_and_tables() {
    let rig = limited(Machine::powernv9(), SPAPR_TCE_V2_IOMMU, 0);
    let memory = Memory::new(&rig.sim, 2);
    assert_eq!(
        register(&rig.sim, &rig.container, &memory),
        Err(Errno::NOMEM)
    );
    rig.sim.set_rights(Rights::user(memory.len()));
    assert_eq!(register(&rig.sim, &rig.container, &memory), Ok(0));
    let mut create = SpaprTceCreate {
        argsz: 40,
        page_shift: 16,
        window_size: 8 << 30,
        levels: 1,
        ..SpaprTceCreate::default()
    };
    let mut ask = || {
        call(
            &rig.sim,
            &rig.container,
            uapi::SPAPR_TCE_CREATE,
            &mut create,
        )
    };
    assert_eq!(ask(), Err(Errno::NOMEM), "the default window");
    rig.sim.set_rights(Rights::user(memory.len() + (8 << 20)));
    assert_eq!(ask(), Err(Errno::NOMEM), "the new one");
    rig.sim.set_rights(Rights::user(memory.len() + (10 << 20)));
    assert_eq!(ask(), Ok(0));
    assert_eq!(rig.sim.locked(), memory.len() + (10 << 20));
    leave(&rig.sim, &rig.group).unwrap();
    assert_eq!(rig.sim.locked(), 0);
}

#[test]
fn d50_two_containers_share_a_block() {
    let first = Rig::new(Machine::powernv9(), SPAPR_TCE_V2_IOMMU);
    let sim = &first.sim;
    let memory = Memory::new(sim, 2);
    let container = open_container(sim);
    let group = open_group(sim, 1).unwrap();
    join(sim, &group, &container).unwrap();
    set_iommu(sim, &container, SPAPR_TCE_V2_IOMMU).unwrap();
    for container in [&first.container, &container] {
        assert_eq!(register(sim, container, &memory), Ok(0));
        assert_eq!(sim.locked(), memory.len(), "counted once");
    }
    leave(sim, &first.group).unwrap();
    assert_eq!(sim.locked(), memory.len(), "the other holds it");
    leave(sim, &group).unwrap();
    assert_eq!(sim.locked(), 0);
}

#[test]
fn d50_another_process_pays_for_itself() {
    let first = Rig::new(Machine::powernv9(), SPAPR_TCE_V2_IOMMU);
    let other = first.sim.process(Rights::user(0));
    let memory = Memory::new(&first.sim, 2);
    register(&first.sim, &first.container, &memory).unwrap();
    let container = open_container(&other);
    let group = open_group(&other, 1).unwrap();
    join(&other, &group, &container).unwrap();
    set_iommu(&other, &container, SPAPR_TCE_V2_IOMMU).unwrap();
    assert_eq!(register(&other, &container, &memory), Err(Errno::NOMEM));
}

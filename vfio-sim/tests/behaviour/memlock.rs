//! B25 to B27, B32, D50: what is accounted, to whom, and what the limit does.

use vfio_core::kernel::{Arg, Errno, Kernel};
use vfio_core::uapi::{self, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory, TYPE1V2_IOMMU};
use vfio_sim::{Machine, Rights, SimKernel};
use zerocopy::IntoBytes;

use crate::door::{BOTH, ioctl, join, map, open_container, open_group, set_iommu, unmap};
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
fn proc_says_what_a_process_has_locked_and_whether_it_may_lock_all() {
    let rig = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU);
    let memory = Memory::new(&rig.sim, 3);
    assert_eq!(rig.map(0, &memory), Ok(0));
    let status = || String::from_utf8(rig.sim.read("/proc/self/status".as_ref()).unwrap()).unwrap();
    assert!(status().contains("VmLck:\t      12 kB\n"), "{}", status());
    assert!(
        status().contains("CapEff:\t0000000000024000\n"),
        "{}",
        status()
    );
    rig.sim.set_rights(Rights::user(0));
    assert!(
        status().contains("CapEff:\t0000000000000000\n"),
        "{}",
        status()
    );
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

//! D49 to D56, P3, H3 to H6: version 2 of sPAPR.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{
    self, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory, SpaprTceCreate, SpaprTceRemove,
};
use vfio_sim::{Hazard, Machine};

use crate::door::{BOTH, call, map};
use crate::memory::Memory;
use crate::rig::Rig;

const PAGE: u64 = 0x1_0000;
const HIGH: u64 = 1 << 59;

fn v2(machine: Machine) -> Rig {
    Rig::new(machine, SPAPR_TCE_V2_IOMMU)
}

fn memory_call(
    rig: &Rig,
    opcode: vfio_core::kernel::Opcode,
    at: u64,
    size: u64,
) -> Result<u32, Errno> {
    let mut block = SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr: at,
        size,
    };
    call(&rig.sim, &rig.container, opcode, &mut block)
}

fn register(rig: &Rig, at: u64, size: u64) -> Result<u32, Errno> {
    memory_call(rig, uapi::SPAPR_REGISTER_MEMORY, at, size)
}

fn unregister(rig: &Rig, at: u64, size: u64) -> Result<u32, Errno> {
    memory_call(rig, uapi::SPAPR_UNREGISTER_MEMORY, at, size)
}

fn create_of(rig: &Rig, mut create: SpaprTceCreate) -> Result<u64, Errno> {
    create.start_addr = 0x77;
    let answer = call(
        &rig.sim,
        &rig.container,
        uapi::SPAPR_TCE_CREATE,
        &mut create,
    );
    if answer.is_err() {
        assert_eq!(create.start_addr, 0x77, "nothing is written back");
    }
    answer.map(|value| {
        assert_eq!(value, 0);
        create.start_addr
    })
}

/// Where the window starts.
fn create(rig: &Rig, page_shift: u32, size: u64, levels: u32) -> Result<u64, Errno> {
    create_of(
        rig,
        SpaprTceCreate {
            argsz: 40,
            page_shift,
            window_size: size,
            levels,
            ..SpaprTceCreate::default()
        },
    )
}

fn remove(rig: &Rig, start_addr: u64) -> Result<u32, Errno> {
    let mut remove = SpaprTceRemove {
        argsz: 16,
        flags: 0,
        start_addr,
    };
    call(
        &rig.sim,
        &rig.container,
        uapi::SPAPR_TCE_REMOVE,
        &mut remove,
    )
}

#[test]
fn d49_register() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 4);
    let at = memory.at();
    let mut short = SpaprRegisterMemory {
        argsz: 23,
        flags: 0,
        vaddr: at,
        size: PAGE,
    };
    let mut ask = |argsz, flags| {
        (short.argsz, short.flags) = (argsz, flags);
        call(
            &rig.sim,
            &rig.container,
            uapi::SPAPR_REGISTER_MEMORY,
            &mut short,
        )
    };
    assert_eq!(
        (ask(23, 0), ask(24, 1)),
        (Err(Errno::INVAL), Err(Errno::INVAL))
    );
    assert_eq!(register(&rig, at + 0x1000, PAGE), Err(Errno::INVAL));
    assert_eq!(register(&rig, at, PAGE + 0x1000), Err(Errno::INVAL));
    assert_eq!(
        register(&rig, 0u64.wrapping_sub(PAGE), PAGE),
        Err(Errno::INVAL),
        "wraps"
    );
    assert_eq!(register(&rig, at, 2 * PAGE), Ok(0));
    assert_eq!(register(&rig, at, 2 * PAGE), Err(Errno::BUSY));
    assert_eq!(register(&rig, at, PAGE), Err(Errno::INVAL), "a part");
    assert_eq!(
        register(&rig, at + PAGE, 2 * PAGE),
        Err(Errno::INVAL),
        "overlaps"
    );
    assert_eq!(register(&rig, 0, PAGE), Err(Errno::FAULT));
    memory.freeze(0x2_0000..0x3_0000);
    assert_eq!(
        register(&rig, at + 2 * PAGE, PAGE),
        Err(Errno::FAULT),
        "read-only"
    );
    assert_eq!(rig.sim.holdings()[0].registered, [(at, 2 * PAGE)]);
}

#[test]
fn d49_what_is_not_there_is_found_before_an_overlap() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 4);
    register(&rig, memory.at(), PAGE).unwrap();
    memory.lose(0..0x4_0000);
    assert_eq!(register(&rig, memory.at(), 2 * PAGE), Err(Errno::FAULT));
}

#[test]
fn p3_memory_that_is_there_in_part() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 4);
    memory.lose(0x3_0000..0x4_0000);
    assert_eq!(register(&rig, memory.at(), 4 * PAGE), Ok(3));
    assert_eq!(rig.sim.holdings()[0].registered, []);
    assert_eq!(
        (rig.sim.locked(), rig.map(0, &memory)),
        (0, Err(Errno::PERM))
    );
}

#[test]
fn h4_registering_nothing() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 1);
    assert_eq!(register(&rig, memory.at(), 0), Err(Errno::NOMEM));
    assert_eq!(rig.sim.hazards(), [Hazard::H4]);
}

#[test]
fn d49b_no_page_is_larger_than_the_hosts() {
    let rig = v2(Machine::powernv9());
    let memory = Memory::new(&rig.sim, 64); // 2 MiB and its alignment are in there
    let at = memory.at().next_multiple_of(2 << 20);
    register(&rig, at, 2 << 20).unwrap();
    let start = create(&rig, 21, 1 << 30, 1).unwrap();
    let range = (start, at, 2 << 20);
    assert_eq!(
        map(&rig.sim, &rig.container, range, BOTH),
        Err(Errno::INVAL)
    );
}

#[test]
fn d51_unregister() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 4);
    let at = memory.at();
    assert_eq!(
        unregister(&rig, at, PAGE),
        Err(Errno::PERM),
        "before anybody owns it"
    );
    register(&rig, at, 2 * PAGE).unwrap();
    assert_eq!(unregister(&rig, at, PAGE), Err(Errno::NOENT));
    assert_eq!(unregister(&rig, at + 1, PAGE), Err(Errno::INVAL));
    assert_eq!(
        unregister(&rig, 0u64.wrapping_sub(PAGE), PAGE),
        Err(Errno::NOENT),
        "wraps"
    );
    assert_eq!(unregister(&rig, at, 2 * PAGE), Ok(0));
    assert_eq!(unregister(&rig, at, 2 * PAGE), Err(Errno::NOENT), "twice");
    assert_eq!(rig.sim.locked(), 0);
    assert_eq!(rig.map(0, &memory), Err(Errno::INVAL), "it stays enabled");
}

#[test]
fn d51_whoever_creates_owns_it_too() {
    let rig = v2(Machine::pseries());
    assert_eq!(create(&rig, 16, 1 << 30, 1), Ok(HIGH));
    assert_eq!(unregister(&rig, 0, PAGE), Err(Errno::NOENT));
}

#[test]
fn h3_unregistering_what_is_mapped() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 1);
    register(&rig, memory.at(), PAGE).unwrap();
    rig.map(0, &memory).unwrap();
    let locked = rig.sim.locked();
    assert_eq!(unregister(&rig, memory.at(), PAGE), Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H3]);
    assert_eq!(rig.sim.locked(), locked, "it stays accounted");
    assert_eq!(rig.map(PAGE, &memory), Ok(0), "and can be mapped");
    assert_eq!(unregister(&rig, memory.at(), PAGE), Err(Errno::NOENT));
    assert_eq!(rig.unmap(0, 2 * PAGE).0, Ok(0));
    assert_eq!(rig.sim.locked(), locked, "for good");
}

#[test]
fn d52_memory_must_be_registered_in_one_piece() {
    let rig = v2(Machine::pseries());
    let memory = Memory::new(&rig.sim, 4);
    register(&rig, memory.at(), PAGE).unwrap();
    register(&rig, memory.at() + PAGE, PAGE).unwrap();
    let ask = |at, size| map(&rig.sim, &rig.container, (0, at, size), BOTH);
    assert_eq!(ask(memory.at() + 2 * PAGE, PAGE), Err(Errno::INVAL));
    assert_eq!(
        ask(memory.at(), 4 * PAGE),
        Err(Errno::INVAL),
        "half of it is not"
    );
    assert_eq!(rig.mapped(), [], "what was set is cleared");
    assert_eq!(
        ask(memory.at(), 2 * PAGE),
        Ok(0),
        "two registrations, one page at a time"
    );
}

#[test]
fn d54_powernv_looks_in_this_order() {
    let rig = v2(Machine::powernv9());
    let bad = SpaprTceCreate {
        argsz: 40,
        page_shift: 3,
        ..SpaprTceCreate::default()
    };
    assert_eq!(
        create_of(&rig, SpaprTceCreate { argsz: 39, ..bad }),
        Err(Errno::INVAL)
    );
    assert_eq!(
        create_of(&rig, SpaprTceCreate { flags: 1, ..bad }),
        Err(Errno::INVAL)
    );
    assert_eq!(
        rig.sim.holdings()[0].windows,
        [],
        "not even the default window"
    );
    assert_eq!(create_of(&rig, bad), Err(Errno::INVAL), "the page size");
    assert_eq!(
        rig.sim.holdings()[0].windows,
        [(0, 1 << 31)],
        "made first (C43)"
    );
    for (size, levels) in [(1 << 30, 0), (1 << 30, 6), (3 << 29, 1), (0, 1)] {
        assert_eq!(
            create(&rig, 16, size, levels),
            Err(Errno::INVAL),
            "{size:#x} {levels}"
        );
    }
    assert_eq!(rig.sim.hazards(), [], "none of these was accounted");
    assert_eq!(create(&rig, 16, 8 << 30, 2), Ok(HIGH));
    assert_eq!(
        create_of(&rig, bad),
        Err(Errno::NOSPC),
        "before any argument"
    );
}

#[test]
fn d54_h5_powernv_accounts_tables_that_it_cannot_make() {
    let rig = v2(Machine::powernv9());
    let least = {
        create(&rig, 16, 1 << 30, 1).unwrap();
        remove(&rig, HIGH).unwrap();
        rig.sim.locked()
    };
    assert_eq!(
        create(&rig, 16, 1 << 40, 1),
        Err(Errno::NOMEM),
        "no memory in such a piece"
    );
    assert_eq!(
        create(&rig, 16, 1 << 30, 3),
        Err(Errno::INVAL),
        "too many address bits"
    );
    assert_eq!(
        create(&rig, 64, 1 << 30, 1),
        Err(Errno::INVAL),
        "a shift of 64"
    );
    assert_eq!(rig.sim.hazards(), [Hazard::H5; 3]);
    assert!(rig.sim.locked() > least, "not given back");
}

#[test]
fn d54_pseries() {
    let rig = v2(Machine::pseries());
    assert_eq!(
        create(&rig, 16, 3 << 29, 1),
        Err(Errno::INVAL),
        "no power of two"
    );
    assert_eq!(
        create(&rig, 16, 1 << 63, 1),
        Err(Errno::INVAL),
        "more than the firmware has"
    );
    assert_eq!(
        create(&rig, 16, 1 << 30, 2),
        Err(Errno::INVAL),
        "two levels"
    );
    assert_eq!(create(&rig, 16, 1 << 30, 0), Ok(HIGH), "none at all");
    assert_eq!(create(&rig, 16, 1 << 30, 1), Err(Errno::NOSPC));
    assert_eq!(remove(&rig, 0), Ok(0));
    assert_eq!(
        create(&rig, 16, 1 << 30, 1),
        Err(Errno::PERM),
        "a second 64-bit window"
    );
}

#[test]
fn d55_a_large_window_at_0() {
    let rig = v2(Machine::powernv9());
    assert_eq!(remove(&rig, 0), Ok(0));
    assert_eq!(rig.sim.locked(), 0, "it was not made yet");
    assert_eq!(create(&rig, 16, 8 << 30, 1), Ok(0));
    assert_eq!(rig.sim.holdings()[0].windows, [(0, 8 << 30)]);
    assert_eq!(create(&rig, 16, 8 << 30, 1), Ok(HIGH));

    let pseries = v2(Machine::pseries());
    assert_eq!(remove(&pseries, 0), Ok(0));
    assert_eq!(
        create(&pseries, 16, 8 << 30, 1),
        Ok(HIGH),
        "where the firmware wants it"
    );
}

#[test]
fn d56_remove() {
    let rig = v2(Machine::powernv9());
    let memory = Memory::new(&rig.sim, 2);
    register(&rig, memory.at(), 2 * PAGE).unwrap();
    let registered = rig.sim.locked();
    assert_eq!(remove(&rig, HIGH), Err(Errno::INVAL));
    assert_eq!(rig.map(0, &memory), Ok(0));
    assert_eq!(create(&rig, 16, 8 << 30, 1), Ok(HIGH));
    assert_eq!(rig.map(HIGH, &memory), Ok(0));
    assert_eq!(remove(&rig, HIGH), Ok(0), "with what is mapped");
    assert_eq!(rig.mapped(), [(0, 2 * PAGE)]);
    assert_eq!(remove(&rig, HIGH), Err(Errno::INVAL), "twice");
    assert_eq!(remove(&rig, 0), Ok(0));
    assert_eq!(rig.sim.locked(), registered, "the tables are given back");
    assert_eq!(unregister(&rig, memory.at(), 2 * PAGE), Ok(0));
    assert_eq!((rig.sim.locked(), rig.sim.hazards()), (0, vec![]));
}

#[test]
fn h6_remove_takes_any_address_inside() {
    let rig = v2(Machine::powernv9());
    create(&rig, 16, 8 << 30, 1).unwrap();
    assert_eq!(remove(&rig, HIGH + 5), Ok(0));
    assert_eq!(rig.sim.hazards(), [Hazard::H6]);
    assert_eq!(rig.sim.holdings()[0].windows, [(0, 1 << 31)]);
}

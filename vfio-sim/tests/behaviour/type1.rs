//! B18 to B33, B35.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{
    self, DmaMap, DmaUnmap, IommuType1Info, TYPE1_IOMMU, TYPE1V2_IOMMU, UNMAP_ALL, UPDATE_VADDR,
};
use vfio_sim::machine::{Hardware, IommuDriver, Type1};
use vfio_sim::{Machine, SimKernel};
use zerocopy::IntoBytes;

use crate::door::{
    BOTH, READ, WRITE, call, extension, ioctl, join, joined_group, leave, map, open_container,
    open_group, set_iommu, unmap,
};
use crate::memory::Memory;
use crate::rig::Rig;

const PAGE: u64 = 4096;
const VADDR: u32 = uapi::DMA_MAP_FLAG_VADDR;
const FORGET: u32 = uapi::DMA_UNMAP_FLAG_VADDR;
const ALL: u32 = uapi::DMA_UNMAP_FLAG_ALL;
const INVALID: (Result<u32, Errno>, u64) = (Err(Errno::INVAL), 0);

fn rig() -> (Rig, Memory) {
    rig_of(TYPE1V2_IOMMU)
}

fn rig_of(iommu: u32) -> (Rig, Memory) {
    let rig = Rig::new(Machine::x86_64(), iommu);
    let memory = Memory::new(&rig.sim, 8);
    (rig, memory)
}

fn with(change: impl Fn(&mut Type1)) -> Machine {
    let mut machine = Machine::x86_64();
    for IommuDriver { hardware, .. } in &mut machine.iommus {
        if let Hardware::Type1(type1) = hardware {
            change(type1);
        }
    }
    machine
}

/// The answer, and the size that was in it before: what is not written back stays.
fn untouched(size: u64) -> (Result<u32, Errno>, u64) {
    (Err(Errno::INVAL), size)
}

#[test]
fn b18_extensions() {
    let sim = SimKernel::new(Machine::x86_64());
    let container = open_container(&sim);
    let advertised = || -> Vec<u32> {
        (0..20)
            .filter(|n| extension(&sim, &container, *n) > 0)
            .collect()
    };
    let always = [TYPE1_IOMMU, TYPE1V2_IOMMU, 6, UNMAP_ALL];
    assert_eq!(advertised(), always);
    let _group = joined_group(&sim, &container, 2);
    set_iommu(&sim, &container, TYPE1V2_IOMMU).unwrap();
    assert_eq!(advertised(), [&always[..], &[UPDATE_VADDR]].concat());
}

#[test]
fn b19_interrupts_must_be_remapped() {
    let sim = SimKernel::new(with(|type1| type1.remaps_interrupts = false));
    let container = open_container(&sim);
    let _group = joined_group(&sim, &container, 2);
    assert_eq!(set_iommu(&sim, &container, TYPE1V2_IOMMU), Err(Errno::PERM));
}

#[test]
fn b19_h7_no_group_joins_while_an_address_is_forgotten() {
    let (rig, memory) = rig();
    rig.map(0, &memory).unwrap();
    let second = open_group(&rig.sim, 3).unwrap();
    unmap(&rig.sim, &rig.container, (0, memory.len()), FORGET)
        .0
        .unwrap();
    assert_eq!(join(&rig.sim, &second, &rig.container), Err(Errno::BUSY));
    map(
        &rig.sim,
        &rig.container,
        (0, memory.at(), memory.len()),
        VADDR,
    )
    .unwrap();
    assert_eq!(join(&rig.sim, &second, &rig.container), Ok(0));
}

#[test]
fn b20_argsz_flags_and_pointer() {
    let (rig, memory) = rig();
    let good = DmaMap {
        argsz: 32,
        flags: BOTH,
        vaddr: memory.at(),
        iova: 0,
        size: PAGE,
    };
    let ask = |mut map: DmaMap| call(&rig.sim, &rig.container, uapi::IOMMU_MAP_DMA, &mut map);
    assert_eq!(ask(DmaMap { argsz: 31, ..good }), Err(Errno::INVAL));
    assert_eq!(
        ask(DmaMap {
            flags: 8 | BOTH,
            ..good
        }),
        Err(Errno::INVAL)
    );
    let short = &good.as_bytes()[..31];
    let answer = ioctl(
        &rig.sim,
        &rig.container,
        uapi::IOMMU_MAP_DMA,
        Arg::In(short),
    );
    assert_eq!(answer, Err(Errno::FAULT));
    assert_eq!(ask(good), Ok(0));

    let good = DmaUnmap {
        argsz: 24,
        flags: 0,
        iova: 0,
        size: PAGE,
    };
    let ask =
        |mut unmap: DmaUnmap| call(&rig.sim, &rig.container, uapi::IOMMU_UNMAP_DMA, &mut unmap);
    assert_eq!(ask(DmaUnmap { argsz: 23, ..good }), Err(Errno::INVAL));
    assert_eq!(ask(DmaUnmap { flags: 8, ..good }), Err(Errno::INVAL));
    assert_eq!(ask(good), Ok(0));
}

#[test]
fn b21_what_makes_no_mapping() {
    let (rig, memory) = rig();
    let at = memory.at();
    let ask = |range, flags| map(&rig.sim, &rig.container, range, flags);
    let last = u64::MAX - PAGE + 1;
    for (range, flags, why) in [
        ((0, at, PAGE), 0, "no right"),
        ((0, at, PAGE), VADDR | READ, "a new address with rights"),
        ((0, at, 0), BOTH, "nothing"),
        ((1, at, PAGE), BOTH, "IOVA"),
        ((0, at + 1, PAGE), BOTH, "address"),
        ((0, at, PAGE + 1), BOTH, "size"),
        ((last, at, 2 * PAGE), BOTH, "the IOVA wraps"),
        ((0, last, 2 * PAGE), BOTH, "the address wraps"),
    ] {
        assert_eq!(ask(range, flags), Err(Errno::INVAL), "{why}");
    }
    assert_eq!(rig.mapped(), []);
    assert_eq!(ask((0, at, PAGE), READ), Ok(0));
    assert_eq!(ask((PAGE, at, PAGE), WRITE), Ok(0));
}

#[test]
fn b22_b23_b24_in_this_order() {
    let rig = Rig::new(with(|type1| type1.entry_limit = 1), TYPE1V2_IOMMU);
    let memory = Memory::new(&rig.sim, 2);
    let outside = 0xfee0_0000;
    let at = |iova, size| map(&rig.sim, &rig.container, (iova, memory.at(), size), BOTH);
    assert_eq!(at(outside, PAGE), Err(Errno::INVAL), "a hole");
    assert_eq!(
        at(outside - PAGE, 2 * PAGE),
        Err(Errno::INVAL),
        "into a hole"
    );
    assert_eq!(at(1 << 48, PAGE), Err(Errno::INVAL), "above");
    assert_eq!(
        at(outside - PAGE, PAGE),
        Ok(0),
        "none of these took the entry"
    );
    assert_eq!(at(outside - PAGE, 2 * PAGE), Err(Errno::EXIST));
    assert_eq!(at(outside, PAGE), Err(Errno::NOSPC));
    assert_eq!(rig.unmap(outside - PAGE, PAGE), (Ok(0), PAGE));
    assert_eq!(at(0, PAGE), Ok(0), "the entry came back");
}

#[test]
fn b23_b26_a_map_that_fails_takes_no_entry() {
    let (rig, memory) = rig();
    memory.lose(0x1000..0x2000);
    assert_eq!(rig.map(0, &memory), Err(Errno::FAULT));
    assert_eq!(info(&rig, 120).entries, 65535);
    memory.freeze(0x2000..0x8000);
    let frozen = (0, memory.at() + 0x2000, PAGE);
    assert_eq!(
        map(&rig.sim, &rig.container, frozen, WRITE),
        Err(Errno::FAULT)
    );
    assert_eq!(map(&rig.sim, &rig.container, frozen, READ), Ok(0));
    assert_eq!(info(&rig, 120).entries, 65534);
}

#[test]
fn b28_v2_cuts_nothing() {
    let (rig, memory) = rig();
    let two = 2 * PAGE;
    let put = |iova| map(&rig.sim, &rig.container, (iova, memory.at(), two), BOTH).unwrap();
    put(0x2000);
    put(0x6000);
    assert_eq!(rig.unmap(0x3000, PAGE), untouched(PAGE), "begins inside");
    assert_eq!(rig.unmap(0x2000, PAGE), untouched(PAGE), "ends inside");
    assert_eq!(
        rig.unmap(0x3000, 0x5000),
        untouched(0x5000),
        "begins inside, and covers another"
    );
    assert_eq!(rig.unmap(0x4000, two), (Ok(0), 0), "nothing there");
    assert_eq!(rig.unmap(0, 0x10000), (Ok(0), 2 * two), "with holes");
    assert_eq!(rig.mapped(), []);
}

#[test]
fn b29_v1_takes_whole_what_begins_inside() {
    let (rig, memory) = rig_of(TYPE1_IOMMU);
    let two = 2 * PAGE;
    let put = |iova| map(&rig.sim, &rig.container, (iova, memory.at(), two), BOTH).unwrap();
    put(0x2000);
    put(0x4000);
    assert_eq!(rig.unmap(0x3000, PAGE), (Ok(0), 0), "not the first byte");
    assert_eq!(
        rig.unmap(0x3000, 0x3000),
        (Ok(0), 0),
        "stops where it would cut"
    );
    assert_eq!(rig.mapped(), [(0x2000, two), (0x4000, two)]);
    assert_eq!(rig.unmap(0x1000, two), (Ok(0), two), "the first byte");
    assert_eq!(rig.unmap(0, 0x5000), (Ok(0), two), "what lies beyond");
    assert_eq!(rig.mapped(), []);
}

#[test]
fn b30_the_size_is_written_back_on_success_alone() {
    let (rig, memory) = rig();
    map(&rig.sim, &rig.container, (0, memory.at(), PAGE), BOTH).unwrap();
    assert_eq!(rig.unmap(0, 0), INVALID);
    assert_eq!(rig.unmap(1, PAGE), untouched(PAGE));
    assert_eq!(rig.unmap(0, PAGE + 1), untouched(PAGE + 1));
    let wraps = u64::MAX - PAGE + 1;
    assert_eq!(rig.unmap(2 * PAGE, wraps), untouched(wraps));
    assert_eq!(rig.unmap(0, 16 * PAGE), (Ok(0), PAGE));
}

#[test]
fn b31_all_answers_the_sum() {
    let (rig, memory) = rig();
    for iova in [0, 0x10000, 1 << 40] {
        rig.map(iova, &memory).unwrap();
    }
    let all = |range, flags| unmap(&rig.sim, &rig.container, range, flags);
    let dirty = uapi::DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
    assert_eq!(all((0, PAGE), ALL), untouched(PAGE));
    assert_eq!(all((PAGE, 0), ALL), INVALID);
    assert_eq!(all((0, 0), ALL | dirty), INVALID);
    assert_eq!(all((0, 0), ALL), (Ok(0), 3 * memory.len()));
    assert_eq!(all((0, 0), ALL), (Ok(0), 0));
}

#[test]
fn b32_an_address_is_forgotten_and_given_anew() {
    let (rig, memory) = rig();
    let other = Memory::new(&rig.sim, 8);
    let ask = |iova, memory: &Memory, size| {
        map(&rig.sim, &rig.container, (iova, memory.at(), size), VADDR)
    };
    let forget = |iova, size| unmap(&rig.sim, &rig.container, (iova, size), FORGET);
    let len = memory.len();
    rig.map(0, &memory).unwrap();
    rig.map(len, &memory).unwrap();
    assert_eq!(ask(0x100_0000, &other, PAGE), Err(Errno::NOENT));
    assert_eq!(ask(0, &other, len), Err(Errno::INVAL), "it is valid");
    assert_eq!(forget(len, len), (Ok(0), len));
    assert_eq!(forget(0, 2 * len), untouched(2 * len), "one was forgotten");
    assert_eq!(ask(0, &other, len), Err(Errno::INVAL), "nothing changed");
    assert_eq!(ask(len, &other, PAGE), Err(Errno::INVAL), "not all of it");
    assert_eq!(ask(len, &other, len), Ok(0));
    assert_eq!(rig.mapped(), [(0, len), (len, len)]);
    let reached = || rig.sim.mappings()[1].vaddr;
    assert_eq!(
        reached(),
        memory.at(),
        "the pages stay those that were pinned"
    );
    memory.lose(0..usize::try_from(memory.len()).unwrap());
    assert_eq!(reached(), other.at(), "where they are now");
}

/// What GET_INFO answers when it is given so much room.
struct Info {
    head: IommuType1Info,
    bytes: Vec<u8>,
    entries: u32,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn info(rig: &Rig, argsz: u32) -> Info {
    let mut bytes = vec![0; argsz as usize];
    bytes[..4].copy_from_slice(&argsz.to_le_bytes());
    let arg = Arg::InOut(&mut bytes);
    ioctl(&rig.sim, &rig.container, uapi::IOMMU_GET_INFO, arg).unwrap();
    let mut head = [0; 24];
    let len = bytes.len().min(24);
    head[..len].copy_from_slice(&bytes[..len]);
    Info {
        head: zerocopy::transmute!(head),
        entries: if bytes.len() > 64 {
            word(&bytes, 56 + 8)
        } else {
            0
        },
        bytes,
    }
}

#[test]
fn b33_capabilities_come_in_their_order() {
    let (rig, memory) = rig();
    rig.map(0, &memory).unwrap();
    let info = info(&rig, 120);
    assert_eq!(
        info.head.flags,
        uapi::IOMMU_INFO_PGSIZES | uapi::IOMMU_INFO_CAPS
    );
    assert_eq!(info.head.iova_pgsizes, 0x4020_1000);
    let (mut at, mut ids) = (info.head.cap_offset as usize, Vec::new());
    while at != 0 {
        ids.push(u16::from_le_bytes([info.bytes[at], info.bytes[at + 1]]));
        at = word(&info.bytes, at + 4) as usize;
    }
    assert_eq!(ids, [2, 3, 1]);
    assert_eq!(info.entries, 65534);
}

#[test]
fn b33_what_does_not_fit() {
    let (rig, _memory) = rig();
    let short = info(&rig, 119);
    let flags = uapi::IOMMU_INFO_PGSIZES | uapi::IOMMU_INFO_CAPS;
    assert_eq!((short.head.argsz, short.head.cap_offset), (120, 0));
    assert_eq!(short.head.flags, flags);
    assert_eq!(short.bytes[24..], [0; 95], "nothing is written there");
    let least = info(&rig, 16);
    assert_eq!((least.head.argsz, least.head.flags), (120, flags));
    let mut bytes = [15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let arg = Arg::InOut(&mut bytes);
    assert_eq!(
        ioctl(&rig.sim, &rig.container, uapi::IOMMU_GET_INFO, arg),
        Err(Errno::INVAL)
    );
}

#[test]
fn b35_a7_everything_goes_with_the_last_group() {
    let (rig, memory) = rig();
    rig.map(0, &memory).unwrap();
    assert_eq!(rig.sim.locked(), memory.len());
    leave(&rig.sim, &rig.group).unwrap();
    assert_eq!((rig.sim.locked(), rig.mapped()), (0, vec![]));
}

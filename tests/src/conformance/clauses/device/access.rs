//! F78: reading and writing regions; H9.

use vfio_core::kernel::Errno;
use vfio_sim::Machine;

use super::{
    CONFIG, NO_REGION, ROM, VGA, bar_of, bars, each, is_memory, is_ports, missing_bar, table,
};
use crate::conformance::clause::Needs::{Device, LenientBus};
use crate::conformance::clause::Trait::{
    Any, Engine, MappedMsix, Memory, Msix, NoRom, Ports, Rom, SmallBar,
};
use crate::conformance::clause::{Clause, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::mapped::Mapped;
use crate::conformance::memory::random;
use crate::conformance::rig::Open;

/// Registers of QEMU's `edu`, which takes accesses of four bytes.
const INVERSE: u64 = 0x04;
const EDU_END: u64 = 1 << 20;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F78"],
        "a count of 0 is 0, also of a region that there is not",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            for index in [
                0,
                missing_bar(host.device(Any)),
                ROM,
                CONFIG,
                VGA,
                NO_REGION,
            ] {
                assert_eq!(open.pread(index, 0, 0), Ok(vec![]), "{index}");
                assert_eq!(open.pwrite(index, 0, &[]), Ok(0), "{index}");
            }
        },
    ),
    both(
        &["F78"],
        "a region that there is not is EINVAL, and a BAR that is not there",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let missing = missing_bar(host.device(Any));
            for index in [NO_REGION, 100, missing] {
                refuses(&open, index, 0);
            }
        },
    ),
    both(
        &["F78"],
        "VGA is EINVAL, of a VGA controller too",
        &[],
        |host| {
            each(host, |open, _| {
                for at in [0, 0x3c0, 0xa_0000] {
                    refuses(open, VGA, at);
                }
            });
        },
    ),
    both(
        &["F78"],
        "a write to the ROM is EINVAL",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            assert_eq!(open.pwrite(ROM, 0, &[0; 4]), Err(Errno::INVAL));
        },
    ),
    both(
        &["F78"],
        "a ROM that is not there is EINVAL, to read and to write",
        &[Device(NoRom)],
        |host| {
            let (_rig, open) = host.open(NoRom);
            refuses(&open, ROM, 0);
        },
    ),
    both(
        &["F78"],
        "a ROM starts with its signature, and behind its images are ones",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            let size = host.device(Rom).rom;
            assert_eq!(open.pread(ROM, 0, 2), Ok(vec![0x55, 0xaa]));
            assert_eq!(open.pread(ROM, size - 4, 4), Ok(vec![0xff; 4]));
        },
    ),
    both(
        &["F78"],
        "a ROM: from the end on EINVAL, over it cut off",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            let size = host.device(Rom).rom;
            assert_eq!(open.pread(ROM, size, 4), Err(Errno::INVAL));
            let over = open.pread(ROM, size - 4, 8);
            assert_eq!(over.map(|bytes| bytes.len()), Ok(4));
        },
    ),
    both(
        &["F78"],
        "from the end of a BAR on is EINVAL, for each of them",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            for (index, bar) in bars(host, host.device(Any)) {
                refuses(&open, index, bar.size);
                refuses(&open, index, bar.size + 0x1_0000);
            }
        },
    ),
    both(
        &["F78"],
        "over the end of a BAR of registers is cut off",
        &[Device(Engine)],
        |host| {
            let (_rig, open) = host.open(Engine);
            let read = open.pread(0, EDU_END - 4, 12);
            assert_eq!(read.map(|bytes| bytes.len()), Ok(4));
            assert_eq!(open.pwrite(0, EDU_END - 4, &[0; 12]), Ok(4));
        },
    ),
    both(
        &["F78"],
        "over the end of a BAR of memory is cut off, and what is before it is written",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, bar) = bar_of(host, host.device(Memory), is_memory);
            let bytes = random(8);
            assert_eq!(open.pwrite(index, bar.size - 3, &bytes), Ok(3));
            assert_eq!(open.pread(index, bar.size - 3, 8), Ok(bytes[..3].to_vec()));
        },
    ),
    both(
        &["F78"],
        "a BAR that is smaller than a page ends where it ends",
        &[Device(SmallBar)],
        |host| {
            let (_rig, open) = host.open(SmallBar);
            let index = super::regions::small(host, SmallBar, true);
            let size = host.device(SmallBar).bars[index as usize].unwrap().size;
            refuses(&open, index, size);
            let read = open.pread(index, size - 4, 8);
            assert_eq!(read.map(|bytes| bytes.len()), Ok(4));
        },
    ),
    both(
        &["F78"],
        "ports are read and written, up to their end",
        &[Device(Ports)],
        |host| {
            let (_rig, open) = host.open(Ports);
            let (index, bar) = bar_of(host, host.device(Ports), is_ports);
            let read = open.pread(index, bar.size - 1, 8);
            assert_eq!(read.map(|bytes| bytes.len()), Ok(1));
            assert_eq!(open.pwrite(index, bar.size - 1, &[0; 8]), Ok(1));
            refuses(&open, index, bar.size);
        },
    ),
    both(
        &["F78"],
        "memory takes bytes of any number and place",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, _) = bar_of(host, host.device(Memory), is_memory);
            let (before, bytes) = (random(110), random(101));
            open.pwrite(index, 0, &before).unwrap();
            assert_eq!(open.pwrite(index, 3, &bytes), Ok(101));
            assert_eq!(open.pread(index, 3, 101), Ok(bytes));
            assert_eq!(open.pread(index, 0, 3), Ok(before[..3].to_vec()));
            assert_eq!(open.pread(index, 104, 6), Ok(before[104..].to_vec()));
        },
    ),
    both(
        &["F78"],
        "registers take what is written to them, and answer",
        &[Device(Engine)],
        |host| {
            let (_rig, open) = host.open(Engine);
            let value = fastrand::u32(..);
            assert_eq!(open.pwrite(0, INVERSE, &value.to_ne_bytes()), Ok(4));
            let answer = open.pread(0, INVERSE, 4);
            assert_eq!(answer, Ok((!value).to_ne_bytes().to_vec()));
        },
    ),
    both(
        &["F78"],
        "the MSI-X table reads as ones, and what is written there is counted and dropped",
        &[Device(MappedMsix)],
        |host| {
            let (_rig, open) = host.open(MappedMsix);
            let (index, start, end) = table(host.device(MappedMsix));
            let len = usize::try_from(end - start).unwrap();
            assert_eq!(open.pwrite(index, start, &vec![0; len]), Ok(len));
            assert_eq!(open.pread(index, start, len), Ok(vec![0xff; len]));
            // A byte of it too.
            assert_eq!(open.pwrite(index, start + 12, &[0]), Ok(1));
            assert_eq!(open.pread(index, start + 13, 1), Ok(vec![0xff]));
            let page = host.page();
            let mapped = Mapped::new(host, &open, (index, start / page * page), page).unwrap();
            let masked = 1u32.to_le();
            assert_eq!(
                mapped.get(start % page + 12),
                masked,
                "it is the device's still"
            );
        },
    ),
    both(
        &["F78"],
        "an access over the start of the MSI-X table is both",
        &[Device(Msix)],
        |host| {
            let (_rig, open) = host.open(Msix);
            let (index, start, _) = table(host.device(Msix));
            let before = open.pread(index, start - 4, 4).unwrap();
            assert_ne!(before, [0xff; 4]);
            let both = [before, vec![0xff; 4]].concat();
            assert_eq!(open.pread(index, start - 4, 8), Ok(both));
            assert_eq!(open.pwrite(index, start - 4, &[0; 8]), Ok(8));
        },
    ),
    both(
        &["H9"],
        "a byte of a register that is four reads as zero, and what is written is dropped",
        &[Device(Engine), LenientBus],
        a_byte_of_edu,
    ),
    simulated(
        &["H9"],
        "the simulation does it on arm64 too, and says nothing",
        "a real kernel of arm64 does not survive it",
        || a_byte_of_edu(&Host::simulated(Machine::aarch64())),
    ),
];

fn a_byte_of_edu(host: &Host) {
    let (_rig, open) = host.open(Engine);
    let value = fastrand::u32(..);
    open.pwrite(0, INVERSE, &value.to_ne_bytes()).unwrap();
    for at in 0..4 {
        assert_eq!(open.pread(0, INVERSE + at, 1), Ok(vec![0]));
        assert_eq!(open.pwrite(0, INVERSE + at, &[0x5a]), Ok(1));
    }
    let answer = open.pread(0, INVERSE, 4);
    assert_eq!(answer, Ok((!value).to_ne_bytes().to_vec()));
}

/// Neither reads nor writes.
fn refuses(open: &Open, index: u32, at: u64) {
    assert_eq!(
        open.pread(index, at, 4),
        Err(Errno::INVAL),
        "{index} {at:#x}"
    );
    assert_eq!(
        open.pwrite(index, at, &[0; 4]),
        Err(Errno::INVAL),
        "{index} {at:#x}"
    );
}

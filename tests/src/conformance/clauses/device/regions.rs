//! F75 and F76: what VFIO says of regions.

use vfio_core::kernel::Errno;
use vfio_core::uapi;

use super::{
    BOTH, CAPS, CONFIG, MMAP, NO_REGION, READ, ROM, VGA, bar_of, bars, each, is_ports, missing_bar,
    raw_info, region, table,
};
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{
    Any, Conventional, Express, HiddenPorts, MappedMsix, NoRom, Ports, Rom, SharedPage, SmallBar,
};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::rig::Open;

/// A region's info with the capability of a BAR with the MSI-X table.
const WHOLE: u8 = 40;
const ROOM: usize = 48;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F75"],
        "GET_REGION_INFO: less than 32 bytes are EINVAL",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            for argsz in [0, 16, 31] {
                let answer = ask(&open, argsz, 0);
                assert_eq!(answer.err(), Some(Errno::INVAL), "{argsz}");
            }
        },
    ),
    both(
        &["F75"],
        "an index that there is not is EINVAL",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            for index in [NO_REGION, 10, u32::MAX] {
                assert_eq!(region(&open, index).err(), Some(Errno::INVAL), "{index}");
            }
        },
    ),
    both(
        &["F75"],
        "VGA is EINVAL, of a VGA controller too: the kernel is built without",
        &[],
        |host| {
            each(host, |open, device| {
                let answer = region(open, VGA).map(|info| info.size);
                assert_eq!(answer, Err(Errno::INVAL), "{}", device.bdf);
            });
        },
    ),
    both(
        &["F75"],
        "a BAR has its size, and can be read and written",
        &[],
        |host| {
            each(host, |open, device| {
                for (index, bar) in bars(host, device) {
                    let info = region(open, index).unwrap();
                    let told = (info.size, info.flags & BOTH);
                    assert_eq!(told, (bar.size, BOTH), "{} BAR {index}", device.bdf);
                }
            });
        },
    ),
    both(
        &["F75"],
        "a BAR that is not there has size 0 and no flags",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let info = region(&open, missing_bar(host.device(Any))).unwrap();
            assert_eq!((info.size, info.flags), (0, 0));
        },
    ),
    both(
        &["F75"],
        "ports that the host cannot reach are no BAR",
        &[Device(HiddenPorts)],
        |host| {
            let device = host.device(HiddenPorts);
            let (_rig, open) = host.open(HiddenPorts);
            let at = device.bars.iter().position(|bar| bar.is_some_and(is_ports));
            let index = u32::try_from(at.unwrap()).unwrap();
            let info = region(&open, index).unwrap();
            assert_eq!((info.size, info.flags), (0, 0));
            assert_eq!(open.pread(index, 0, 4), Err(Errno::INVAL));
        },
    ),
    both(
        &["F75"],
        "the offset is the index, shifted by 40, for every region",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            for index in 0..VGA {
                let info = region(&open, index).unwrap();
                assert_eq!(info.offset, u64::from(index) << 40);
            }
        },
    ),
    both(
        &["F75"],
        "the ROM can only be read",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            let info = region(&open, ROM).unwrap();
            assert_eq!((info.size, info.flags), (host.device(Rom).rom, READ));
        },
    ),
    both(
        &["F75"],
        "a ROM that is not there has size 0 and no flags",
        &[Device(NoRom)],
        |host| {
            let (_rig, open) = host.open(NoRom);
            let info = region(&open, ROM).unwrap();
            assert_eq!((info.size, info.flags), (0, 0));
        },
    ),
    both(
        &["F75", "F79"],
        "the config space of a PCI Express device has 4096 bytes",
        &[Device(Express)],
        |host| {
            let (_rig, open) = host.open(Express);
            let info = region(&open, CONFIG).unwrap();
            assert_eq!((info.size, info.flags), (4096, BOTH));
        },
    ),
    both(
        &["F75", "F79"],
        "the config space of a conventional device has 256 bytes",
        &[Device(Conventional)],
        |host| {
            let (_rig, open) = host.open(Conventional);
            let info = region(&open, CONFIG).unwrap();
            assert_eq!((info.size, info.flags), (256, BOTH));
        },
    ),
    both(
        &["F75"],
        "the BAR with the MSI-X table says that it can be mapped whole",
        &[Device(MappedMsix)],
        |host| {
            let (_rig, open) = host.open(MappedMsix);
            let index = table(host.device(MappedMsix)).0;
            let bytes = ask(&open, WHOLE, index).unwrap();
            assert_eq!(u32::from(bytes[4]), BOTH | MMAP | CAPS);
            assert_eq!((bytes[0], bytes[12]), (WHOLE, 32), "argsz, cap_offset");
            assert_eq!(bytes[32..40], [3, 0, 1, 0, 0, 0, 0, 0], "the capability");
        },
    ),
    both(
        &["F75"],
        "capabilities that do not fit: argsz says the need, cap_offset is 0",
        &[Device(MappedMsix)],
        |host| {
            let (_rig, open) = host.open(MappedMsix);
            for argsz in [32, 39] {
                let bytes = ask(&open, argsz, table(host.device(MappedMsix)).0).unwrap();
                assert_eq!((bytes[0], bytes[12]), (WHOLE, 0));
                assert_eq!(u32::from(bytes[4]), BOTH | MMAP | CAPS, "the flag is set");
                assert_eq!(bytes[32..], [0x77; ROOM - 32], "nothing is written behind");
            }
        },
    ),
    both(
        &["F75"],
        "more room than is needed stays as it is",
        &[Device(MappedMsix)],
        |host| {
            let (_rig, open) = host.open(MappedMsix);
            let bytes = ask(&open, 48, table(host.device(MappedMsix)).0).unwrap();
            assert_eq!((bytes[0], bytes[12]), (48, 32));
            assert_eq!(bytes[40..], [0x77; ROOM - 40]);
        },
    ),
    both(
        &["F75"],
        "no other region says so, nor a BAR with the table that cannot be mapped",
        &[],
        |host| {
            each(host, |open, device| {
                for index in 0..VGA {
                    let info = region(open, index).unwrap();
                    let msix = device.interrupts.msix;
                    let has_table = msix.is_some_and(|msix| u32::from(msix.bar) == index);
                    let expected = has_table && info.flags & MMAP != 0;
                    assert_eq!(info.flags & CAPS != 0, expected, "{} {index}", device.bdf);
                }
            });
        },
    ),
    both(
        &["F75"],
        "without capabilities argsz and cap_offset come back as they were",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let bytes = ask(&open, 48, CONFIG).unwrap();
            assert_eq!((bytes[0], bytes[12]), (48, 0x77));
            assert_eq!(bytes[32..], [0x77; ROOM - 32]);
        },
    ),
    both(
        &["F76"],
        "a BAR of memory space that is at least a page can be mapped",
        &[],
        |host| {
            each(host, |open, device| {
                let large = bars(host, device)
                    .filter(|(_, bar)| !is_ports(*bar) && bar.size >= host.page());
                for (index, _) in large {
                    let flags = region(open, index).unwrap().flags;
                    assert_eq!(flags & MMAP, MMAP, "{} BAR {index}", device.bdf);
                }
            });
        },
    ),
    both(
        &["F76"],
        "ports cannot be mapped",
        &[Device(Ports)],
        |host| {
            let (_rig, open) = host.open(Ports);
            let (index, _) = bar_of(host, host.device(Ports), is_ports);
            assert_eq!(region(&open, index).unwrap().flags, BOTH);
        },
    ),
    both(
        &["F76"],
        "a smaller BAR can be mapped if it starts a page that nobody else uses",
        &[Device(SmallBar)],
        |host| {
            let (_rig, open) = host.open(SmallBar);
            let info = region(&open, small(host, SmallBar, true)).unwrap();
            assert_eq!(info.flags & MMAP, MMAP);
        },
    ),
    both(
        &["F76"],
        "one that shares a page cannot be mapped, and is read and written",
        &[Device(SharedPage)],
        |host| {
            let (_rig, open) = host.open(SharedPage);
            let index = small(host, SharedPage, false);
            let info = region(&open, index).unwrap();
            assert_eq!(info.flags, BOTH);
            assert_eq!(open.pread(index, 0, 4).map(|bytes| bytes.len()), Ok(4));
        },
    ),
];

/// A BAR of memory space that is smaller than a page, and can be mapped or cannot.
pub(super) fn small(
    host: &Host,
    like: crate::conformance::clause::Trait,
    is_mappable: bool,
) -> u32 {
    let device = host.device(like);
    let machine = host.machine();
    let mut small = bars(host, device).filter(|(_, bar)| !is_ports(*bar) && bar.size < host.page());
    let alike = small
        .find(|(n, _)| machine.is_mappable(device, usize::try_from(*n).unwrap()) == is_mappable);
    alike.unwrap().0
}

/// What is answered, in bytes that were 0x77 but for `argsz` and the index.
fn ask(open: &Open, argsz: u8, index: u32) -> vfio_core::kernel::Result<[u8; ROOM]> {
    let mut bytes = [0x77; ROOM];
    bytes[..4].copy_from_slice(&[argsz, 0, 0, 0]);
    bytes[8..12].copy_from_slice(&index.to_le_bytes());
    raw_info(open, uapi::DEVICE_GET_REGION_INFO, &mut bytes).map(|_| bytes)
}

//! F79: the first 64 bytes of config space.

use std::os::fd::AsFd;

use vfio_core::kernel::Errno;

use super::{CONFIG, IO_SPACE, MEMORY_SPACE, bars, each, is_ports, long, missing_bar, set_long};
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{
    Any, Conventional, Engine, Express, HiddenPorts, Line, NoRom, Rom,
};
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::COMMAND;

const CACHE_LINE: u64 = 0x0c;
const BARS: u64 = 0x10;
const ROM_BAR: u64 = 0x30;
const CAPABILITIES: u64 = 0x34;
const LINE: u64 = 0x3c;
const PIN: u64 = 0x3d;

const MASTER: u16 = 1 << 2;
const INTX_DISABLE: u16 = 1 << 10;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F79"],
        "what ends beyond 256 bytes is EFAULT, for all of it",
        &[Device(Conventional)],
        |host| {
            let (_rig, open) = host.open(Conventional);
            ends_at(&open, 256);
        },
    ),
    both(
        &["F79"],
        "what ends beyond 4096 bytes is EFAULT, for all of it",
        &[Device(Express)],
        |host| {
            let (_rig, open) = host.open(Express);
            ends_at(&open, 4096);
        },
    ),
    both(
        &["F79"],
        "a write that ends beyond writes nothing",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let before = open.config(LINE);
            let most = 8192;
            let answer = open.pwrite(CONFIG, LINE, &vec![0x5a; most]);
            assert_eq!(answer, Err(Errno::FAULT));
            assert_eq!(open.config(LINE), before);
        },
    ),
    both(
        &["F79"],
        "ids, class, header type, subsystem and pin cannot be written",
        &[],
        |host| {
            each(host, |open, device| {
                for at in [0x00, 0x02, 0x08, 0x0a, 0x0e, 0x2c, 0x2e, 0x34, 0x3e] {
                    let before = open.config(at);
                    open.set_config(at, !before);
                    assert_eq!(open.config(at), before, "{} {at:#x}", device.bdf);
                }
            });
        },
    ),
    both(&["F79"], "the ids are the device's", &[], |host| {
        each(host, |open, device| {
            let ids = (open.config(0), open.config(2));
            assert_eq!(ids, (device.vendor, device.device));
            assert_eq!(long(open, 0x08) >> 8, device.class);
        });
    }),
    both(
        &["F79"],
        "the size of a cache line is written",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let rest = open.config(CACHE_LINE) & 0xff00;
            for size in [0x40, 0x08] {
                assert_eq!(open.pwrite(CONFIG, CACHE_LINE, &[size]), Ok(1));
                assert_eq!(open.config(CACHE_LINE), rest | u16::from(size));
            }
        },
    ),
    both(
        &["F79"],
        "the interrupt line is the guest's, the pin is not",
        &[Device(Line)],
        |host| {
            let (_rig, open) = host.open(Line);
            assert_eq!(open.pread(CONFIG, PIN, 1), Ok(vec![1]));
            for line in [0x5a, 0xa5] {
                open.set_config(LINE, line | 0x0200);
                assert_eq!(open.config(LINE), line | 0x0100);
            }
        },
    ),
    both(&["F79"], "the pin of what has no line is 0", &[], |host| {
        each(host, |open, device| {
            let pin = u8::from(device.interrupts.line);
            assert_eq!(open.pread(CONFIG, PIN, 1), Ok(vec![pin]));
        });
    }),
    both(
        &["F79"],
        "the list of capabilities cannot be moved, nor can any of it",
        &[],
        |host| {
            each(host, |open, device| {
                let mut link = CAPABILITIES;
                for _ in 0..48 {
                    let at = open.pread(CONFIG, link, 1).unwrap()[0];
                    open.pwrite(CONFIG, link, &[!at]).unwrap();
                    let after = open.pread(CONFIG, link, 1).unwrap()[0];
                    assert_eq!(after, at, "{} {link:#x}", device.bdf);
                    if at == 0 {
                        return;
                    }
                    link = u64::from(at) + 1;
                }
                panic!("the list has no end");
            });
        },
    ),
    both(
        &["F79"],
        "the status says whether there are capabilities",
        &[],
        |host| {
            each(host, |open, device| {
                let says = open.config(0x06) & 1 << 4 != 0;
                let has = open.pread(CONFIG, CAPABILITIES, 1).unwrap()[0] != 0;
                assert_eq!(says, has, "{}", device.bdf);
            });
        },
    ),
    both(
        &["F79"],
        "the command register: decoding, bus mastering and INTx are switched",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let before = open.config(COMMAND);
            for bit in [IO_SPACE, MEMORY_SPACE, MASTER, INTX_DISABLE] {
                for value in [before | bit, before & !bit] {
                    open.set_config(COMMAND, value);
                    assert_eq!(open.config(COMMAND), value, "{bit:#x}");
                }
            }
        },
    ),
    both(
        &["F79"],
        "a byte of the command register is a byte of it",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let before = open.config(COMMAND);
            let high = INTX_DISABLE.to_le_bytes()[1] | before.to_le_bytes()[1];
            assert_eq!(open.pwrite(CONFIG, COMMAND + 1, &[high]), Ok(1));
            assert_eq!(open.config(COMMAND), before | INTX_DISABLE);
        },
    ),
    both(
        &["F91", "F79"],
        "an opened device decodes what it has, and is no bus master",
        &[],
        |host| {
            for group in &host.machine().groups {
                let rig = crate::conformance::rig::Rig::new(host.kernel(), group.id, host.iommu());
                let device = &group.devices[0];
                let open = rig.open(&device.bdf);
                let has = |ports| bars(host, device).any(|(_, bar)| is_ports(bar) == ports);
                let command = open.config(COMMAND);
                assert_eq!(command & MASTER, 0, "{}", device.bdf);
                if has(false) {
                    assert_eq!(command & MEMORY_SPACE, MEMORY_SPACE, "{}", device.bdf);
                }
                if has(true) {
                    assert_eq!(command & IO_SPACE, IO_SPACE, "{}", device.bdf);
                }
            }
        },
    ),
    both(
        &["F79"],
        "ones in a BAR read back as its size and its kind, of each device",
        &[],
        |host| {
            each(host, |open, device| {
                for (n, bar) in bars(host, device) {
                    let at = BARS + 4 * u64::from(n);
                    let kind = long(open, at) & if is_ports(bar) { 3 } else { 0xf };
                    set_long(open, at, u32::MAX);
                    let mask = !(bar.size - 1);
                    let low = u32::try_from(mask & 0xffff_ffff).unwrap();
                    assert_eq!(long(open, at), low | kind, "{} BAR {n}", device.bdf);
                    assert_eq!(kind & 1, u32::from(is_ports(bar)));
                    if kind & 7 == 4 {
                        set_long(open, at + 4, u32::MAX);
                        assert_eq!(long(open, at + 4), u32::MAX, "the upper half");
                    }
                }
            });
        },
    ),
    both(
        &["F79"],
        "a BAR keeps what is written, as far as its size lets it",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let (n, bar) = super::bar_of(host, host.device(Any), |bar| !is_ports(bar));
            let at = BARS + 4 * u64::from(n);
            let kind = long(&open, at) & 0xf;
            let mask = u32::try_from(!(bar.size - 1) & 0xffff_ffff).unwrap();
            set_long(&open, at, 0xc123_4567);
            assert_eq!(long(&open, at), 0xc123_4567 & mask | kind);
            open.set_config(at + 2, 0xd5d5);
            let half = 0xd5d5_4567;
            assert_eq!(long(&open, at), half & mask | kind, "the upper bytes alone");
        },
    ),
    both(
        &["F79"],
        "the device stays where it is, whatever is in its BARs",
        &[Device(Engine)],
        |host| {
            const INVERSE: u64 = 0x04;
            let (_rig, open) = host.open(Engine);
            set_long(&open, BARS, 0xc000_0000);
            let value = fastrand::u32(..);
            open.pwrite(0, INVERSE, &value.to_ne_bytes()).unwrap();
            let answer = open.pread(0, INVERSE, 4);
            assert_eq!(answer, Ok((!value).to_ne_bytes().to_vec()));
        },
    ),
    both(
        &["F79"],
        "a BAR that is not there reads as 0",
        &[Device(Conventional)],
        |host| {
            let (_rig, open) = host.open(Conventional);
            let at = BARS + 4 * u64::from(missing_bar(host.device(Conventional)));
            set_long(&open, at, u32::MAX);
            assert_eq!(long(&open, at), 0);
        },
    ),
    both(
        &["F79"],
        "so does one of ports that the host cannot reach",
        &[Device(HiddenPorts)],
        |host| {
            let device = host.device(HiddenPorts);
            let (_rig, open) = host.open(HiddenPorts);
            let n = device.bars.iter().position(|bar| bar.is_some_and(is_ports));
            let at = BARS + 4 * u64::try_from(n.unwrap()).unwrap();
            set_long(&open, at, u32::MAX);
            assert_eq!(long(&open, at), 0);
        },
    ),
    both(
        &["F79"],
        "ones in the ROM's BAR read back as its size, and that it is on",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            set_long(&open, ROM_BAR, u32::MAX);
            let size = u32::try_from(host.device(Rom).rom).unwrap();
            assert_eq!(long(&open, ROM_BAR), !(size - 1) | 1);
        },
    ),
    both(
        &["F79"],
        "without a ROM its BAR reads as 0",
        &[Device(NoRom)],
        |host| {
            let (_rig, open) = host.open(NoRom);
            set_long(&open, ROM_BAR, u32::MAX);
            assert_eq!(long(&open, ROM_BAR), 0);
        },
    ),
    both(
        &["F79"],
        "closing forgets what was written to BARs and line",
        &[],
        |host| {
            let (group, device) = Any.find(host.machine()).unwrap();
            let rig = crate::conformance::rig::Rig::new(host.kernel(), group, host.iommu());
            let open = rig.open(&device.bdf);
            let before = open.pread(CONFIG, 0, 64).unwrap();
            set_long(&open, BARS, 0xc000_0000);
            open.set_config(LINE, 0x77);
            assert_ne!(open.pread(CONFIG, 0, 64).unwrap(), before);
            drop(open);
            let open = rig.open(&device.bdf);
            assert_eq!(open.pread(CONFIG, 0, 64).unwrap(), before);
        },
    ),
];

/// Config space ends there, for reading and for writing.
fn ends_at(open: &crate::conformance::rig::Open, end: u64) {
    let last = open.pread(CONFIG, end - 4, 4);
    assert_eq!(last.map(|bytes| bytes.len()), Ok(4));
    for (at, len) in [(end - 3, 4), (end - 1, 2), (end, 1), (end + 0x1000, 4)] {
        let mut bytes = vec![0x77; len];
        let place = (u64::from(CONFIG) << 40) + at;
        let answer = open.kernel().pread(open.device.as_fd(), &mut bytes, place);
        assert_eq!(answer, Err(Errno::FAULT), "{at:#x}");
        assert_eq!(bytes, vec![0x77; len], "nothing is read");
        let answer = open.pwrite(CONFIG, at, &bytes);
        assert_eq!(answer, Err(Errno::FAULT), "{at:#x}");
    }
}

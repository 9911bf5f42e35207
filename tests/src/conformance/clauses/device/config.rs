//! F79: the capabilities of config space.

use vfio_core::uapi::{self, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX};

use super::{CONFIG, each, long, set_long};
use crate::conformance::clause::Needs::{Device, Type1};
use crate::conformance::clause::Trait::{
    Express, FunctionLevelReset, ManyMsi, Msi, Msix, NoFunctionLevelReset, Power,
};
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::{COMMAND, Signal};

const OFF: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_ACTION_TRIGGER;

/// In MSI's control register: on, how many vectors, whether an address has 64 bits.
const MSI_ON: u16 = 1 << 0;
const MSI_VECTORS: u16 = 7 << 4;
const MSI_WIDE: u16 = 1 << 7;
/// How many it offers.
const MSI_OFFERED: u16 = 7 << 1;
/// In MSI-X's.
const MSIX_ON: u16 = 1 << 15;

/// Device control of PCI Express, and what is in it.
const DEVICE_CONTROL: u64 = 8;
const PAYLOAD: u16 = 7 << 5;
const PHANTOM: u16 = 1 << 9;
const READ_REQUEST: u16 = 7 << 12;
const RESET: u16 = 1 << 15;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F79"],
        "an access is taken apart: what is read at once is what is read byte by byte",
        &[],
        |host| {
            each(host, |open, device| {
                let size = if device.express { 4096 } else { 256 };
                let whole = open.pread(CONFIG, 0, size).unwrap();
                let bytes: Vec<_> = (0..size)
                    .flat_map(|at| open.pread(CONFIG, at as u64, 1).unwrap())
                    .collect();
                assert_eq!(whole, bytes, "{}", device.bdf);
                let odd = open.pread(CONFIG, 1, size - 1).unwrap();
                assert_eq!(odd, bytes[1..], "{}", device.bdf);
            });
        },
    ),
    both(
        &["F79"],
        "what is written over several capabilities reaches of each what it lets be written",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let msi = open.capability(5);
            let before = open.config(msi);
            let len = usize::try_from(msi + 8 - 0x3c).unwrap();
            assert_eq!(open.pwrite(CONFIG, 0x3c, &vec![0xff; len]), Ok(len));
            assert_eq!(open.pread(CONFIG, 0x3c, 1), Ok(vec![0xff]), "the line");
            assert_eq!(open.config(msi), before, "the list is whole");
            assert_eq!(open.config(msi + 2) & MSI_ON, 0, "MSI is off");
            assert_eq!(long(&open, msi + 4) & !3, !3, "its address");
        },
    ),
    both(
        &["F79"],
        "MSI is not on before SET_IRQS, whatever is written",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let control = open.capability(5) + 2;
            let before = open.config(control);
            assert_eq!(before & MSI_ON, 0);
            open.set_config(control, before | MSI_ON);
            assert_eq!(open.config(control), before);
        },
    ),
    both(
        &["F79"],
        "after SET_IRQS MSI is switched on by the program, and off",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let signal = Signal::new(open.kernel());
            let control = open.capability(5) + 2;
            open.trigger(MSI, 0, &[signal.number()]).unwrap();
            let off = open.config(control) & !MSI_ON;
            open.set_config(control, off | MSI_ON);
            assert_eq!(open.config(control), off | MSI_ON);
            open.set_config(control, off);
            assert_eq!(open.config(control), off);
        },
    ),
    both(
        &["F79"],
        "when the kernel gives MSI up, it is off with the next write",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let signal = Signal::new(open.kernel());
            let control = open.capability(5) + 2;
            open.trigger(MSI, 0, &[signal.number()]).unwrap();
            let off = open.config(control) & !MSI_ON;
            open.set_config(control, off | MSI_ON);
            open.irqs(MSI, OFF, (0, 0), &[]).unwrap();
            assert_eq!(open.config(control), off | MSI_ON, "the program's own");
            open.set_config(control, off | MSI_ON);
            assert_eq!(open.config(control), off);
        },
    ),
    both(
        &["F79"],
        "of MSI's vectors no more can be on than the kernel has",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let signal = Signal::new(open.kernel());
            let control = open.capability(5) + 2;
            open.set_config(control, MSI_VECTORS);
            assert_eq!(open.config(control) & MSI_VECTORS, 0, "without any");
            open.trigger(MSI, 0, &[signal.number()]).unwrap();
            open.set_config(control, MSI_ON | MSI_VECTORS);
            assert_eq!(open.config(control) & MSI_VECTORS, 0, "with one");
        },
    ),
    both(
        &["F79"],
        "of several vectors of MSI as many can be on as the kernel has, rounded up",
        &[Device(ManyMsi), Type1], // of POWER's few there may not be two (P4)
        |host| {
            let (_rig, open) = host.open(ManyMsi);
            let signal = Signal::new(open.kernel());
            let control = open.capability(5) + 2;
            open.trigger(MSI, 0, &[signal.number(), -1]).unwrap();
            open.set_config(control, MSI_ON | MSI_VECTORS);
            assert_eq!(open.config(control) & MSI_VECTORS, 1 << 4);
            open.set_config(control, MSI_ON);
            assert_eq!(open.config(control) & MSI_VECTORS, 0);
        },
    ),
    both(
        &["F79"],
        "MSI says what the device offers",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let offers = open.config(open.capability(5) + 2) & MSI_OFFERED;
            let vectors = host.device(Msi).interrupts.msi.trailing_zeros();
            assert_eq!(u32::from(offers), vectors << 1);
        },
    ),
    both(
        &["F79"],
        "and the program can write something else there: the low byte of MSI's control is its own",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let control = open.capability(5) + 2;
            for value in [MSI_OFFERED, MSI_WIDE] {
                open.set_config(control, 0xff00 | value);
                assert_eq!(open.config(control), value);
            }
        },
    ),
    both(
        &["F79"],
        "MSI's address and data are the program's own",
        &[Device(Msi)],
        |host| {
            let (_rig, open) = host.open(Msi);
            let msi = open.capability(5);
            set_long(&open, msi + 4, 0xfee0_1234);
            assert_eq!(long(&open, msi + 4), 0xfee0_1234);
            let is_wide = open.config(msi + 2) & MSI_WIDE != 0;
            let data = if is_wide { 12 } else { 8 };
            open.set_config(msi + data, 0x4567);
            assert_eq!(open.config(msi + data), 0x4567);
        },
    ),
    both(
        &["F79"],
        "MSI-X is on when the kernel has it on, whatever is written",
        &[Device(Msix)],
        |host| {
            let (_rig, open) = host.open(Msix);
            let signal = Signal::new(open.kernel());
            let control = open.capability(0x11) + 2;
            let off = open.config(control);
            assert_eq!(off & MSIX_ON, 0);
            let vectors = host.device(Msix).interrupts.msix.unwrap().vectors;
            assert_eq!(u32::from(off & 0x7ff), vectors - 1);
            open.set_config(control, off | MSIX_ON);
            assert_eq!(open.config(control), off);
            open.trigger(MSIX, 0, &[signal.number()]).unwrap();
            assert_eq!(open.config(control), off | MSIX_ON);
            open.set_config(control, 0);
            assert_eq!(open.config(control), off | MSIX_ON);
            open.irqs(MSIX, OFF, (0, 0), &[]).unwrap();
            assert_eq!(open.config(control), off);
        },
    ),
    both(
        &["F79"],
        "where MSI-X has its table and its pending bits cannot be written",
        &[Device(Msix)],
        |host| {
            let (_rig, open) = host.open(Msix);
            let at = open.capability(0x11);
            let msix = host.device(Msix).interrupts.msix.unwrap();
            for (at, place) in [(at + 4, msix.table), (at + 8, msix.pending)] {
                let expected = place | u32::from(msix.bar);
                assert_eq!(long(&open, at), expected);
                set_long(&open, at, !expected);
                assert_eq!(long(&open, at), expected);
            }
        },
    ),
    both(
        &["F79"],
        "the function level reset bit resets",
        &[Device(FunctionLevelReset)],
        |host| {
            let (_rig, open) = host.open(FunctionLevelReset);
            let control = open.capability(0x10) + DEVICE_CONTROL;
            let ready = || open.pread(0, NVME_STATUS, 4).unwrap()[0] & 1;
            for (at, value) in NVME_ENABLE {
                open.pwrite(0, at, &value.to_le_bytes()).unwrap();
            }
            assert_eq!(ready(), 1);
            open.set_config(control, open.config(control));
            assert_eq!(ready(), 1, "without the bit");
            open.set_config(control, open.config(control) | RESET);
            assert_eq!(ready(), 0);
        },
    ),
    both(
        &["F79"],
        "the function level reset bit reads as 0, and leaves the rest of its register",
        &[Device(FunctionLevelReset)],
        |host| {
            let (_rig, open) = host.open(FunctionLevelReset);
            let control = open.capability(0x10) + DEVICE_CONTROL;
            let before = open.config(control);
            assert_eq!(before & RESET, 0);
            open.set_config(control, before | RESET);
            assert_eq!(open.config(control), before);
        },
    ),
    both(
        &["F79"],
        "config space is after a function level reset what it was",
        &[Device(FunctionLevelReset)],
        |host| {
            let (_rig, open) = host.open(FunctionLevelReset);
            let control = open.capability(0x10) + DEVICE_CONTROL;
            open.set_config(0x3c, 0x5a);
            let before = open.pread(CONFIG, 0, 64).unwrap();
            let master = open.config(COMMAND) & 4;
            assert_eq!(master, 4);
            open.set_config(control, open.config(control) | RESET);
            assert_eq!(open.pread(CONFIG, 0, 64).unwrap(), before);
        },
    ),
    both(
        &["F79"],
        "without a function level reset the bit reads as 0 too",
        &[Device(NoFunctionLevelReset)],
        |host| {
            let (_rig, open) = host.open(NoFunctionLevelReset);
            let control = open.capability(0x10) + DEVICE_CONTROL;
            let before = open.config(control);
            open.set_config(control, before | RESET);
            assert_eq!(open.config(control), before);
        },
    ),
    both(
        &["F79"],
        "the sizes of payloads and read requests are virtual, and kept",
        &[Device(Express)],
        |host| {
            let (_rig, open) = host.open(Express);
            let control = open.capability(0x10) + DEVICE_CONTROL;
            let rest = open.config(control) & !(PAYLOAD | READ_REQUEST);
            for sizes in [0x5000 | 5 << 5, 0x2000 | 1 << 5, 0] {
                open.set_config(control, rest | sizes);
                assert_eq!(open.config(control), rest | sizes);
            }
        },
    ),
    both(
        &["F79"],
        "phantom functions cannot be switched on",
        &[Device(Express)],
        |host| {
            let (_rig, open) = host.open(Express);
            let control = open.capability(0x10) + DEVICE_CONTROL;
            open.set_config(control, open.config(control) | PHANTOM);
            assert_eq!(open.config(control) & PHANTOM, 0);
        },
    ),
    both(
        &["F79"],
        "what a device can do of PCI Express and of power cannot be written",
        &[Device(Power)],
        |host| {
            let (_rig, open) = host.open(Power);
            let (power, express) = (open.capability(1), open.capability(0x10));
            for at in [power + 2, express + 2, express + 4, express + 6] {
                let before = open.config(at);
                open.set_config(at, !before);
                assert_eq!(open.config(at), before, "{at:#x}");
            }
        },
    ),
    both(
        &["F79"],
        "the identity of a capability cannot be written",
        &[],
        |host| {
            each(host, |open, _| {
                let mut at = u64::from(open.pread(CONFIG, 0x34, 1).unwrap()[0]);
                while at != 0 {
                    let head = open.config(at);
                    open.set_config(at, !head);
                    assert_eq!(open.config(at), head, "{at:#x}");
                    at = u64::from(head >> 8);
                }
            });
        },
    ),
    both(
        &["F79"],
        "what no capability has is the hardware's, which keeps what is written",
        &[Device(Express)],
        |host| {
            const LAST: u64 = 0xffc;
            let (_rig, open) = host.open(Express);
            let value = fastrand::u32(1..);
            set_long(&open, LAST, value);
            assert_eq!(long(&open, LAST), value);
            set_long(&open, LAST, 0); // nobody else would
            assert_eq!(long(&open, LAST), 0);
        },
    ),
];

/// Enables a controller: where its first queues are and how long, and that it is on.
const NVME_ENABLE: [(u64, u32); 6] = [
    (0x24, 0x0001_0001),
    (0x28, 0x1000),
    (0x2c, 0),
    (0x30, 0x2000),
    (0x34, 0),
    (0x14, 0x0046_0001),
];
/// Bit 0: it is ready.
const NVME_STATUS: u64 = 0x1c;

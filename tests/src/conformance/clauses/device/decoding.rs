//! F78: what is read and written while a device does not decode memory, or sleeps.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, DeviceFeature};
use zerocopy::IntoBytes;

use super::{CONFIG, ROM, bar_of, bars, decode, is_memory, is_ports, table};
use crate::conformance::clause::Needs::{Device, Powernv};
use crate::conformance::clause::Trait::{Any, Engine, Memory, Msix, Ports, Power, Rom, Sleeps};
use crate::conformance::clause::{Clause, both};
use crate::conformance::memory::random;
use crate::conformance::raw::ioctl;
use crate::conformance::rig::{COMMAND, Open};

/// Power management control of a capability, and its states.
const CONTROL: u64 = 4;
const STATES: [u16; 4] = [0, 1, 2, 3];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F78"],
        "memory decoding off: EIO, to read and to write, and nothing is written",
        &[Device(Memory)],
        |host| {
            let (_rig, open) = host.open(Memory);
            let (index, _) = bar_of(host, host.device(Memory), is_memory);
            let bytes = random(8);
            open.pwrite(index, 0, &bytes).unwrap();
            decode(&open, false);
            does_not_answer(&open, index);
            decode(&open, true);
            assert_eq!(open.pread(index, 0, 8), Ok(bytes));
        },
    ),
    both(
        &["F78"],
        "memory decoding off: EIO for every BAR of memory space",
        &[],
        |host| {
            super::each(host, |open, device| {
                decode(open, false);
                let starts = |index| {
                    let msix = device.interrupts.msix;
                    msix.is_some_and(|msix| u32::from(msix.bar) == index && msix.table == 0)
                };
                let of_memory =
                    bars(host, device).filter(|(n, bar)| !is_ports(*bar) && !starts(*n));
                for (index, _) in of_memory {
                    does_not_answer(open, index);
                }
                decode(open, true);
            });
        },
    ),
    both(
        &["F78"],
        "memory decoding off: the end of a BAR is looked at first",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let (index, bar) = bar_of(host, host.device(Any), |bar| !is_ports(bar));
            decode(&open, false);
            assert_eq!(open.pread(index, bar.size, 4), Err(Errno::INVAL));
            assert_eq!(open.pwrite(index, bar.size, &[0; 4]), Err(Errno::INVAL));
        },
    ),
    both(
        &["F78"],
        "memory decoding off: the MSI-X table reads as ones, and over its start is EIO",
        &[Device(Msix)],
        |host| {
            let (_rig, open) = host.open(Msix);
            let (index, start, _) = table(host.device(Msix));
            decode(&open, false);
            assert_eq!(open.pread(index, start, 8), Ok(vec![0xff; 8]));
            assert_eq!(open.pwrite(index, start, &[0; 8]), Ok(8));
            assert_eq!(open.pread(index, start - 4, 8), Err(Errno::IO));
        },
    ),
    both(
        &["F78"],
        "memory decoding off: ports answer, and config space",
        &[Device(Ports)],
        |host| {
            let (_rig, open) = host.open(Ports);
            let (index, _) = bar_of(host, host.device(Ports), is_ports);
            decode(&open, false);
            let read = open.pread(index, 0, 1);
            assert_eq!(read.map(|bytes| bytes.len()), Ok(1));
            assert!(open.pread(CONFIG, 0, 4).is_ok());
        },
    ),
    both(
        &["F78"],
        "memory decoding off: no ROM is found, which is ENOMEM, and it is afterwards",
        &[Device(Rom)],
        |host| {
            let (_rig, open) = host.open(Rom);
            decode(&open, false);
            assert_eq!(open.pread(ROM, 0, 4), Err(Errno::NOMEM));
            decode(&open, true);
            assert_eq!(open.pread(ROM, 0, 2), Ok(vec![0x55, 0xaa]));
        },
    ),
    both(
        &["F78"],
        "memory decoding on again: registers are as they were",
        &[Device(Engine)],
        |host| {
            const INVERSE: u64 = 0x04;
            let (_rig, open) = host.open(Engine);
            let value = fastrand::u32(..);
            open.pwrite(0, INVERSE, &value.to_ne_bytes()).unwrap();
            decode(&open, false);
            does_not_answer(&open, 0);
            decode(&open, true);
            let answer = open.pread(0, INVERSE, 4);
            assert_eq!(answer, Ok((!value).to_ne_bytes().to_vec()));
        },
    ),
    both(
        &["F78"],
        "in D3: EIO, until it is awake again",
        &[Device(Sleeps)],
        |host| {
            let (_rig, open) = host.open(Sleeps);
            let (index, _) = bar_of(host, host.device(Sleeps), |bar| !is_ports(bar));
            let control = open.capability(0x01) + CONTROL;
            open.set_config(control, 3);
            assert_eq!(open.config(control) & 3, 3);
            does_not_answer(&open, index);
            assert!(open.pread(CONFIG, 0, 4).is_ok(), "config space answers");
            open.set_config(control, 0);
            assert_eq!(open.config(control) & 3, 0);
            assert!(open.pread(index, 0, 4).is_ok());
        },
    ),
    both(
        &["F79"],
        "powernv's kernel puts no device to sleep",
        &[Device(Power), Powernv],
        |host| {
            let (_rig, open) = host.open(Power);
            let (index, _) = bar_of(host, host.device(Power), |bar| !is_ports(bar));
            let control = open.capability(0x01) + CONTROL;
            open.set_config(control, 3);
            assert_eq!(open.config(control) & 3, 0);
            assert!(open.pread(index, 0, 4).is_ok());
        },
    ),
    both(
        &["F79"],
        "a state of power that the device does not have is not set",
        &[Device(Power)],
        |host| {
            const POWER: u64 = 0x02;
            const HAS: [u16; 4] = [0, 1 << 9, 1 << 10, 0];
            let (_rig, open) = host.open(Power);
            let (index, _) = bar_of(host, host.device(Power), |bar| !is_ports(bar));
            let power = open.capability(0x01);
            let can = open.config(power + POWER);
            for state in [1, 2] {
                open.set_config(power + CONTROL, STATES[state]);
                let expected = match can & HAS[state] {
                    0 => 0,
                    _ => STATES[state],
                };
                assert_eq!(open.config(power + CONTROL) & 3, expected);
                assert!(open.pread(index, 0, 4).is_ok(), "it answers");
            }
        },
    ),
    both(
        &["F78", "F89"],
        "a device that sleeps by the feature is woken up to be read and written",
        &[Device(Engine)],
        |host| {
            const INVERSE: u64 = 0x04;
            let (_rig, open) = host.open(Engine);
            let feature = DeviceFeature {
                argsz: 8,
                flags: uapi::DEVICE_FEATURE_LOW_POWER_ENTRY | uapi::DEVICE_FEATURE_SET,
            };
            let arg = Arg::In(feature.as_bytes());
            let answer = ioctl(open.kernel(), &open.device, uapi::DEVICE_FEATURE, arg);
            assert_eq!(answer, Ok(0));
            let value = fastrand::u32(..);
            assert_eq!(open.pwrite(0, INVERSE, &value.to_ne_bytes()), Ok(4));
            let answer = open.pread(0, INVERSE, 4);
            assert_eq!(answer, Ok((!value).to_ne_bytes().to_vec()));
        },
    ),
    both(
        &["F79"],
        "opening switches decoding on, and closing forgets what was switched off",
        &[],
        |host| {
            let (group, device) = Any.find(host.machine()).unwrap();
            for _ in 0..2 {
                let rig = crate::conformance::rig::Rig::new(host.kernel(), group, host.iommu());
                let open = rig.open(&device.bdf);
                let memory = super::MEMORY_SPACE;
                assert_eq!(open.config(COMMAND) & memory, memory);
                decode(&open, false);
                assert_eq!(open.config(COMMAND) & memory, 0);
            }
        },
    ),
];

/// A BAR can neither be read nor written.
fn does_not_answer(open: &Open, index: u32) {
    assert_eq!(open.pread(index, 0, 4), Err(Errno::IO), "{index}");
    assert_eq!(open.pwrite(index, 0, &[0; 4]), Err(Errno::IO), "{index}");
}

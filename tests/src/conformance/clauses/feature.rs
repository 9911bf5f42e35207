//! F89: features.

use std::os::fd::AsRawFd;

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    self, DEVICE_FEATURE_GET as GET, DEVICE_FEATURE_LOW_POWER_ENTRY as SLEEP,
    DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP as SLEEP_UNTIL,
    DEVICE_FEATURE_LOW_POWER_EXIT as WAKE, DEVICE_FEATURE_MIGRATION as MIGRATION,
    DEVICE_FEATURE_PCI_VF_TOKEN as TOKEN, DEVICE_FEATURE_PROBE as PROBE, DEVICE_FEATURE_SET as SET,
    PCI_CONFIG_REGION_INDEX as CONFIG,
};
use zerocopy::IntoBytes;

use super::reset::{INTERRUPT_MASK, MASKED};
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Controller, Physical};
use crate::conformance::clause::{Clause, Needs, both};
use crate::conformance::raw::ioctl;
use crate::conformance::rig::{Open, Signal};

const INVALID: Result<u32> = Err(Errno::INVAL);
const CONTROLLER: &[Needs] = &[Device(Controller)];

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F89"],
        "a feature is asked with a struct, or it is EFAULT",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            for wrong in [Arg::None, Arg::Value(8)] {
                let answer = ioctl(rig.kernel(), &open.device, uapi::DEVICE_FEATURE, wrong);
                assert_eq!(answer, Err(Errno::FAULT));
            }
        },
    ),
    both(&["F89"], "an argsz below 8 is EINVAL", CONTROLLER, |host| {
        let (_rig, open) = host.open(Controller);
        for short in [0, 7] {
            assert_eq!(feature(&open, short, PROBE | SLEEP, &[]).0, INVALID);
        }
    }),
    both(
        &["F89"],
        "get and set at once is EINVAL, unless it is a probe",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            assert_eq!(ask(&open, GET | SET | SLEEP), INVALID);
            assert_eq!(
                ask(&open, GET | SET | MIGRATION),
                INVALID,
                "before what it is of"
            );
            assert_eq!(ask(&open, GET | SET | PROBE | MIGRATION), Err(Errno::NOTTY));
        },
    ),
    both(
        &["F89"],
        "flags that are not known are EINVAL, before what they are of",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for unknown in [1 << 19, 1 << 31] {
                assert_eq!(ask(&open, unknown | PROBE | SLEEP), INVALID);
                assert_eq!(ask(&open, unknown | PROBE | MIGRATION), INVALID);
            }
        },
    ),
    both(
        &["F89"],
        "a feature that is not supported is ENOTTY, however it is asked",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for unsupported in [MIGRATION, 2, 6, 7, 8, 9, 10, 0xffff] {
                for how in [PROBE, PROBE | GET, PROBE | SET, GET, SET, 0] {
                    let answer = feature(&open, 72, how | unsupported, &[0; 64]).0;
                    assert_eq!(answer, Err(Errno::NOTTY), "{how:#x} of {unsupported}");
                }
            }
        },
    ),
    both(
        &["F89"],
        "tokens are of physical functions alone: ENOTTY",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for how in [PROBE, PROBE | SET, SET, GET] {
                let answer = feature(&open, 24, how | TOKEN, &[7; 16]).0;
                assert_eq!(answer, Err(Errno::NOTTY));
            }
        },
    ),
    both(
        &["F89"],
        "a token can be set, and not read",
        &[Device(Physical)],
        |host| {
            let (_rig, open) = host.open(Physical);
            assert_eq!(ask(&open, PROBE | TOKEN), Ok(0));
            assert_eq!(ask(&open, PROBE | SET | TOKEN), Ok(0));
            assert_eq!(ask(&open, PROBE | GET | TOKEN), INVALID);
            let (answer, left) = feature(&open, 24, GET | TOKEN, &[0x77; 16]);
            assert_eq!((answer, left), (INVALID, vec![0x77; 16]));
        },
    ),
    both(
        &["F89"],
        "a probe of what is supported is 0, without data too",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for supported in [SLEEP, SLEEP_UNTIL, WAKE] {
                assert_eq!(ask(&open, PROBE | supported), Ok(0));
                assert_eq!(ask(&open, PROBE | SET | supported), Ok(0));
            }
        },
    ),
    both(&["F89"], "a probe does nothing", CONTROLLER, |host| {
        let (_rig, open) = host.open(Controller);
        assert_eq!(ask(&open, PROBE | SET | SLEEP), Ok(0));
        assert_eq!(ask(&open, SET | SLEEP), Ok(0), "it was awake");
        assert_eq!(ask(&open, PROBE | SET | WAKE), Ok(0));
        assert_eq!(ask(&open, SET | SLEEP), INVALID, "it is asleep");
    }),
    both(
        &["F89"],
        "a probe for what is not allowed is EINVAL",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for supported in [SLEEP, SLEEP_UNTIL, WAKE] {
                assert_eq!(ask(&open, PROBE | GET | supported), INVALID);
                assert_eq!(ask(&open, PROBE | GET | SET | supported), INVALID);
            }
        },
    ),
    both(
        &["F89"],
        "getting what can only be set is EINVAL",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for supported in [SLEEP, SLEEP_UNTIL, WAKE] {
                assert_eq!(feature(&open, 16, GET | supported, &[0; 8]).0, INVALID);
            }
        },
    ),
    both(
        &["F89"],
        "neither get nor set nor probe is EINVAL",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            for supported in [SLEEP, SLEEP_UNTIL, WAKE] {
                assert_eq!(feature(&open, 16, supported, &[0; 8]).0, INVALID);
            }
        },
    ),
    both(
        &["F89"],
        "a device that sleeps already is not put to sleep: EINVAL",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(ask(&open, SET | SLEEP), Ok(0));
            assert_eq!(ask(&open, SET | SLEEP), INVALID);
            assert_eq!(sleep_until(&open, signal.number()), INVALID);
        },
    ),
    both(
        &["F89"],
        "waking up is 0, awake or not",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            assert_eq!(ask(&open, SET | WAKE), Ok(0));
            assert_eq!(ask(&open, SET | SLEEP), Ok(0));
            assert_eq!(ask(&open, SET | WAKE), Ok(0));
            assert_eq!(ask(&open, SET | WAKE), Ok(0));
            assert_eq!(ask(&open, SET | SLEEP), Ok(0), "it is awake");
        },
    ),
    both(
        &["F89", "F78"],
        "a device that sleeps is woken up for reading and writing, and sleeps on",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            let before = open.pread(0, 8, 4).unwrap();
            assert_eq!(ask(&open, SET | SLEEP), Ok(0));
            assert_eq!(open.pread(0, 8, 4), Ok(before));
            assert_eq!(open.pwrite(0, INTERRUPT_MASK, &MASKED), Ok(4));
            assert_eq!(open.pread(0, INTERRUPT_MASK, 4).unwrap(), MASKED);
            assert_eq!(open.pread(CONFIG, 0, 2), Ok(vec![0x36, 0x1b]));
            assert_eq!(ask(&open, SET | SLEEP), INVALID, "it is asleep still");
        },
    ),
    both(
        &["F89", "F91"],
        "a device that was asleep when it was closed is awake when it is opened",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            assert_eq!(ask(&open, SET | SLEEP), Ok(0));
            drop((open, rig));
            let (_rig, open) = host.open(Controller);
            assert_eq!(ask(&open, SET | SLEEP), Ok(0));
        },
    ),
    both(
        &["F89"],
        "a wakeup takes 8 bytes: EINVAL with less",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            let data = [signal.number(), 0];
            for short in [8, 15] {
                let answer = feature(&open, short, SET | SLEEP_UNTIL, data.as_bytes()).0;
                assert_eq!(answer, INVALID);
            }
            assert_eq!(sleep_until(&open, signal.number()), Ok(0), "it was awake");
        },
    ),
    both(
        &["F89"],
        "a wakeup by a negative fd is EINVAL, by no file EBADF, by no eventfd EINVAL",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            assert_eq!(
                [-1, i32::MIN].map(|fd| sleep_until(&open, fd)),
                [INVALID; 2]
            );
            assert_eq!(sleep_until(&open, i32::MAX), Err(Errno::BADF));
            assert_eq!(sleep_until(&open, rig.group.as_raw_fd()), INVALID);
            assert_eq!(ask(&open, SET | SLEEP), Ok(0), "it was awake");
        },
    ),
    both(
        &["F89"],
        "the wakeup's fd is looked at before whether the device sleeps",
        CONTROLLER,
        |host| {
            let (_rig, open) = host.open(Controller);
            assert_eq!(ask(&open, SET | SLEEP), Ok(0));
            assert_eq!(sleep_until(&open, i32::MAX), Err(Errno::BADF));
        },
    ),
    both(
        &["F89"],
        "the wakeup's reserved field is not looked at",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            let data = [signal.number(), -1];
            assert_eq!(
                feature(&open, 16, SET | SLEEP_UNTIL, data.as_bytes()).0,
                Ok(0)
            );
        },
    ),
    both(
        &["F89"],
        "whoever asks a device something that sleeps until then wakes it up for good, and its eventfd is signalled once",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(sleep_until(&open, signal.number()), Ok(0));
            host.until_asleep(&host.place(Controller).1);
            assert_eq!(signal.count(), 0);
            assert!(open.pread(0, 8, 4).is_ok());
            assert_eq!(signal.count(), 1);
            assert!(open.pread(0, 8, 4).is_ok());
            assert_eq!(signal.count(), 0);
            assert_eq!(ask(&open, SET | SLEEP), Ok(0), "it was awake");
        },
    ),
    both(
        &["F89"],
        "a call wakes it up so, too, and finds it awake",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(sleep_until(&open, signal.number()), Ok(0));
            host.until_asleep(&host.place(Controller).1);
            assert_eq!(ask(&open, SET | SLEEP), Ok(0), "it was awake");
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["F89", "F91"],
        "closing it signals nothing",
        CONTROLLER,
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(sleep_until(&open, signal.number()), Ok(0));
            host.until_asleep(&host.place(Controller).1);
            drop(open);
            assert_eq!(signal.count(), 0);
            let again = rig.open(&host.place(Controller).1);
            assert_eq!(ask(&again, SET | SLEEP), Ok(0), "it is awake");
        },
    ),
];

/// The call, and the data that is left then.
pub(super) fn feature(open: &Open, argsz: u32, flags: u32, data: &[u8]) -> (Result<u32>, Vec<u8>) {
    let mut bytes = [argsz, flags].as_bytes().to_vec();
    bytes.extend(data);
    let arg = Arg::InOut(&mut bytes);
    let answer = ioctl(open.kernel(), &open.device, uapi::DEVICE_FEATURE, arg);
    (answer, bytes.split_off(8))
}

fn ask(open: &Open, flags: u32) -> Result<u32> {
    feature(open, 8, flags, &[]).0
}

fn sleep_until(open: &Open, fd: i32) -> Result<u32> {
    feature(open, 16, SET | SLEEP_UNTIL, [fd, 0].as_bytes()).0
}

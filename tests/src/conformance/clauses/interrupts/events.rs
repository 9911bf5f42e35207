//! F86: errors and release requests.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{PCI_ERR_IRQ_INDEX as ERR, PCI_REQ_IRQ_INDEX as REQ};

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::Express;
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::rig::{Open, Signal};

use super::{BOOL, INVALID, NO_FD, TRIGGER, fire, no_eventfd, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F86"],
        "firing without data before it is set is EINVAL",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                assert_eq!(fire(device, index, 0), INVALID)
            });
        },
    ),
    both(
        &["F86"],
        "clearing without data before it is set is EINVAL",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                assert_eq!(off(device, index), INVALID)
            });
        },
    ),
    both(
        &["F86"],
        "firing with a byte before it is set answers 0 and fires nothing",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                assert_eq!([0, 1].map(|value| byte(device, index, value)), [Ok(0); 2]);
                let [signal] = signals(device);
                set(device, index, 0, &signal).unwrap();
                assert_eq!(signal.count(), 0);
            });
        },
    ),
    both(
        &["F86"],
        "it is set by an eventfd, and fired without data or with a byte other than 0",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                assert_eq!(set(device, index, 0, &signal), Ok(0));
                assert_eq!((fire(device, index, 0), signal.count()), (Ok(0), 1));
                for (value, signalled) in [(0, 0), (1, 1), (0x80, 1)] {
                    assert_eq!(byte(device, index, value), Ok(0));
                    assert_eq!(signal.count(), signalled);
                }
            });
        },
    ),
    both(
        &["F86"],
        "no eventfds and no bytes are EINVAL, set or not",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                let none = || {
                    assert_eq!(device.trigger(index, 0, &[]), INVALID);
                    assert_eq!(device.irqs(index, BOOL | TRIGGER, (0, 0), &[]), INVALID);
                };
                none();
                set(device, index, 0, &signal).unwrap();
                none();
                still(device, index, &signal);
            });
        },
    ),
    both(
        &["F86", "F81"],
        "other than the one interrupt is EINVAL",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                set(device, index, 0, &signal).unwrap();
                assert_eq!(fire(device, index, 1), INVALID);
                assert_eq!(device.trigger(index, 0, &[signal.number(), -1]), INVALID);
                assert_eq!(device.trigger(index, 1, &[-1]), INVALID);
                still(device, index, &signal);
            });
        },
    ),
    both(
        &["F86"],
        "no data and no count clears it",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                set(device, index, 0, &signal).unwrap();
                assert_eq!((off(device, index), off(device, index)), (Ok(0), INVALID));
                assert_eq!((fire(device, index, 0), signal.count()), (INVALID, 0));
            });
        },
    ),
    both(
        &["F86"],
        "-1 clears it, set or not",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                assert_eq!(device.trigger(index, 0, &[-1]), Ok(0), "not set");
                set(device, index, 0, &signal).unwrap();
                assert_eq!(device.trigger(index, 0, &[-1]), Ok(0));
                assert_eq!((fire(device, index, 0), signal.count()), (INVALID, 0));
            });
        },
    ),
    both(
        &["F86"],
        "what is below -1 is EINVAL and changes nothing",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                assert_eq!(device.trigger(index, 0, &[-2]), INVALID);
                assert_eq!(fire(device, index, 0), INVALID, "it sets nothing");
                set(device, index, 0, &signal).unwrap();
                for fd in [-2, i32::MIN] {
                    assert_eq!(device.trigger(index, 0, &[fd]), INVALID);
                    still(device, index, &signal);
                }
            });
        },
    ),
    both(
        &["F86"],
        "no fd is EBADF, no eventfd EINVAL, and what was set stays",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [signal] = signals(device);
                let wrong = || {
                    assert_eq!(device.trigger(index, 0, &[NO_FD]), Err(Errno::BADF));
                    assert_eq!(device.trigger(index, 0, &[no_eventfd(device)]), INVALID);
                };
                wrong();
                assert_eq!(fire(device, index, 0), INVALID, "not set");
                set(device, index, 0, &signal).unwrap();
                wrong();
                still(device, index, &signal);
            });
        },
    ),
    both(
        &["F86"],
        "another eventfd takes the place of the first",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let [first, second] = signals(device);
                set(device, index, 0, &first).unwrap();
                assert_eq!(set(device, index, 0, &second), Ok(0));
                still(device, index, &second);
                assert_eq!(first.count(), 0);
            });
        },
    ),
    both(
        &["F86"],
        "an eventfd that its owner closed is kept",
        &[Device(Express)],
        |host| {
            each(host, |device, index| {
                let signal = Signal::new(device.kernel());
                set(device, index, 0, &signal).unwrap();
                drop(signal);
                assert_eq!(fire(device, index, 0), Ok(0));
            });
        },
    ),
    both(
        &["F86"],
        "errors and release requests are apart",
        &[Device(Express)],
        |host| {
            let (_rig, device) = host.open(Express);
            let [error, request] = signals(&device);
            set(&device, ERR, 0, &error).unwrap();
            assert_eq!(fire(&device, REQ, 0), INVALID);
            set(&device, REQ, 0, &request).unwrap();
            fire(&device, REQ, 0).unwrap();
            assert_eq!((error.count(), request.count()), (0, 1));
            off(&device, REQ).unwrap();
            still(&device, ERR, &error);
        },
    ),
    both(
        &["F86", "F91"],
        "closing the device clears it",
        &[Device(Express)],
        |host| {
            let (rig, device) = host.open(Express);
            let [error, request] = signals(&device);
            set(&device, ERR, 0, &error).unwrap();
            set(&device, REQ, 0, &request).unwrap();
            drop(device);
            let device = rig.open(&host.device(Express).bdf);
            assert_eq!(
                [ERR, REQ].map(|index| fire(&device, index, 0)),
                [INVALID; 2]
            );
            assert_eq!((error.count(), request.count()), (0, 0));
        },
    ),
];

/// Both of them, each of a device that was just opened.
fn each(host: &Host, ask: impl Fn(&Open, u32)) {
    for index in [ERR, REQ] {
        let (_rig, device) = host.open(Express);
        ask(&device, index);
    }
}

fn byte(device: &Open, index: u32, value: u8) -> vfio_core::kernel::Result<u32> {
    device.irqs(index, BOOL | TRIGGER, (0, 1), &[value])
}

/// It is set to that.
fn still(device: &Open, index: u32, signal: &Signal) {
    assert_eq!((fire(device, index, 0), signal.count()), (Ok(0), 1));
}

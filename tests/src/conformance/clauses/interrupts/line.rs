//! F83: the interrupt line, switched on and off and fired without the device.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{PCI_INTX_IRQ_INDEX as INTX, PCI_REQ_IRQ_INDEX as REQ};

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::Line;
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::Signal;

use super::{BOOL, EVENTFD, INVALID, MASK, NO_FD, NONE, TRIGGER, UNMASK};
use super::{fire, no_eventfd, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F83"],
        "a line that is off cannot be fired: EINVAL",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            assert_eq!(fire(&device, INTX, 0), INVALID);
            for value in [0, 1] {
                let answer = device.irqs(INTX, BOOL | TRIGGER, (0, 1), &[value]);
                assert_eq!(answer, INVALID);
            }
        },
    ),
    both(
        &["F83"],
        "a line that is off cannot be masked or unmasked: EINVAL",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            for action in [MASK, UNMASK] {
                for (kind, data) in [(NONE, &[][..]), (BOOL, &[1]), (EVENTFD, &[0xff; 4])] {
                    assert_eq!(device.irqs(INTX, kind | action, (0, 1), data), INVALID);
                }
            }
        },
    ),
    both(
        &["F83"],
        "a line that is off cannot be switched off: EINVAL",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal] = signals(&device);
            assert_eq!(off(&device, INTX), INVALID);
            set(&device, INTX, 0, &signal).unwrap();
            assert_eq!((off(&device, INTX), off(&device, INTX)), (Ok(0), INVALID));
        },
    ),
    both(
        &["F83"],
        "nothing but the one interrupt: setting or masking none is EINVAL",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            assert_eq!(device.trigger(INTX, 0, &[]), INVALID, "off");
            device.trigger(INTX, 0, &[-1]).unwrap();
            assert_eq!(device.trigger(INTX, 0, &[]), INVALID);
            assert_eq!(device.irqs(INTX, BOOL | TRIGGER, (0, 0), &[]), INVALID);
            for action in [MASK, UNMASK] {
                assert_eq!(device.irqs(INTX, NONE | action, (0, 0), &[]), INVALID);
            }
            assert_eq!(fire(&device, INTX, 0), Ok(0), "it is on still");
        },
    ),
    both(
        &["F83"],
        "a line is fired without data, or with a byte other than 0",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal] = signals(&device);
            set(&device, INTX, 0, &signal).unwrap();
            let byte = |byte: u8| device.irqs(INTX, BOOL | TRIGGER, (0, 1), &[byte]);
            assert_eq!((fire(&device, INTX, 0), signal.count()), (Ok(0), 1));
            assert_eq!((byte(0), signal.count()), (Ok(0), 0));
            assert_eq!((byte(1), signal.count()), (Ok(0), 1));
            assert_eq!((byte(0x80), signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F83"],
        "firing a line does not mask it, and is not masked",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal] = signals(&device);
            set(&device, INTX, 0, &signal).unwrap();
            fire(&device, INTX, 0).unwrap();
            fire(&device, INTX, 0).unwrap();
            assert_eq!(signal.count(), 2);
            device.irqs(INTX, NONE | MASK, (0, 1), &[]).unwrap();
            assert_eq!((fire(&device, INTX, 0), signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F83"],
        "-1 switches a line on, without an eventfd",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal] = signals(&device);
            assert_eq!(device.trigger(INTX, 0, &[-1]), Ok(0));
            assert_eq!(fire(&device, INTX, 0), Ok(0), "to nobody");
            assert_eq!(set(&device, INTX, 0, &signal), Ok(0));
            assert_eq!((fire(&device, INTX, 0), signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F83"],
        "any negative number takes the eventfd away and leaves the line on",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal] = signals(&device);
            for negative in [-1, -2, i32::MIN] {
                set(&device, INTX, 0, &signal).unwrap();
                assert_eq!(device.trigger(INTX, 0, &[negative]), Ok(0));
                assert_eq!((fire(&device, INTX, 0), signal.count()), (Ok(0), 0));
            }
        },
    ),
    both(
        &["F83"],
        "another eventfd takes the place of the first",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [first, second] = signals(&device);
            set(&device, INTX, 0, &first).unwrap();
            assert_eq!(set(&device, INTX, 0, &second), Ok(0));
            fire(&device, INTX, 0).unwrap();
            assert_eq!((first.count(), second.count()), (0, 1));
            assert_eq!(set(&device, INTX, 0, &second), Ok(0), "itself too");
            fire(&device, INTX, 0).unwrap();
            assert_eq!(second.count(), 1);
        },
    ),
    both(
        &["F83"],
        "a number of no fd is EBADF, and switches no line on",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            assert_eq!(device.trigger(INTX, 0, &[NO_FD]), Err(Errno::BADF));
            assert_eq!(fire(&device, INTX, 0), INVALID);
        },
    ),
    both(
        &["F83"],
        "what is no eventfd is EINVAL, and switches no line on",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            assert_eq!(device.trigger(INTX, 0, &[no_eventfd(&device)]), INVALID);
            assert_eq!(fire(&device, INTX, 0), INVALID);
        },
    ),
    both(
        &["F83"],
        "a wrong fd leaves a line that is on as it was",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal] = signals(&device);
            set(&device, INTX, 0, &signal).unwrap();
            assert_eq!(device.trigger(INTX, 0, &[NO_FD]), Err(Errno::BADF));
            assert_eq!(device.trigger(INTX, 0, &[no_eventfd(&device)]), INVALID);
            assert_eq!((fire(&device, INTX, 0), signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F83"],
        "an eventfd that its owner closed is kept",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let signal = Signal::new(device.kernel());
            set(&device, INTX, 0, &signal).unwrap();
            drop(signal);
            assert_eq!(fire(&device, INTX, 0), Ok(0));
            assert_eq!(off(&device, INTX), Ok(0));
        },
    ),
    both(
        &["F83", "F91"],
        "closing the device switches its line off",
        &[Device(Line)],
        |host| {
            let (rig, device) = host.open(Line);
            let [signal] = signals(&device);
            set(&device, INTX, 0, &signal).unwrap();
            drop(device);
            let device = rig.open(&host.device(Line).bdf);
            assert_eq!(fire(&device, INTX, 0), INVALID);
            set(&device, INTX, 0, &signal).unwrap();
            fire(&device, INTX, 0).unwrap();
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["F83", "F84"],
        "the line and release requests are apart",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [line, request] = signals(&device);
            set(&device, REQ, 0, &request).unwrap();
            set(&device, INTX, 0, &line).unwrap();
            off(&device, INTX).unwrap();
            assert_eq!((fire(&device, REQ, 0), request.count()), (Ok(0), 1));
            set(&device, INTX, 0, &line).unwrap();
            off(&device, REQ).unwrap();
            assert_eq!((fire(&device, INTX, 0), line.count()), (Ok(0), 1));
        },
    ),
];

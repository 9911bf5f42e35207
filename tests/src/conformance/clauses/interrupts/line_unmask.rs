//! F83: an eventfd that unmasks the line.

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi::PCI_INTX_IRQ_INDEX as INTX;
use zerocopy::IntoBytes;

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Engine, Line};
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::{Open, Signal};

use super::edu::Edu;
use super::{EVENTFD, INVALID, NO_FD, UNMASK, fire, no_eventfd, off, set, signals};

const BUSY: Result<u32> = Err(Errno::BUSY);

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F83"],
        "an eventfd unmasks the line, each time that it is signalled",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal, unmask] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            assert_eq!(unmask_by(&edu, unmask.number()), Ok(0));
            edu.raise();
            for _ in 0..3 {
                assert_eq!(signal.wait(), 1);
                unmask.send();
            }
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "the kernel takes the count of an eventfd that unmasks",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal, unmask] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            unmask_by(&edu, unmask.number()).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
            unmask.send();
            assert_eq!((signal.wait(), unmask.count()), (1, 0));
        },
    ),
    both(
        &["F83"],
        "an eventfd that unmasks a line that is not asserted signals nothing",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal, unmask] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            unmask_by(&edu, unmask.number()).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
            edu.acknowledge();
            unmask.send();
            unmask.wait_taken();
            edu.raise();
            assert_eq!(
                signal.wait(),
                1,
                "it was unmasked, and only the new one came"
            );
        },
    ),
    both(
        &["F83"],
        "an eventfd that is signalled already unmasks at once",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal, unmask] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
            unmask.send();
            assert_eq!(unmask_by(&edu, unmask.number()), Ok(0));
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "a second eventfd for unmasking is EBUSY, the same one too",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [first, second] = signals(&device);
            device.trigger(INTX, 0, &[-1]).unwrap();
            assert_eq!(unmask_by(&device, first.number()), Ok(0));
            assert_eq!(
                [&second, &first].map(|fd| unmask_by(&device, fd.number())),
                [BUSY; 2]
            );
        },
    ),
    both(
        &["F83"],
        "what is wrong with an eventfd for unmasking is looked at before EBUSY",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [first] = signals(&device);
            device.trigger(INTX, 0, &[-1]).unwrap();
            unmask_by(&device, first.number()).unwrap();
            assert_eq!(unmask_by(&device, NO_FD), Err(Errno::BADF));
            assert_eq!(unmask_by(&device, no_eventfd(&device)), INVALID);
        },
    ),
    both(
        &["F83"],
        "unmasking by no fd is EBADF, by no eventfd EINVAL, and neither is one",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [unmask] = signals(&device);
            device.trigger(INTX, 0, &[-1]).unwrap();
            assert_eq!(unmask_by(&device, NO_FD), Err(Errno::BADF));
            assert_eq!(unmask_by(&device, no_eventfd(&device)), INVALID);
            assert_eq!(
                unmask_by(&device, unmask.number()),
                Ok(0),
                "there is none yet"
            );
        },
    ),
    both(
        &["F83"],
        "a negative number takes the eventfd away, if there is one",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [first, second] = signals(&device);
            device.trigger(INTX, 0, &[-1]).unwrap();
            assert_eq!(
                [-1, -2].map(|none| unmask_by(&device, none)),
                [Ok(0); 2],
                "there is none"
            );
            assert_eq!(unmask_by(&device, first.number()), Ok(0));
            assert_eq!(unmask_by(&device, -1), Ok(0));
            assert_eq!(unmask_by(&device, second.number()), Ok(0));
            assert_eq!(unmask_by(&device, i32::MIN), Ok(0));
            assert_eq!(unmask_by(&device, first.number()), Ok(0));
        },
    ),
    both(
        &["F83"],
        "an eventfd that was taken away unmasks nothing, and keeps its count",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal, first, second] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            unmask_by(&edu, first.number()).unwrap();
            unmask_by(&edu, -1).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
            first.send();
            unmask_by(&edu, second.number()).unwrap();
            second.send();
            assert_eq!(
                (signal.wait(), first.count()),
                (1, 1),
                "by the second alone"
            );
        },
    ),
    both(
        &["F83"],
        "an eventfd for unmasking goes when the line is switched off",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal, first, second] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            unmask_by(&edu, first.number()).unwrap();
            off(&edu, INTX).unwrap();
            first.send();
            set(&edu, INTX, 0, &signal).unwrap();
            assert_eq!(unmask_by(&edu, second.number()), Ok(0));
            edu.raise();
            assert_eq!(signal.wait(), 1);
            second.send();
            assert_eq!((signal.wait(), first.count()), (1, 1));
        },
    ),
    both(
        &["F83"],
        "an eventfd for unmasking stays when the line's own is another",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [first, second, unmask] = signals(&edu);
            set(&edu, INTX, 0, &first).unwrap();
            unmask_by(&edu, unmask.number()).unwrap();
            set(&edu, INTX, 0, &second).unwrap();
            edu.raise();
            assert_eq!(second.wait(), 1);
            unmask.send();
            assert_eq!(second.wait(), 1);
            assert_eq!(unmask_by(&edu, unmask.number()), BUSY);
        },
    ),
    both(
        &["F83"],
        "an eventfd whose last fd is closed unmasks no more, and makes room",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let first = Signal::new(device.kernel());
            device.trigger(INTX, 0, &[-1]).unwrap();
            unmask_by(&device, first.number()).unwrap();
            drop(first);
            let [second] = signals(&device);
            assert_eq!(unmask_by(&device, second.number()), Ok(0));
        },
    ),
    both(
        &["F83", "F91"],
        "closing a device whose line an eventfd unmasks is clean",
        &[Device(Engine)],
        |host| {
            let closed = {
                let edu = Edu::open(host);
                let [signal, unmask] = signals(&edu);
                set(&edu, INTX, 0, &signal).unwrap();
                unmask_by(&edu, unmask.number()).unwrap();
                edu.raise();
                assert_eq!(signal.wait(), 1);
                unmask
            };
            closed.send();
            let edu = Edu::open(host);
            let [signal, unmask] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            unmask_by(&edu, unmask.number()).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
            unmask.send();
            assert_eq!((signal.wait(), closed.count()), (1, 1), "nobody took it");
        },
    ),
    both(
        &["F83"],
        "an eventfd unmasks nothing that is off in the command register",
        &[Device(Engine)],
        |host| {
            const QUIET: u16 = 1 << 10;
            let edu = Edu::open(host);
            let [signal, unmask] = signals(&edu);
            set(&edu, INTX, 0, &signal).unwrap();
            unmask_by(&edu, unmask.number()).unwrap();
            let command = edu.config(crate::conformance::rig::COMMAND);
            edu.set_config(crate::conformance::rig::COMMAND, command | QUIET);
            edu.raise();
            unmask.send();
            unmask.wait_taken();
            edu.acknowledge();
            edu.set_config(crate::conformance::rig::COMMAND, command);
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "what was fired");
        },
    ),
];

fn unmask_by(device: &Open, fd: i32) -> Result<u32> {
    device.irqs(INTX, EVENTFD | UNMASK, (0, 1), fd.as_bytes())
}

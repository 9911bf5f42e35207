//! F83, F79: the interrupt line as a device asserts it.
//!
//! That nothing comes is seen by what comes later: it is one signal, not two.

use vfio_core::uapi::PCI_INTX_IRQ_INDEX as INTX;

use crate::conformance::clause::Needs::{Device, FindsAsserted};
use crate::conformance::clause::Trait::Engine;
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::{COMMAND, Open, Signal};

use super::edu::Edu;
use super::{BOOL, MASK, NONE, UNMASK, fire, off, set, signals};

/// The bit of the command register that switches the line off.
const LINE_OFF: u16 = 1 << 10;
const STATUS: u64 = 6;
/// The bit of the status register that shows the line.
const LINE_ASSERTED: u16 = 1 << 3;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F83"],
        "a line that is asserted signals its eventfd",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            edu.raise();
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "the status register shows the line, also while nobody listens or it is off or masked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let shows = || edu.config(STATUS) & LINE_ASSERTED != 0;
            let assert_shown = |when: &str| {
                assert!(!shows(), "{when}");
                edu.raise();
                assert!(shows(), "{when}");
                edu.acknowledge();
                assert!(!shows(), "{when}");
            };
            assert_shown("nobody listens");
            let _signal = on(&edu);
            mask(&edu);
            assert_shown("masked");
            edu.set_config(COMMAND, edu.config(COMMAND) | LINE_OFF);
            assert_shown("off");
        },
    ),
    both(
        &["F83"],
        "a line masks itself: it signals once until it is unmasked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            edu.raise();
            assert_eq!(signal.wait(), 1);
            edu.acknowledge();
            edu.raise();
            unmask(&edu);
            assert_eq!(signal.wait(), 1, "the second, now");
        },
    ),
    both(
        &["F83"],
        "a line that is asserted still signals again when it is unmasked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            edu.raise();
            for _ in 0..3 {
                assert_eq!(signal.wait(), 1);
                unmask(&edu);
            }
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "a line that is asserted no more signals nothing when it is unmasked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            edu.raise();
            assert_eq!(signal.wait(), 1);
            edu.acknowledge();
            unmask(&edu);
            edu.raise();
            assert_eq!(signal.wait(), 1, "the new one alone");
        },
    ),
    both(
        &["F83"],
        "what is asserted while the line is masked comes when it is unmasked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            mask(&edu);
            edu.raise();
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "what was fired");
            unmask(&edu);
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "what is asserted and taken back while the line is masked is lost",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            mask(&edu);
            edu.raise();
            edu.acknowledge();
            unmask(&edu);
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "what was fired");
        },
    ),
    both(
        &["F83"],
        "masking twice is masking once",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            mask(&edu);
            mask(&edu);
            edu.raise();
            unmask(&edu);
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "unmasking what is not masked signals nothing",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            unmask(&edu);
            unmask(&edu);
            edu.raise();
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "a byte of 0 masks and unmasks nothing, another does",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            let byte = |action, byte: u8| edu.irqs(INTX, BOOL | action, (0, 1), &[byte]);
            assert_eq!(byte(MASK, 0), Ok(0));
            edu.raise();
            assert_eq!(signal.wait(), 1, "not masked");
            assert_eq!(byte(UNMASK, 0), Ok(0));
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "not unmasked: what was fired alone");
            edu.acknowledge();
            assert_eq!(byte(UNMASK, 1), Ok(0));
            assert_eq!(byte(MASK, 2), Ok(0));
            edu.raise();
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "masked: what was fired alone");
            assert_eq!(byte(UNMASK, 0x80), Ok(0));
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "a line that is asserted already signals when it is switched on",
        &[Device(Engine), FindsAsserted],
        |host| {
            let edu = Edu::open(host);
            edu.raise();
            let signal = on(&edu);
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "a line that is switched on again is not masked any more",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            mask(&edu);
            off(&edu, INTX).unwrap();
            set(&edu, INTX, 0, &signal).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "another eventfd does not unmask the line",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let first = on(&edu);
            edu.raise();
            assert_eq!(first.wait(), 1);
            let [second] = signals(&edu);
            set(&edu, INTX, 0, &second).unwrap();
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(second.wait(), 1, "what was fired");
            unmask(&edu);
            assert_eq!((second.wait(), first.count()), (1, 0));
        },
    ),
    both(
        &["F83"],
        "a line without an eventfd masks itself too",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            edu.trigger(INTX, 0, &[-1]).unwrap();
            edu.raise();
            let signal = on(&edu);
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "what was fired");
            unmask(&edu);
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83"],
        "a line that was switched off signals nothing more",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let first = on(&edu);
            off(&edu, INTX).unwrap();
            edu.raise();
            edu.acknowledge();
            let second = on(&edu);
            edu.raise();
            assert_eq!((second.wait(), first.count()), (1, 0));
        },
    ),
    both(
        &["F79", "F83"],
        "a line that is off in the command register is not signalled, by the device or by firing",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            quiet(&edu, true);
            edu.raise();
            assert_eq!(fire(&edu, INTX, 0), Ok(0));
            quiet(&edu, false);
            assert_eq!(signal.wait(), 1, "it is asserted still");
        },
    ),
    both(
        &["F79", "F83"],
        "a line that is off in the command register is not unmasked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            quiet(&edu, true);
            edu.raise();
            unmask(&edu);
            edu.acknowledge();
            quiet(&edu, false);
            fire(&edu, INTX, 0).unwrap();
            assert_eq!(signal.wait(), 1, "what was fired");
        },
    ),
    both(
        &["F79", "F83"],
        "switching it on in the command register unmasks the line, whatever masked it",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let signal = on(&edu);
            mask(&edu);
            edu.raise();
            quiet(&edu, true);
            quiet(&edu, false);
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F79", "F83"],
        "a line that is off in the command register can be switched on, masked",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            quiet(&edu, true);
            edu.raise();
            let signal = on(&edu);
            assert_eq!(fire(&edu, INTX, 0), Ok(0));
            quiet(&edu, false);
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F83", "F91"],
        "closing a device whose line is asserted is clean",
        &[Device(Engine)],
        |host| {
            let signal = {
                let edu = Edu::open(host);
                let signal = on(&edu);
                edu.raise();
                assert_eq!(signal.wait(), 1);
                signal
            };
            let edu = Edu::open(host);
            let again = on(&edu);
            edu.raise();
            assert_eq!((again.wait(), signal.count()), (1, 0));
        },
    ),
];

/// The line is on, with an eventfd.
fn on(device: &Open) -> Signal {
    let signal = Signal::new(device.kernel());
    set(device, INTX, 0, &signal).unwrap();
    signal
}

fn mask(device: &Open) {
    assert_eq!(device.irqs(INTX, NONE | MASK, (0, 1), &[]), Ok(0));
}

fn unmask(device: &Open) {
    assert_eq!(device.irqs(INTX, NONE | UNMASK, (0, 1), &[]), Ok(0));
}

/// Switches the line off in the command register, or on.
fn quiet(device: &Open, is_quiet: bool) {
    let rest = device.config(COMMAND) & !LINE_OFF;
    device.set_config(COMMAND, if is_quiet { rest | LINE_OFF } else { rest });
}

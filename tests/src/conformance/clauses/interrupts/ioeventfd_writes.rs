//! F90: an eventfd that writes a register, as the device sees it.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{DeviceIoEventFd, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI};

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::Engine;
use crate::conformance::clause::{Clause, both};
use crate::conformance::rig::{COMMAND, Signal};

use super::edu::{Edu, LIVENESS, RAISE};
use super::ioeventfd::{WORD, ask, write};
use super::{fire, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F90"],
        "an eventfd writes the register each time that it is signalled",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            assert_eq!(ask(&edu, raise(&edu, &kick)), Ok(0));
            for _ in 0..3 {
                kick.send();
                assert_eq!(told.wait(), 1, "the device has sent its message");
            }
        },
    ),
    both(
        &["F90"],
        "the kernel takes the count of an eventfd that writes",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            ask(&edu, raise(&edu, &kick)).unwrap();
            kick.send();
            assert_eq!((told.wait(), kick.count()), (1, 0));
        },
    ),
    both(
        &["F90"],
        "an eventfd that is signalled already writes at once",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            kick.send();
            assert_eq!(ask(&edu, raise(&edu, &kick)), Ok(0));
            assert_eq!(told.wait(), 1);
        },
    ),
    both(
        &["F90"],
        "an eventfd can drive the line too",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, INTX, 0, &told).unwrap();
            ask(&edu, raise(&edu, &kick)).unwrap();
            kick.send();
            assert_eq!(told.wait(), 1);
        },
    ),
    both(
        &["F90"],
        "an eventfd whose write was taken away writes nothing, and keeps its count",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            ask(&edu, raise(&edu, &kick)).unwrap();
            let gone = DeviceIoEventFd {
                fd: -1,
                ..raise(&edu, &kick)
            };
            assert_eq!(ask(&edu, gone), Ok(0));
            kick.send();
            fire(&edu, MSI, 0).unwrap();
            assert_eq!((told.wait(), kick.count()), (1, 1), "what was fired");
        },
    ),
    both(
        &["F90"],
        "while memory decoding is off, the write is lost and the count taken",
        &[Device(Engine)],
        |host| {
            const MEMORY: u16 = 1 << 1;
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            ask(&edu, raise(&edu, &kick)).unwrap();
            let command = edu.config(COMMAND);
            edu.set_config(COMMAND, command & !MEMORY);
            kick.send();
            kick.wait_taken();
            edu.set_config(COMMAND, command);
            kick.send();
            assert_eq!(told.wait(), 1, "the second alone");
        },
    ),
    both(
        &["F90"],
        "a write can be set up while memory decoding is off",
        &[Device(Engine)],
        |host| {
            const MEMORY: u16 = 1 << 1;
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            let command = edu.config(COMMAND);
            edu.set_config(COMMAND, command & !MEMORY);
            assert_eq!(ask(&edu, raise(&edu, &kick)), Ok(0));
            edu.set_config(COMMAND, command);
            kick.send();
            assert_eq!(told.wait(), 1);
        },
    ),
    both(
        &["F90"],
        "two eventfds write one register, each its own number",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [told, first, second] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            ask(&edu, raise(&edu, &first)).unwrap();
            let other = DeviceIoEventFd {
                data: edu.order(2).into(),
                ..raise(&edu, &second)
            };
            assert_eq!(ask(&edu, other), Ok(0));
            for kick in [&first, &second] {
                kick.send();
                assert_eq!(told.wait(), 1);
            }
        },
    ),
    both(
        &["F90"],
        "one eventfd writes all that it is to write",
        &[Device(Engine)],
        |host| {
            const NUMBER: u32 = 0x1234_5678;
            let edu = Edu::open(host);
            let [told, kick] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            let alive = DeviceIoEventFd {
                data: edu.order(NUMBER).into(),
                ..write(LIVENESS, WORD, kick.number())
            };
            assert_eq!(ask(&edu, alive), Ok(0));
            assert_eq!(ask(&edu, raise(&edu, &kick)), Ok(0));
            for _ in 0..2 {
                edu.write(LIVENESS, 0).unwrap();
                kick.send();
                assert_eq!((told.wait(), kick.count()), (1, 0));
                let answer = edu.order(!NUMBER).to_le_bytes();
                assert_eq!(edu.pread(0, LIVENESS, 4), Ok(answer.to_vec()));
            }
        },
    ),
    both(
        &["F90"],
        "an eventfd whose last fd is closed leaves its write where it was",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let kick = Signal::new(edu.kernel());
            let write = raise(&edu, &kick);
            ask(&edu, write).unwrap();
            drop(kick);
            let [other] = signals(&edu);
            let again = DeviceIoEventFd {
                fd: other.number(),
                ..write
            };
            assert_eq!(ask(&edu, again), Err(Errno::EXIST));
            assert_eq!(ask(&edu, DeviceIoEventFd { fd: -1, ..write }), Ok(0));
        },
    ),
    both(
        &["F90", "F91"],
        "closing a device that an eventfd writes is clean",
        &[Device(Engine)],
        |host| {
            let kick = {
                let edu = Edu::open(host);
                let [kick] = signals(&edu);
                ask(&edu, raise(&edu, &kick)).unwrap();
                kick
            };
            kick.send();
            let edu = Edu::open(host);
            let [told] = signals(&edu);
            set(&edu, MSI, 0, &told).unwrap();
            edu.raise();
            assert_eq!((told.wait(), kick.count()), (1, 1), "nobody took it");
        },
    ),
];

/// The register that raises an interrupt, written with 1.
fn raise(edu: &Edu, kick: &Signal) -> DeviceIoEventFd {
    DeviceIoEventFd {
        data: edu.order(1).into(),
        ..write(RAISE, WORD, kick.number())
    }
}

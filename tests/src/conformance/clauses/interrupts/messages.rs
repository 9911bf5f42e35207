//! F85: MSI and MSI-X as devices send them.

use vfio_core::uapi::{PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX};

use crate::conformance::clause::Needs::{Device, NoIts};
use crate::conformance::clause::Trait::{Engine, Msix};
use crate::conformance::clause::{Clause, both};

use super::edu::Edu;
use super::{fire, off, set, signals};

const MSI_CAPABILITY: u8 = 0x05;
const MSIX_CAPABILITY: u8 = 0x11;
/// Where the control word of both is.
const CONTROL: u64 = 2;
const MSI_ON: u16 = 1 << 0;
const MSIX_ON: u16 = 1 << 15;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F85"],
        "a message of the device signals its eventfd",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal] = signals(&edu);
            set(&edu, MSI, 0, &signal).unwrap();
            edu.raise();
            assert_eq!(signal.wait(), 1);
        },
    ),
    both(
        &["F85"],
        "messages mask nothing: each signals",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal] = signals(&edu);
            set(&edu, MSI, 0, &signal).unwrap();
            for _ in 0..3 {
                edu.raise();
                assert_eq!(signal.wait(), 1);
            }
        },
    ),
    both(
        &["F85"],
        "a message of MSI without an eventfd is kept, as one, on x86, and lost elsewhere",
        &[NoIts, Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal] = signals(&edu);
            let kept = u64::from(host.machine().arch == "x86_64");
            edu.trigger(MSI, 0, &[-1]).unwrap();
            edu.raise();
            edu.raise();
            set(&edu, MSI, 0, &signal).unwrap();
            fire(&edu, MSI, 0).unwrap();
            let mut came = 0;
            while came < 1 + kept {
                came += signal.wait();
            }
            fire(&edu, MSI, 0).unwrap();
            assert_eq!((came, signal.wait()), (1 + kept, 1));
        },
    ),
    both(
        &["F85"],
        "a message needs a bus master, and is lost without one",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [signal] = signals(&edu);
            set(&edu, MSI, 0, &signal).unwrap();
            edu.master(false);
            edu.raise();
            edu.master(true);
            edu.raise();
            assert_eq!(signal.wait(), 1, "the second alone");
        },
    ),
    both(
        &["F85"],
        "a message reaches the eventfd that took the place of another",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [first, second] = signals(&edu);
            set(&edu, MSI, 0, &first).unwrap();
            set(&edu, MSI, 0, &second).unwrap();
            edu.raise();
            assert_eq!((second.wait(), first.count()), (1, 0));
        },
    ),
    both(
        &["F85"],
        "MSI that was switched off and on again is delivered",
        &[Device(Engine)],
        |host| {
            let edu = Edu::open(host);
            let [first, second] = signals(&edu);
            set(&edu, MSI, 0, &first).unwrap();
            off(&edu, MSI).unwrap();
            set(&edu, MSI, 0, &second).unwrap();
            edu.raise();
            assert_eq!((second.wait(), first.count()), (1, 0));
        },
    ),
    both(
        &["F79", "F85"],
        "config space shows of MSI what its driver enabled there, which it can while MSI is on",
        &[Device(Engine)],
        |host| {
            let (_rig, device) = host.open(Engine);
            let [signal] = signals(&device);
            let at = device.capability(MSI_CAPABILITY) + CONTROL;
            assert_eq!(device.config(at) & MSI_ON, 0);
            device.set_config(at, device.config(at) | MSI_ON);
            assert_eq!(device.config(at) & MSI_ON, 0, "it is not on");
            set(&device, MSI, 0, &signal).unwrap();
            assert_eq!(device.config(at) & MSI_ON, 0);
            device.set_config(at, device.config(at) | MSI_ON);
            assert_eq!(device.config(at) & MSI_ON, MSI_ON);
            off(&device, MSI).unwrap();
            assert_eq!(device.config(at) & MSI_ON, MSI_ON, "until it is written");
            device.set_config(at, device.config(at));
            assert_eq!(device.config(at) & MSI_ON, 0);
        },
    ),
    both(
        &["F79", "F85"],
        "config space shows that MSI-X is on, while it is",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            let at = device.capability(MSIX_CAPABILITY) + CONTROL;
            assert_eq!(device.config(at) & MSIX_ON, 0);
            set(&device, MSIX, 0, &signal).unwrap();
            assert_eq!(device.config(at) & MSIX_ON, MSIX_ON);
            off(&device, MSIX).unwrap();
            assert_eq!(device.config(at) & MSIX_ON, 0);
        },
    ),
];

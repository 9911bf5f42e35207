//! F85: MSI and MSI-X, fired without the device.

use vfio_core::uapi::{PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX};

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Msi, Msix};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::rig::{COMMAND, Open, Signal};

use super::{BOOL, INVALID, NONE, TRIGGER, fire, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F85"],
        "MSI that is off cannot be fired or switched off: EINVAL",
        &[Device(Msi)],
        |host| {
            is_off(host, Msi, MSI);
        },
    ),
    both(
        &["F85"],
        "MSI-X that is off cannot be fired or switched off: EINVAL",
        &[Device(Msix)],
        |host| {
            is_off(host, Msix, MSIX);
        },
    ),
    both(
        &["F85"],
        "without data, every vector of the range is fired",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            assert_eq!(device.irqs(MSIX, NONE | TRIGGER, (1, 2), &[]), Ok(0));
            assert_eq!(counts(&all), [0, 1, 1]);
        },
    ),
    both(
        &["F85"],
        "with bytes, those vectors are fired that are not 0",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            let fire = |start, bytes: &[u8]| {
                let count = u32::try_from(bytes.len()).unwrap();
                device.irqs(MSIX, BOOL | TRIGGER, (start, count), bytes)
            };
            assert_eq!((fire(0, &[1, 0, 0xff]), counts(&all)), (Ok(0), [1, 0, 1]));
            assert_eq!((fire(1, &[1, 0]), counts(&all)), (Ok(0), [0, 1, 0]));
            assert_eq!((fire(0, &[0, 0, 0]), counts(&all)), (Ok(0), [0, 0, 0]));
        },
    ),
    both(
        &["F85"],
        "no bytes at all fire nothing",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            assert_eq!(device.irqs(MSIX, BOOL | TRIGGER, (0, 0), &[]), Ok(0));
            assert_eq!((fire(&device, MSIX, 0), counts(&all)), (Ok(0), [1, 0, 0]));
        },
    ),
    both(
        &["F85"],
        "vectors without an eventfd are passed over",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            device.trigger(MSIX, 1, &[-1]).unwrap();
            assert_eq!(device.irqs(MSIX, NONE | TRIGGER, (0, 3), &[]), Ok(0));
            assert_eq!(counts(&all), [1, 0, 1]);
            assert_eq!(device.irqs(MSIX, BOOL | TRIGGER, (0, 3), &[1; 3]), Ok(0));
            assert_eq!(counts(&all), [1, 0, 1]);
        },
    ),
    both(
        &["F85"],
        "vectors that are not allocated are passed over",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            let most = host.device(Msix).interrupts.msix.unwrap().vectors;
            assert_eq!(device.irqs(MSIX, NONE | TRIGGER, (2, most - 2), &[]), Ok(0));
            assert_eq!(counts(&all), [0, 0, 1]);
            assert_eq!(fire(&device, MSIX, most - 1), Ok(0));
        },
    ),
    both(
        &["F85"],
        "an eventfd counts how often its vectors were fired",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            device.trigger(MSIX, 0, &[signal.number(); 3]).unwrap();
            assert_eq!(device.irqs(MSIX, NONE | TRIGGER, (0, 3), &[]), Ok(0));
            assert_eq!(fire(&device, MSIX, 1), Ok(0));
            assert_eq!(signal.count(), 4);
        },
    ),
    both(
        &["F85"],
        "firing needs no bus master",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            device.master(false);
            assert_eq!((fire(&device, MSIX, 0), counts(&all)), (Ok(0), [1, 0, 0]));
        },
    ),
    both(
        &["F85"],
        "no data and no count switches the index off, wherever it starts",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let all = three(&device);
            assert_eq!(device.irqs(MSIX, NONE | TRIGGER, (2, 0), &[]), Ok(0));
            assert_eq!(fire(&device, MSIX, 0), INVALID);
            assert_eq!(counts(&all), [0, 0, 0]);
        },
    ),
    both(
        &["F85"],
        "the index can be switched on without memory space, which stays off",
        &[Device(Msix)],
        |host| {
            const MEMORY: u16 = 1 << 1;
            let (_rig, device) = host.open(Msix);
            let command = device.config(COMMAND) & !MEMORY;
            device.set_config(COMMAND, command);
            let all = three(&device);
            assert_eq!((fire(&device, MSIX, 0), counts(&all)), (Ok(0), [1, 0, 0]));
            assert_eq!(device.config(COMMAND) & MEMORY, 0);
            assert_eq!(off(&device, MSIX), Ok(0));
            assert_eq!(device.config(COMMAND) & MEMORY, 0);
        },
    ),
];

/// The first three vectors are on.
fn three(device: &Open) -> [Signal; 3] {
    let all = signals(device);
    let numbers = all.each_ref().map(Signal::number);
    assert_eq!(device.trigger(MSIX, 0, &numbers), Ok(0));
    all
}

fn counts(all: &[Signal; 3]) -> [u64; 3] {
    all.each_ref().map(Signal::count)
}

fn is_off(host: &Host, like: Trait, index: u32) {
    let (_rig, device) = host.open(like);
    let refuses = || {
        assert_eq!(fire(&device, index, 0), INVALID);
        for byte in [0, 1] {
            assert_eq!(device.irqs(index, BOOL | TRIGGER, (0, 1), &[byte]), INVALID);
        }
        assert_eq!(device.irqs(index, BOOL | TRIGGER, (0, 0), &[]), INVALID);
        assert_eq!(off(&device, index), INVALID);
    };
    refuses();
    let [signal] = signals(&device);
    set(&device, index, 0, &signal).unwrap();
    off(&device, index).unwrap();
    refuses();
}

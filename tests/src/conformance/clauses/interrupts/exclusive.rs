//! F84: of the line, MSI and MSI-X one is on.

use vfio_core::uapi::{
    PCI_ERR_IRQ_INDEX as ERR, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI,
    PCI_MSIX_IRQ_INDEX as MSIX, PCI_REQ_IRQ_INDEX as REQ,
};

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Engine, Express, LineAndMsix, Messages};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::rig::Open;

use super::{BOOL, INVALID, MASK, NONE, TRIGGER, UNMASK, fire, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F84"],
        "MSI while the line is on is EINVAL",
        &[Device(Engine)],
        |host| {
            excludes(host, Engine, INTX, MSI);
        },
    ),
    both(
        &["F84"],
        "the line while MSI is on is EINVAL",
        &[Device(Engine)],
        |host| {
            excludes(host, Engine, MSI, INTX);
        },
    ),
    both(
        &["F84"],
        "MSI-X while the line is on is EINVAL",
        &[Device(LineAndMsix)],
        |host| {
            excludes(host, LineAndMsix, INTX, MSIX);
        },
    ),
    both(
        &["F84"],
        "the line while MSI-X is on is EINVAL",
        &[Device(LineAndMsix)],
        |host| {
            excludes(host, LineAndMsix, MSIX, INTX);
        },
    ),
    both(
        &["F84"],
        "MSI-X while MSI is on is EINVAL",
        &[Device(Messages)],
        |host| {
            excludes(host, Messages, MSI, MSIX);
        },
    ),
    both(
        &["F84"],
        "MSI while MSI-X is on is EINVAL",
        &[Device(Messages)],
        |host| {
            excludes(host, Messages, MSIX, MSI);
        },
    ),
    both(
        &["F84"],
        "the line cannot be masked or unmasked while MSI is on: EINVAL",
        &[Device(Engine)],
        |host| {
            let (_rig, device) = host.open(Engine);
            let [signal] = signals(&device);
            set(&device, MSI, 0, &signal).unwrap();
            for action in [MASK, UNMASK] {
                assert_eq!(device.irqs(INTX, NONE | action, (0, 1), &[]), INVALID);
            }
        },
    ),
    both(
        &["F84"],
        "after one is off, another can be on, as often as one likes",
        &[Device(Engine)],
        |host| {
            let (_rig, device) = host.open(Engine);
            let [signal] = signals(&device);
            for index in [INTX, MSI, INTX, MSI] {
                assert_eq!(set(&device, index, 0, &signal), Ok(0));
                assert_eq!((fire(&device, index, 0), signal.count()), (Ok(0), 1));
                assert_eq!(off(&device, index), Ok(0));
            }
        },
    ),
    both(
        &["F84", "F86"],
        "errors and release requests do not care what else is on",
        &[Device(LineAndMsix), Device(Express)],
        |host| {
            let (_rig, device) = host.open(LineAndMsix);
            let [error, request, other] = signals(&device);
            set(&device, ERR, 0, &error).unwrap();
            for index in [INTX, MSIX] {
                assert_eq!(set(&device, index, 0, &other), Ok(0));
                assert_eq!(set(&device, REQ, 0, &request), Ok(0));
                assert_eq!(off(&device, index), Ok(0));
                assert_eq!((fire(&device, ERR, 0), error.count()), (Ok(0), 1));
                assert_eq!((fire(&device, REQ, 0), request.count()), (Ok(0), 1));
            }
        },
    ),
];

fn excludes(host: &Host, like: Trait, on: u32, other: u32) {
    let (_rig, device) = host.open(like);
    let [signal, second] = signals(&device);
    set(&device, on, 0, &signal).unwrap();
    assert_eq!(set(&device, other, 0, &second), INVALID);
    assert_eq!(device.trigger(other, 0, &[-1]), INVALID);
    assert_eq!(fire(&device, other, 0), INVALID);
    assert_eq!(device.irqs(other, BOOL | TRIGGER, (0, 1), &[0]), INVALID);
    assert_eq!(off(&device, other), INVALID);
    still(&device, on, &signal);
    off(&device, on).unwrap();
    assert_eq!(set(&device, other, 0, &second), Ok(0));
    still(&device, other, &second);
}

/// It is on, and has its eventfd.
fn still(device: &Open, index: u32, signal: &crate::conformance::rig::Signal) {
    assert_eq!((fire(device, index, 0), signal.count()), (Ok(0), 1));
}

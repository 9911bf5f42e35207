//! F82: what an index cannot do.

use vfio_core::kernel::Errno;
use vfio_core::uapi::{
    PCI_ERR_IRQ_INDEX as ERR, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI,
    PCI_MSIX_IRQ_INDEX as MSIX, PCI_REQ_IRQ_INDEX as REQ,
};
use zerocopy::IntoBytes;

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Express, Line, Msi, Msix};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;

use super::{BOOL, EVENTFD, INVALID, MASK, NONE, TRIGGER, UNMASK, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F82"],
        "MSI cannot be masked or unmasked: ENOTTY",
        &[Device(Msi)],
        |host| {
            no_masks(host, Msi, MSI);
        },
    ),
    both(
        &["F82"],
        "MSI-X cannot be masked or unmasked: ENOTTY",
        &[Device(Msix)],
        |host| {
            no_masks(host, Msix, MSIX);
        },
    ),
    both(
        &["F82"],
        "MSI-X cannot be masked while it is on either",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            set(&device, MSIX, 0, &signal).unwrap();
            let answer = device.irqs(MSIX, NONE | MASK, (0, 1), &[]);
            assert_eq!(answer, Err(Errno::NOTTY));
        },
    ),
    both(
        &["F82"],
        "errors cannot be masked or unmasked: ENOTTY",
        &[Device(Express)],
        |host| {
            no_masks(host, Express, ERR);
        },
    ),
    both(
        &["F82"],
        "release requests cannot be masked or unmasked: ENOTTY",
        &[Device(Line)],
        |host| {
            no_masks(host, Line, REQ);
        },
    ),
    both(
        &["F82"],
        "no action at all is ENOTTY, for any index",
        &[Device(Line), Device(Msix), Device(Msi)],
        |host| {
            for (like, index) in [(Line, INTX), (Msi, MSI), (Msix, MSIX), (Line, REQ)] {
                refuses(host, like, index, &[0]);
            }
        },
    ),
    both(
        &["F82"],
        "several actions are ENOTTY, for any index",
        &[Device(Line), Device(Msix), Device(Msi)],
        |host| {
            let several = [
                MASK | UNMASK,
                MASK | TRIGGER,
                UNMASK | TRIGGER,
                MASK | UNMASK | TRIGGER,
            ];
            for (like, index) in [(Line, INTX), (Msi, MSI), (Msix, MSIX), (Line, REQ)] {
                refuses(host, like, index, &several);
            }
        },
    ),
    both(
        &["F82", "F83"],
        "a line that is on cannot be masked by eventfd: ENOTTY",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [signal, mask] = signals(&device);
            set(&device, INTX, 0, &signal).unwrap();
            for fd in [mask.number(), -1] {
                let answer = device.irqs(INTX, EVENTFD | MASK, (0, 1), fd.as_bytes());
                assert_eq!(answer, Err(Errno::NOTTY));
            }
        },
    ),
    both(
        &["F82", "F83"],
        "that it is off comes before that it cannot be masked by eventfd",
        &[Device(Line)],
        |host| {
            let (_rig, device) = host.open(Line);
            let [mask] = signals(&device);
            let ask = || device.irqs(INTX, EVENTFD | MASK, (0, 1), mask.number().as_bytes());
            assert_eq!(ask(), INVALID);
            device.trigger(INTX, 0, &[-1]).unwrap();
            assert_eq!(ask(), Err(Errno::NOTTY));
            off(&device, INTX).unwrap();
            assert_eq!(ask(), INVALID);
        },
    ),
];

/// With any kind of data.
fn no_masks(host: &Host, like: Trait, index: u32) {
    refuses(host, like, index, &[MASK, UNMASK]);
}

fn refuses(host: &Host, like: Trait, index: u32, actions: &[u32]) {
    let (_rig, device) = host.open(like);
    let nothing = (-1i32).as_bytes();
    for action in actions {
        for (kind, data) in [(NONE, &[][..]), (BOOL, &[1]), (EVENTFD, nothing)] {
            let answer = device.irqs(index, kind | action, (0, 1), data);
            assert_eq!(answer, Err(Errno::NOTTY), "{index}: {kind} {action:#x}");
        }
    }
}

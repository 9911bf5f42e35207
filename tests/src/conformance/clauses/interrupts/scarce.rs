//! P4: fewer vectors than asked for.

use vfio_core::uapi::{
    PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX,
};

use crate::conformance::clause::Needs::{Device, ScarceMsi};
use crate::conformance::clause::Trait::{Line, Messages};
use crate::conformance::clause::{Clause, both};

use super::{INVALID, fire, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["P4"],
        "for more MSI than can be had, the answer is how many can",
        &[Device(Messages), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let most = host.machine().most_msi.unwrap();
            for more in [most + 1, most + 2, host.device(Messages).interrupts.msi] {
                let fds = vec![signal.number(); more as usize];
                assert_eq!(device.trigger(MSI, 0, &fds), Ok(most), "{more}");
            }
        },
    ),
    both(
        &["P4"],
        "a start counts for what is asked for",
        &[Device(Messages), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let most = host.machine().most_msi.unwrap();
            assert_eq!(set(&device, MSI, most, &signal), Ok(most));
        },
    ),
    both(
        &["P4"],
        "with fewer than asked for, nothing is on",
        &[Device(Messages), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let most = host.machine().most_msi.unwrap();
            device
                .trigger(MSI, 0, &vec![signal.number(); most as usize + 1])
                .unwrap();
            assert_eq!(
                (fire(&device, MSI, 0), off(&device, MSI)),
                (INVALID, INVALID)
            );
            assert_eq!(signal.count(), 0);
        },
    ),
    both(
        &["P4"],
        "as many as can be had are had then",
        &[Device(Messages), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let most = host.machine().most_msi.unwrap();
            device
                .trigger(MSI, 0, &vec![signal.number(); most as usize + 1])
                .unwrap();
            let fds = vec![signal.number(); most as usize];
            assert_eq!(device.trigger(MSI, 0, &fds), Ok(0));
            assert_eq!((fire(&device, MSI, 0), signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["P4"],
        "whether there are enough is looked at before the fds",
        &[Device(Messages), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let most = host.machine().most_msi.unwrap();
            let fds = vec![super::NO_FD; most as usize + 1];
            assert_eq!(device.trigger(MSI, 0, &fds), Ok(most));
        },
    ),
    both(
        &["P4", "F84"],
        "that another index is on is looked at before",
        &[Device(Messages), Device(Line), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let most = host.machine().most_msi.unwrap();
            set(&device, INTX, 0, &signal).unwrap();
            assert_eq!(set(&device, MSI, most, &signal), INVALID);
        },
    ),
    both(
        &["P4"],
        "MSI-X of the same device can be had, all of them",
        &[Device(Messages), ScarceMsi],
        |host| {
            let (_rig, device) = host.open(Messages);
            let [signal] = signals(&device);
            let vectors = host.device(Messages).interrupts.msix.unwrap().vectors;
            let fds = vec![signal.number(); vectors as usize];
            assert_eq!(device.trigger(MSIX, 0, &fds), Ok(0));
        },
    ),
];

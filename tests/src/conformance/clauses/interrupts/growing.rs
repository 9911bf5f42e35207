//! F85, F85b: MSI-X that grows, and what is allocated until it is switched off.

use vfio_core::uapi::{PCI_INTX_IRQ_INDEX as INTX, PCI_MSIX_IRQ_INDEX as MSIX};

use crate::conformance::clause::Needs::{Device, DynamicMsix, StaticMsix};
use crate::conformance::clause::Trait::{LineAndMsix, Msix};
use crate::conformance::clause::{Clause, both};

use super::{INVALID, fire, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F85b"],
        "a first call for the sixth alone allocates six",
        &[Device(Msix), StaticMsix],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            assert_eq!(set(&device, MSIX, 5, &signal), Ok(0));
            for vector in 0..6 {
                assert_eq!(set(&device, MSIX, vector, &signal), Ok(0), "{vector}");
                assert_eq!((fire(&device, MSIX, vector), signal.count()), (Ok(0), 1));
            }
            assert_eq!(set(&device, MSIX, 6, &signal), INVALID);
        },
    ),
    both(
        &["F85"],
        "MSI-X that is not dynamic does not grow: EINVAL",
        &[Device(Msix), StaticMsix],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal, second] = signals(&device);
            set(&device, MSIX, 0, &signal).unwrap();
            assert_eq!(set(&device, MSIX, 1, &second), INVALID);
            assert_eq!((fire(&device, MSIX, 0), signal.count()), (Ok(0), 1));
            off(&device, MSIX).unwrap();
            assert_eq!(set(&device, MSIX, 1, &second), Ok(0), "after it was off");
        },
    ),
    both(
        &["F85"],
        "MSI-X that is dynamic grows, anywhere",
        &[Device(Msix), DynamicMsix],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [first, second, last] = signals(&device);
            let most = host.device(Msix).interrupts.msix.unwrap().vectors;
            set(&device, MSIX, 1, &first).unwrap();
            assert_eq!(set(&device, MSIX, most - 1, &last), Ok(0), "with holes");
            assert_eq!(set(&device, MSIX, 3, &second), Ok(0));
            for (vector, signal) in [(1, &first), (3, &second), (most - 1, &last)] {
                assert_eq!((fire(&device, MSIX, vector), signal.count()), (Ok(0), 1));
            }
        },
    ),
    both(
        &["F85"],
        "nothing is taken from a vector that is not allocated, with success",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            set(&device, MSIX, 0, &signal).unwrap();
            assert_eq!(device.trigger(MSIX, 7, &[-1]), Ok(0));
            assert_eq!((fire(&device, MSIX, 0), signal.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F85", "F85b"],
        "a block with a wrong fd takes away what it had added",
        &[Device(Msix), DynamicMsix],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [first, second] = signals(&device);
            set(&device, MSIX, 0, &first).unwrap();
            let block = [second.number(), super::NO_FD];
            let answer = device.trigger(MSIX, 3, &block);
            assert_eq!(answer, Err(vfio_core::kernel::Errno::BADF));
            assert_eq!((fire(&device, MSIX, 3), second.count()), (Ok(0), 0));
            assert_eq!((fire(&device, MSIX, 0), first.count()), (Ok(0), 1));
            assert_eq!(set(&device, MSIX, 3, &second), Ok(0));
            assert_eq!((fire(&device, MSIX, 3), second.count()), (Ok(0), 1));
        },
    ),
    both(
        &["F85b"],
        "vectors stay allocated until the index is switched off",
        &[Device(Msix)],
        |host| {
            let (_rig, device) = host.open(Msix);
            let [signal] = signals(&device);
            device.trigger(MSIX, 0, &[signal.number(); 3]).unwrap();
            device.trigger(MSIX, 0, &[-1; 3]).unwrap();
            for vector in [2, 0, 1] {
                assert_eq!(set(&device, MSIX, vector, &signal), Ok(0));
                assert_eq!((fire(&device, MSIX, vector), signal.count()), (Ok(0), 1));
            }
        },
    ),
    both(
        &["F85b", "F84"],
        "without any eventfd the index is on still",
        &[Device(LineAndMsix)],
        |host| {
            let (_rig, device) = host.open(LineAndMsix);
            let [signal] = signals(&device);
            set(&device, MSIX, 0, &signal).unwrap();
            device.trigger(MSIX, 0, &[-1]).unwrap();
            assert_eq!(set(&device, INTX, 0, &signal), INVALID);
            assert_eq!(off(&device, MSIX), Ok(0));
            assert_eq!(set(&device, INTX, 0, &signal), Ok(0));
        },
    ),
];

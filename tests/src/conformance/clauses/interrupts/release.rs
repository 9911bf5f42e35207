//! F85b: somebody wants the device back.

use vfio_core::uapi::PCI_REQ_IRQ_INDEX as REQ;

use crate::conformance::clause::{Clause, both};

use super::{set, signals};

pub(super) const CLAUSES: &[Clause] = &[both(
    &["F85b"],
    "who is to release a device is asked, and asked again",
    &[],
    |host| {
        let bdf = &host.machine().groups[0].devices[0].bdf;
        let unbinding; // the last to go
        let rig = host.rig();
        let device = rig.open(bdf);
        let [signal] = signals(&device);
        set(&device, REQ, 0, &signal).unwrap();
        unbinding = host.reclaim(bdf);
        for _ in 0..2 {
            unbinding.insist();
            assert_eq!(signal.wait(), 1);
        }
        drop(device);
        drop(rig);
        drop(unbinding);
        let rig = host.rig();
        let _device = rig.open(bdf);
    },
)];

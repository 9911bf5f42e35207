//! Every ioctl of a call of the guest fails.

use proptest::prelude::*;
use vfio_core::ErrorKind;
use vfio_core::kernel::Errno;
use vfio_sim::wrap::Mode;

use crate::random::{Step, steps};
use crate::rig::Rig;

proptest! {
    #[test]
    fn what_fails_can_be_asked_again(steps in steps(12), host in 0..4_usize) {
        let Some((last, before)) = steps.split_last() else {
            return Ok(());
        };
        let mut before = before.to_vec();
        before.push(Step::Join);
        let mut rig = Rig::started(host, &before);
        rig.failing.disarm();
        rig.step(last).unwrap();
        let calls = rig.failing.seen().len();
        rig.end();
        for n in 0..calls {
            for mode in [Mode::Once, Mode::AndAllLater] {
                fail(host, (&before, last), (n, mode));
            }
        }
    }
}

/// Has one call of the last step fail.
fn fail(host: usize, (before, last): (&[Step], &Step), (n, mode): (usize, Mode)) {
    let mut rig = Rig::started(host, before);
    rig.failing.disarm();
    rig.failing.arm(n, Errno::NOMEM.into(), mode);
    let result = rig.step(last);
    let failed = rig.failing.failed();
    rig.failing.disarm();
    let failed = failed.unwrap_or_else(|| panic!("call {n} was not made"));
    match result {
        // No device reaches what stays registered, no window that stays is in anybody's way, and where one table is not to be
        // had another is.
        Ok(()) => {
            let harmless = [
                "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY",
                "VFIO_IOMMU_SPAPR_TCE_REMOVE",
                "VFIO_IOMMU_SPAPR_TCE_CREATE",
            ];
            assert!(harmless.contains(&failed.to_string().as_str()), "{failed}");
            rig.check();
            return;
        }
        Err(error) => {
            let error = error.downcast_ref::<vfio_core::Error>().unwrap();
            if error.kind() == ErrorKind::Torn {
                rig.space.repair().unwrap();
            }
        }
    }
    rig.step(last).unwrap();
    rig.check();
    rig.end_with(mode == Mode::Once);
}

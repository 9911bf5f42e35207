//! What the release of the kernel changes.

use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::{SPAPR_TCE_IOMMU, TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::{Hazard, Machine, SimKernel};

use crate::door::{BOTH, extension, ioctl, map, open_container, set_iommu};
use crate::memory::Memory;
use crate::rig::Rig;

const PAGE: u64 = 4096;
const LAST: u64 = u64::MAX - PAGE + 1;

fn of(release: &str, machine: Machine) -> Machine {
    Machine {
        release: release.into(),
        ..machine
    }
}

#[test]
fn b18_nesting_is_no_longer_advertised() {
    for (release, advertised) in [("6.12.95", 1), ("6.12.117", 1), ("6.18.0", 1), ("7.3.0", 0)] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        let container = open_container(&rig.sim);
        let number = TYPE1_NESTING_IOMMU;
        assert_eq!(
            extension(&rig.sim, &container, number),
            advertised,
            "{release}"
        );
        assert_eq!(rig.sim.identity().1, release);
    }
}

#[test]
fn b18_what_is_not_advertised_is_unknown() {
    for (release, answer) in [("6.12.95", Errno::INVAL), ("7.3.0", Errno::NODEV)] {
        let sim = SimKernel::new(of(release, Machine::x86_64()));
        let container = open_container(&sim);
        let _group = crate::door::joined_group(&sim, &container, 2);
        assert_eq!(
            set_iommu(&sim, &container, TYPE1_NESTING_IOMMU),
            Err(answer),
            "{release}"
        );
    }
}

#[test]
fn b21_b30_a_range_that_wraps() {
    for (release, errno) in [
        ("6.12.95", Errno::INVAL),
        ("6.12.117", Errno::INVAL),
        ("6.18.0", Errno::OVERFLOW),
        ("7.3.0", Errno::OVERFLOW),
    ] {
        let rig = Rig::new(of(release, Machine::x86_64()), TYPE1V2_IOMMU);
        let memory = Memory::new(&rig.sim, 2);
        let put = |iova, at| map(&rig.sim, &rig.container, (iova, at, 2 * PAGE), BOTH);
        assert_eq!(put(LAST, memory.at()), Err(errno), "{release}");
        assert_eq!(put(0, LAST), Err(errno), "{release}");
        assert_eq!(
            rig.unmap(LAST, 2 * PAGE),
            (Err(errno), 2 * PAGE),
            "{release}"
        );
        assert_eq!(rig.unmap(0, 0).0, Err(Errno::INVAL), "nothing is no wrap");
    }
}

#[test]
fn h1_p2_unmapping_past_a_window() {
    for (release, mended) in [
        ("6.12.95", false),
        ("6.12.117+deb12-powerpc64le-64k", true),
        ("6.18.0", false),
        ("7.3.0", true),
    ] {
        let rig = Rig::new(of(release, Machine::pseries()), SPAPR_TCE_IOMMU);
        let none = vfio_core::kernel::Arg::None;
        ioctl(
            &rig.sim,
            &rig.container,
            vfio_core::uapi::SPAPR_ENABLE,
            none,
        )
        .unwrap();
        let past = rig.unmap(0x3fff_f000, 2 * PAGE).0;
        let expected = if mended {
            (Ok(1), vec![])
        } else {
            (Ok(0), vec![Hazard::H1])
        };
        assert_eq!((past, rig.sim.hazards()), expected, "{release}");
        assert_eq!(rig.unmap(0x3fff_f000, PAGE).0, Ok(0), "{release}");
    }
}

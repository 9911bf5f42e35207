//! What the release of the kernel changes.

use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::{
    DMA_UNMAP_FLAG_ALL, SPAPR_TCE_IOMMU, TYPE1_IOMMU, TYPE1_NESTING_IOMMU, TYPE1V2_IOMMU,
};
use vfio_sim::machine::Hardware;
use vfio_sim::{Hazard, Machine, SimKernel};

use crate::door::{BOTH, extension, ioctl, leave, map, open_container, set_iommu, unmap};
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

/// A machine whose IOMMU takes every address, with a page at the end of them and one elsewhere.
fn with_the_last_page(release: &str, iommu: u32) -> (Rig, [Memory; 2]) {
    let mut machine = of(release, Machine::x86_64());
    for driver in &mut machine.iommus {
        if let Hardware::Type1(type1) = &mut driver.hardware {
            type1.ranges = vec![(0, u64::MAX)];
        }
    }
    let rig = Rig::new(machine, iommu);
    let pages = [Memory::new(&rig.sim, 1), Memory::new(&rig.sim, 1)];
    assert_eq!(rig.map(LAST, &pages[0]), Ok(0));
    assert_eq!(rig.map(0, &pages[1]), Ok(0));
    (rig, pages)
}

#[test]
fn h8_the_last_page_cannot_be_unmapped() {
    for iommu in [TYPE1_IOMMU, TYPE1V2_IOMMU] {
        let (rig, _pages) = with_the_last_page("6.12.95", iommu);
        assert_eq!(rig.sim.hazards(), [Hazard::H8]);
        assert_eq!(rig.unmap(LAST, PAGE), (Ok(0), 0));
        assert_eq!(
            rig.unmap(0, LAST),
            (Ok(0), PAGE),
            "what ends before it is found"
        );
        let all = unmap(&rig.sim, &rig.container, (0, 0), DMA_UNMAP_FLAG_ALL);
        assert_eq!(all, (Ok(0), 0));
        assert_eq!(rig.mapped(), [(LAST, PAGE)], "devices reach it still");
        leave(&rig.sim, &rig.group).unwrap();
        assert_eq!((rig.mapped(), rig.sim.locked()), (vec![], PAGE));
    }
}

#[test]
fn h8_is_mended() {
    for release in ["6.18.0", "7.3.0"] {
        let (rig, _pages) = with_the_last_page(release, TYPE1V2_IOMMU);
        assert_eq!(rig.unmap(LAST, PAGE), (Ok(0), PAGE), "{release}");
        rig.unmap(0, PAGE).0.unwrap();
        assert_eq!((rig.sim.locked(), rig.sim.hazards()), (0, vec![]));
    }
}

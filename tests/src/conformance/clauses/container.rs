//! A1 to A9: containers.

use std::ops::RangeInclusive;

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, TYPE1_IOMMU, TYPE1V2_IOMMU};
use vfio_sim::Machine;
use vfio_sim::machine::IommuDriver;

use crate::conformance::clause::Needs::{Powernv, Spapr, TwoGroups, Type1};
use crate::conformance::clause::{Clause, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::{extension, ioctl, join, leave, set_iommu};

/// Not a type of IOMMU.
const NO_IOMMU: u32 = 22;
/// The numbers of the calls that an IOMMU answers, of any kind.
const IOMMU_CALLS: RangeInclusive<u8> = 12..=20;
/// Not a call.
const NO_CALL: u8 = 90;

const ONE_DRIVER: &str = "the kernels of the lab have one driver of an IOMMU each";

pub(super) const CLAUSES: &[Clause] = &[
    both(&["A1"], "every open makes a new container", &[], |host| {
        let kernel = &**host.kernel();
        let (first, second) = (host.container(), host.container());
        let group = host.group(0);
        join(kernel, &group, &first).unwrap();
        let iommu = host.iommu();
        assert_eq!(set_iommu(kernel, &second, iommu), Err(Errno::INVAL));
        assert_eq!(set_iommu(kernel, &first, iommu), Ok(0));
    }),
    both(&["A2"], "the version is 0", &[], |host| {
        let version = uapi::GET_API_VERSION;
        let answer = ioctl(&**host.kernel(), &host.container(), version, Arg::None);
        assert_eq!(answer, Ok(0));
    }),
    both(
        &["A3"],
        "what a loaded driver knows is advertised before one is chosen",
        &[],
        |host| {
            let container = host.container();
            assert_eq!(extension(&**host.kernel(), &container, host.iommu()), 1);
        },
    ),
    both(
        &["A3"],
        "an extension that nobody knows is 0",
        &[],
        |host| {
            let container = host.container();
            let asked = |number| extension(&**host.kernel(), &container, number);
            assert_eq!([0, NO_IOMMU, u32::MAX].map(asked), [0, 0, 0]);
        },
    ),
    both(
        &["A3"],
        "with a group inside, its drivers are asked still",
        &[],
        |host| {
            let (container, _group) = joined(host);
            assert_eq!(extension(&**host.kernel(), &container, host.iommu()), 1);
        },
    ),
    simulated(
        &["A3"],
        "the first positive value counts",
        ONE_DRIVER,
        || {
            let host = Host::simulated(several_drivers());
            let container = host.container();
            let asked = |number| extension(&**host.kernel(), &container, number);
            assert_eq!([TYPE1V2_IOMMU, SPAPR_TCE_IOMMU].map(asked), [1, 1]);
        },
    ),
    simulated(
        &["A4"],
        "with an IOMMU, its driver alone is asked",
        ONE_DRIVER,
        || {
            let host = Host::simulated(several_drivers());
            let (container, _group) = joined(&host);
            let kernel = &**host.kernel();
            set_iommu(kernel, &container, SPAPR_TCE_IOMMU).unwrap();
            let asked = |number| extension(kernel, &container, number);
            assert_eq!([TYPE1V2_IOMMU, SPAPR_TCE_IOMMU].map(asked), [0, 1]);
        },
    ),
    both(
        &["A4"],
        "the chosen driver answers for itself",
        &[],
        |host| {
            let rig = host.rig();
            let asked = |number| extension(rig.kernel(), &rig.container, number);
            assert_eq!([host.iommu(), NO_IOMMU].map(asked), [1, 0]);
        },
    ),
    both(
        &["A5"],
        "without a group no IOMMU can be set",
        &[],
        |host| {
            let container = host.container();
            let answer = set_iommu(&**host.kernel(), &container, host.iommu());
            assert_eq!(answer, Err(Errno::INVAL));
        },
    ),
    both(&["A5"], "an IOMMU is set once", &[], |host| {
        let rig = host.rig();
        let again = set_iommu(rig.kernel(), &rig.container, host.iommu());
        assert_eq!(again, Err(Errno::INVAL));
    }),
    both(
        &["A5"],
        "a type that no driver knows is ENODEV, and another can be set then",
        &[],
        |host| {
            let (container, _group) = joined(host);
            let set = |number| set_iommu(&**host.kernel(), &container, number);
            assert_eq!(set(NO_IOMMU), Err(Errno::NODEV));
            assert_eq!(set(host.iommu()), Ok(0));
        },
    ),
    both(
        &["A5"],
        "a type of another architecture is ENODEV",
        &[],
        |host| {
            let (container, _group) = joined(host);
            let other = host.type1().map_or(TYPE1_IOMMU, |_| SPAPR_TCE_IOMMU);
            let answer = set_iommu(&**host.kernel(), &container, other);
            assert_eq!(answer, Err(Errno::NODEV));
        },
    ),
    both(
        &["A5"],
        "a type that is advertised and cannot be set (nesting) is not set",
        &[Type1],
        |host| {
            const NESTING: u32 = 6;
            let (container, _group) = joined(host);
            let answer = set_iommu(&**host.kernel(), &container, NESTING);
            assert!(answer.is_err(), "{answer:?}");
        },
    ),
    simulated(
        &["A5"],
        "if drivers refuse, the last one's refusal is the answer",
        ONE_DRIVER,
        || {
            let host = Host::simulated(several_drivers());
            let (container, _group) = joined(&host);
            let answer = set_iommu(&**host.kernel(), &container, TYPE1_IOMMU);
            assert_eq!(answer, Err(Errno::BUSY));
        },
    ),
    both(
        &["A6"],
        "without an IOMMU every other call is EINVAL",
        &[],
        |host| {
            let (joined, _group) = joined(host);
            let alone = host.container();
            for number in IOMMU_CALLS.chain([NO_CALL]) {
                let ask = |it| ioctl(&**host.kernel(), it, uapi::vfio(number), Arg::None);
                assert_eq!(ask(&joined), Err(Errno::INVAL), "{number}");
                assert_eq!(ask(&alone), Err(Errno::INVAL), "{number} without a group");
            }
        },
    ),
    both(
        &["A6"],
        "with one, what its driver does not know is ENOTTY",
        &[],
        |host| {
            let rig = host.rig();
            let answer = ioctl(rig.kernel(), &rig.container, uapi::vfio(NO_CALL), Arg::None);
            assert_eq!(answer, Err(Errno::NOTTY));
        },
    ),
    both(
        &["A7"],
        "with the last group the IOMMU goes, and the container is as new",
        &[],
        |host| {
            let rig = host.rig();
            let other = || ioctl(rig.kernel(), &rig.container, uapi::vfio(NO_CALL), Arg::None);
            assert_eq!(other(), Err(Errno::NOTTY));
            assert_eq!(leave(rig.kernel(), &rig.group), Ok(0));
            assert_eq!(other(), Err(Errno::INVAL));
            join(rig.kernel(), &rig.group, &rig.container).unwrap();
            assert_eq!(set_iommu(rig.kernel(), &rig.container, host.iommu()), Ok(0));
        },
    ),
    both(
        &["A7"],
        "the IOMMU stays as long as one group does",
        &[TwoGroups],
        |host| {
            let rig = host.rig();
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            leave(rig.kernel(), &rig.group).unwrap();
            let set = || set_iommu(rig.kernel(), &rig.container, host.iommu());
            assert_eq!(set(), Err(Errno::INVAL));
            leave(rig.kernel(), &second).unwrap();
            join(rig.kernel(), &second, &rig.container).unwrap();
            assert_eq!(set(), Ok(0));
        },
    ),
    both(
        &["A8"],
        "a container without an fd lives on with its group",
        &[],
        |host| {
            let kernel = &**host.kernel();
            let (container, group) = joined(host);
            set_iommu(kernel, &container, host.iommu()).unwrap();
            drop(container);
            let name =
                std::ffi::CString::new(host.machine().groups[0].devices[0].bdf.as_str()).unwrap();
            let device = crate::conformance::raw::open_device(kernel, &group, &name);
            assert!(device.is_ok(), "{device:?}");
        },
    ),
    both(
        &["A9"],
        "a group that joins is attached at once",
        &[TwoGroups],
        |host| {
            let rig = host.rig();
            let second = host.group(1);
            assert_eq!(join(rig.kernel(), &second, &rig.container), Ok(0));
        },
    ),
    both(
        &["A9", "C37"],
        "what the driver refuses a group with is the answer",
        &[Powernv, TwoGroups],
        |host| {
            let rig = host.rig_of(SPAPR_TCE_IOMMU);
            let second = host.group(1);
            let answer = join(rig.kernel(), &second, &rig.container);
            assert_eq!(answer, Err(Errno::BUSY));
        },
    ),
    both(
        &["A4", "C47"],
        "sPAPR of either version answers for both",
        &[Spapr],
        |host| {
            for version in [SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU] {
                let rig = host.rig_of(version);
                let asked = |number| extension(rig.kernel(), &rig.container, number);
                assert_eq!([SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU].map(asked), [1, 1]);
            }
        },
    ),
];

/// The first group in a container without an IOMMU.
fn joined(host: &Host) -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd) {
    let (container, group) = (host.container(), host.group(0));
    join(&**host.kernel(), &group, &container).unwrap();
    (container, group)
}

/// Two type1 drivers that refuse version 1, the first with EPERM, the second with EBUSY, and sPAPR.
fn several_drivers() -> Machine {
    let of = |machine: Machine| machine.iommus.into_iter().next().unwrap();
    let refusing = |errno| IommuDriver {
        refuses: vec![(TYPE1_IOMMU, errno)],
        ..of(Machine::x86_64())
    };
    Machine {
        iommus: vec![
            refusing(Errno::PERM),
            refusing(Errno::BUSY),
            of(Machine::pseries()),
        ],
        ..Machine::pseries()
    }
}

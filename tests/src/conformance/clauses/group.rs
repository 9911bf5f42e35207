//! A10 to A13, A16, A17: groups.

use std::os::fd::{AsRawFd, OwnedFd};

use vfio_core::group_node;
use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, GROUP_FLAGS_CONTAINER_SET, GROUP_FLAGS_VIABLE};

use crate::conformance::clause::Needs::{Device, TwoGroups};
use crate::conformance::clause::Trait::{Alone, BesidePort, Serial, Shared};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::driver::SERIAL;
use crate::conformance::host::Host;
use crate::conformance::raw::{ioctl, join, join_number, leave, open_device, set_iommu, status};
use crate::conformance::rig::Signal;

const INSIDE: u32 = GROUP_FLAGS_VIABLE | GROUP_FLAGS_CONTAINER_SET;
/// A number that no fd has.
const NO_FD: i32 = i32::MAX;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["A10"],
        "a group joins a container by the number of its fd",
        &[],
        |host| {
            let (kernel, group) = (&**host.kernel(), host.group(0));
            assert_eq!(join(kernel, &group, &host.container()), Ok(0));
            assert_eq!(status(kernel, &group), Ok(INSIDE));
        },
    ),
    both(
        &["A10"],
        "the number is at an address, or it is EFAULT",
        &[],
        |host| {
            let (group, container) = (host.group(0), host.container());
            let number = usize::try_from(container.as_raw_fd()).unwrap();
            for wrong in [Arg::Value(number), Arg::None] {
                let answer = ioctl(&**host.kernel(), &group, uapi::GROUP_SET_CONTAINER, wrong);
                assert_eq!(answer, Err(Errno::FAULT));
            }
        },
    ),
    both(&["A10"], "the number of no fd is EBADF", &[], |host| {
        let group = host.group(0);
        let join = |number| join_number(&**host.kernel(), &group, number);
        assert_eq!([-1, NO_FD].map(join), [Err(Errno::BADF); 2]);
    }),
    both(&["A10"], "in a container already: EINVAL", &[], |host| {
        let rig = host.rig();
        let again = |container| join(rig.kernel(), &rig.group, container);
        assert_eq!(again(&rig.container), Err(Errno::INVAL));
        assert_eq!(again(&host.container()), Err(Errno::INVAL), "another one");
    }),
    both(
        &["A10"],
        "EBADF comes before being in a container already",
        &[],
        |host| {
            let rig = host.rig();
            let answer = join_number(rig.kernel(), &rig.group, NO_FD);
            assert_eq!(answer, Err(Errno::BADF));
        },
    ),
    both(
        &["A10"],
        "being in a container already comes before what the fd is",
        &[],
        |host| {
            let rig = host.rig();
            let eventfd = Signal::new(rig.kernel());
            let answer = join_number(rig.kernel(), &rig.group, eventfd.number());
            assert_eq!(answer, Err(Errno::INVAL));
        },
    ),
    both(
        &["A10"],
        "an fd of anything but a container is EBADFD",
        &[],
        |host| {
            let (kernel, group) = (&**host.kernel(), host.group(0));
            let eventfd = Signal::new(kernel);
            let itself = join(kernel, &group, &group);
            assert_eq!(itself, Err(Errno::BADFD));
            let other = join_number(kernel, &group, eventfd.number());
            assert_eq!(other, Err(Errno::BADFD));
            assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
        },
    ),
    both(
        &["A10"],
        "a group with a member that the kernel does DMA with is EPERM",
        &[Device(Serial)],
        |host| {
            let (group, bdf) = found(host, Serial);
            let lent = host.lent(&bdf, SERIAL);
            let container = host.container();
            let join = || join(&**host.kernel(), &group, &container);
            assert_eq!(join(), Err(Errno::PERM));
            drop(lent);
            assert_eq!(join(), Ok(0), "when the driver has gone");
        },
    ),
    both(
        &["A10"],
        "what the fd is comes before whether the group is viable",
        &[Device(Serial)],
        |host| {
            let (group, bdf) = found(host, Serial);
            let _lent = host.lent(&bdf, SERIAL);
            let answer = join(&**host.kernel(), &group, &group);
            assert_eq!(answer, Err(Errno::BADFD));
        },
    ),
    both(
        &["A10", "A13"],
        "members that have no driver leave a group viable",
        &[Device(Shared)],
        |host| {
            let (group, bdf) = found(host, Shared);
            let _without = host.without(&bdf);
            let kernel = &**host.kernel();
            assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
            let container = host.container();
            assert_eq!(join(kernel, &group, &container), Ok(0));
            assert_eq!(set_iommu(kernel, &container, host.iommu()), Ok(0));
        },
    ),
    both(
        &["A10", "A13"],
        "a port that the kernel drives leaves a group viable",
        &[Device(BesidePort)],
        |host| {
            let (group, _) = found(host, BesidePort);
            let kernel = &**host.kernel();
            assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
            assert_eq!(join(kernel, &group, &host.container()), Ok(0));
        },
    ),
    both(
        &["A10"],
        "while a group is in a container, no member of it goes to a driver of the kernel: EBUSY",
        &[Device(Serial)],
        |host| {
            let (group, bdf) = found(host, Serial);
            let (kernel, container) = (&**host.kernel(), host.container());
            join(kernel, &group, &container).unwrap();
            let without = host.without(&bdf);
            assert_eq!(host.bind(&bdf, SERIAL), Err(Errno::BUSY));
            assert_eq!(status(kernel, &group), Ok(INSIDE));
            leave(kernel, &group).unwrap();
            assert_eq!(host.bind(&bdf, SERIAL), Ok(()));
            drop(without);
        },
    ),
    both(
        &["A10", "A13"],
        "a group whose last member has left VFIO is ENODEV",
        &[Device(Alone)],
        |host| {
            let (group, bdf) = found(host, Alone);
            let _without = host.without(&bdf);
            let kernel = &**host.kernel();
            assert_eq!(status(kernel, &group), Err(Errno::NODEV));
            assert_eq!(join(kernel, &group, &host.container()), Err(Errno::NODEV));
            assert_eq!(join(kernel, &group, &group), Err(Errno::NODEV), "first");
            assert_eq!(join_number(kernel, &group, NO_FD), Err(Errno::BADF));
            assert_eq!(leave(kernel, &group), Err(Errno::INVAL));
            let named = open_device(kernel, &group, &name(&bdf)).map(drop);
            assert_eq!(named, Err(Errno::NODEV));
        },
    ),
    both(
        &["A10"],
        "a group whose last member leaves VFIO leaves its container, which is as new",
        &[Device(Alone)],
        |host| {
            let (group, bdf) = found(host, Alone);
            let (kernel, container) = (&**host.kernel(), host.container());
            join(kernel, &group, &container).unwrap();
            set_iommu(kernel, &container, host.iommu()).unwrap();
            let without = host.without(&bdf);
            assert_eq!(leave(kernel, &group), Err(Errno::INVAL));
            let set = set_iommu(kernel, &container, host.iommu());
            assert_eq!(set, Err(Errno::INVAL));
            drop(without);
            let (again, _) = found(host, Alone);
            assert_eq!(join(kernel, &again, &container), Ok(0));
            assert_eq!(set_iommu(kernel, &container, host.iommu()), Ok(0));
        },
    ),
    both(&["A11"], "in no container: EINVAL", &[], |host| {
        let (kernel, group) = (&**host.kernel(), host.group(0));
        assert_eq!(leave(kernel, &group), Err(Errno::INVAL));
        join(kernel, &group, &host.container()).unwrap();
        assert_eq!(leave(kernel, &group), Ok(0));
        assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
        assert_eq!(leave(kernel, &group), Err(Errno::INVAL));
    }),
    both(
        &["A11"],
        "while a device of it is open: EBUSY, and nothing has changed",
        &[],
        |host| {
            let rig = host.rig();
            let open = rig.open(&host.machine().groups[0].devices[0].bdf);
            assert_eq!(leave(rig.kernel(), &rig.group), Err(Errno::BUSY));
            assert_eq!(status(rig.kernel(), &rig.group), Ok(INSIDE));
            let again = set_iommu(rig.kernel(), &rig.container, host.iommu());
            assert_eq!(again, Err(Errno::INVAL), "it is set");
            drop(open);
            assert_eq!(leave(rig.kernel(), &rig.group), Ok(0));
        },
    ),
    both(&["A12"], "a group is open once", &[], |host| {
        let group = host.group(0);
        let again = || host.kernel().open(&group_node(host.group_id(0))).map(drop);
        assert_eq!(again(), Err(Errno::BUSY));
        let duplicate = group.try_clone().unwrap();
        drop(group);
        assert_eq!(again(), Err(Errno::BUSY), "by a duplicate");
        drop(duplicate);
        assert_eq!(again(), Ok(()));
    }),
    both(
        &["A12"],
        "groups that are open do not keep others from being opened",
        &[TwoGroups],
        |host| {
            let _both = (host.group(0), host.group(1));
        },
    ),
    both(
        &["A12"],
        "a group without a member that is bound to VFIO has no node",
        &[Device(Alone)],
        |host| {
            let (id, bdf) = host.place(Alone);
            let open = || host.kernel().open(&group_node(id)).map(drop);
            assert_eq!(open(), Ok(()));
            let without = host.without(&bdf);
            assert_eq!(open(), Err(Errno::NOENT));
            drop(without);
            assert_eq!(open(), Ok(()));
        },
    ),
    both(
        &["A12"],
        "a group keeps its node as long as one member is bound to VFIO",
        &[Device(Shared)],
        |host| {
            let (id, bdf) = host.place(Shared);
            let _without = host.without(&bdf);
            assert!(host.kernel().open(&group_node(id)).is_ok());
        },
    ),
    both(
        &["A12"],
        "who has a group open that was none for a while keeps nobody from the new one",
        &[Device(Alone)],
        |host| {
            let (old, bdf) = found(host, Alone);
            drop(host.without(&bdf));
            let (new, _) = found(host, Alone);
            assert_eq!(status(&**host.kernel(), &old), Err(Errno::NODEV));
            assert_eq!(status(&**host.kernel(), &new), Ok(GROUP_FLAGS_VIABLE));
        },
    ),
    both(
        &["A13"],
        "a status is asked with a struct of 8 bytes, or it is EFAULT",
        &[],
        |host| {
            let group = host.group(0);
            let ask = |arg| ioctl(&**host.kernel(), &group, uapi::GROUP_GET_STATUS, arg);
            assert_eq!(ask(Arg::None), Err(Errno::FAULT));
            assert_eq!(ask(Arg::Value(8)), Err(Errno::FAULT), "no address");
        },
    ),
    both(
        &["A13"],
        "an argsz below 8 is EINVAL, and nothing is written",
        &[],
        |host| {
            let group = host.group(0);
            for size in [0, 7] {
                let mut bytes = [size, 0, 0, 0, 0x77, 0x77, 0x77, 0x77];
                let asked = Arg::InOut(&mut bytes);
                let answer = ioctl(&**host.kernel(), &group, uapi::GROUP_GET_STATUS, asked);
                assert_eq!(answer, Err(Errno::INVAL));
                assert_eq!(bytes[4..], [0x77; 4]);
            }
        },
    ),
    both(
        &["A13"],
        "with a larger argsz 8 bytes are written, and argsz stays",
        &[],
        |host| {
            let group = host.group(0);
            let mut bytes = [0x77; 12];
            bytes[..4].copy_from_slice(&12u32.to_le_bytes());
            let asked = Arg::InOut(&mut bytes);
            let answer = ioctl(&**host.kernel(), &group, uapi::GROUP_GET_STATUS, asked);
            assert_eq!(answer, Ok(0));
            assert_eq!(bytes, [12, 0, 0, 0, 1, 0, 0, 0, 0x77, 0x77, 0x77, 0x77]);
        },
    ),
    both(
        &["A13"],
        "outside of a container it is viable, inside both",
        &[],
        |host| {
            let (kernel, group) = (&**host.kernel(), host.group(0));
            assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
            let container = host.container();
            join(kernel, &group, &container).unwrap();
            assert_eq!(status(kernel, &group), Ok(INSIDE));
            set_iommu(kernel, &container, host.iommu()).unwrap();
            assert_eq!(status(kernel, &group), Ok(INSIDE));
        },
    ),
    both(
        &["A13"],
        "with a member that the kernel does DMA with it is neither",
        &[Device(Serial)],
        |host| {
            let (group, bdf) = found(host, Serial);
            let lent = host.lent(&bdf, SERIAL);
            assert_eq!(status(&**host.kernel(), &group), Ok(0));
            drop(lent);
            assert_eq!(status(&**host.kernel(), &group), Ok(GROUP_FLAGS_VIABLE));
        },
    ),
    both(
        &["A13"],
        "EINVAL for argsz comes before ENODEV",
        &[Device(Alone)],
        |host| {
            let (group, bdf) = found(host, Alone);
            let _without = host.without(&bdf);
            let ask = |bytes: &mut [u8]| {
                let asked = Arg::InOut(bytes);
                ioctl(&**host.kernel(), &group, uapi::GROUP_GET_STATUS, asked)
            };
            assert_eq!(ask(&mut [7, 0, 0, 0, 0, 0, 0, 0]), Err(Errno::INVAL));
            assert_eq!(ask(&mut [8, 0, 0, 0, 0, 0, 0, 0]), Err(Errno::NODEV));
        },
    ),
    both(
        &["A16"],
        "a call that a group does not know is ENOTTY",
        &[],
        |host| {
            let rig = host.rig();
            for call in [
                uapi::vfio(90),
                uapi::GET_API_VERSION,
                uapi::SET_IOMMU,
                uapi::DEVICE_RESET,
                uapi::IOMMU_MAP_DMA,
            ] {
                let answer = ioctl(rig.kernel(), &rig.group, call, Arg::None);
                assert_eq!(answer, Err(Errno::NOTTY));
            }
        },
    ),
    both(
        &["A17"],
        "closing a group takes it out of its container",
        &[],
        |host| {
            let rig = host.rig();
            let duplicate = rig.container.try_clone().unwrap();
            drop(rig);
            let (kernel, group) = (&**host.kernel(), host.group(0));
            assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
            let set = || set_iommu(kernel, &duplicate, host.iommu());
            assert_eq!(set(), Err(Errno::INVAL), "there is no group");
            join(kernel, &group, &duplicate).unwrap();
            assert_eq!(set(), Ok(0), "as new");
        },
    ),
    both(
        &["A17"],
        "one of two groups that is closed leaves the other one inside",
        &[TwoGroups],
        |host| {
            let rig = host.rig();
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            drop(second);
            assert_eq!(status(rig.kernel(), &rig.group), Ok(INSIDE));
            let again = set_iommu(rig.kernel(), &rig.container, host.iommu());
            assert_eq!(again, Err(Errno::INVAL), "it is set");
            let second = host.group(1);
            assert_eq!(status(rig.kernel(), &second), Ok(GROUP_FLAGS_VIABLE));
        },
    ),
];

/// The group of a device like that, open, and the name of the device.
fn found(host: &Host, like: Trait) -> (OwnedFd, String) {
    let (id, bdf) = host.place(like);
    (host.kernel().open(&group_node(id)).unwrap(), bdf)
}

fn name(bdf: &str) -> std::ffi::CString {
    std::ffi::CString::new(bdf).unwrap()
}

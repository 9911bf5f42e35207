//! A11b, A14 to A17: what opens a device, and what an open one holds.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::{FdFlags, fcntl_getfd};
use vfio_core::group_node;
use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, GROUP_FLAGS_VIABLE, PCI_REQ_IRQ_INDEX as REQUEST};

use crate::conformance::clause::Needs::{Device, TwoGroups};
use crate::conformance::clause::Trait::{Alone, Controller, Engine, Shared};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{call, ioctl, join, leave, open_device, set_iommu, status};
use crate::conformance::rig::{COMMAND, Rig, Signal};

const MASTER: u16 = 1 << 2;
/// An address that every IOMMU maps.
const IOVA: u64 = 0x20_0000;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["A14"],
        "a device of the group is opened by its name",
        &[],
        |host| {
            let rig = host.rig();
            let open = rig.open(&first(host));
            let mut info = uapi::DeviceInfo {
                argsz: 20,
                ..uapi::DeviceInfo::default()
            };
            let answer = call(rig.kernel(), &open.device, uapi::DEVICE_GET_INFO, &mut info);
            assert_eq!(answer, Ok(0));
            assert_eq!(info.flags & uapi::DEVICE_FLAGS_PCI, uapi::DEVICE_FLAGS_PCI);
        },
    ),
    both(
        &["A14"],
        "a name at no address is EFAULT, before the container is looked for",
        &[],
        |host| {
            let group = host.group(0);
            for wrong in [Arg::None, Arg::Value(8)] {
                let answer = ioctl(&**host.kernel(), &group, uapi::GROUP_GET_DEVICE_FD, wrong);
                assert_eq!(answer, Err(Errno::FAULT));
            }
        },
    ),
    both(
        &["A14"],
        "a name as long as a page is EINVAL, a shorter one is looked for",
        &[],
        |host| {
            let rig = host.rig();
            let page = usize::try_from(host.page()).unwrap();
            let of = |len| refusal(&rig, &"x".repeat(len));
            assert_eq!(of(page - 1), Err(Errno::NODEV));
            assert_eq!(of(page), Err(Errno::INVAL));
            assert_eq!(of(page + 1), Err(Errno::INVAL));
        },
    ),
    both(&["A14"], "a name that nobody has is ENODEV", &[], |host| {
        let rig = host.rig();
        let bdf = first(host);
        for wrong in [
            String::new(),
            "0000:00:1e.7".to_owned(),
            bdf[..bdf.len() - 1].to_owned(),
            format!("{bdf}0"),
            format!(" {bdf}"),
            format!("{bdf}\t"),
        ] {
            assert_eq!(refusal(&rig, &wrong), Err(Errno::NODEV), "{wrong:?}");
        }
    }),
    both(&["A14"], "spaces behind a name are nothing", &[], |host| {
        let rig = host.rig();
        assert_eq!(refusal(&rig, &format!("{}  ", first(host))), Ok(()));
    }),
    both(
        &["A14"],
        "options that are not known are EINVAL",
        &[],
        |host| {
            let rig = host.rig();
            for wrong in ["other", "other=1", "vf_token", "\t"] {
                let name = format!("{} {wrong}", first(host));
                assert_eq!(refusal(&rig, &name), Err(Errno::INVAL), "{wrong:?}");
            }
        },
    ),
    both(
        &["A14"],
        "the device of another group is ENODEV",
        &[TwoGroups],
        |host| {
            let rig = host.rig();
            let other = &host.machine().groups[1].devices[0].bdf;
            assert_eq!(refusal(&rig, other), Err(Errno::NODEV));
        },
    ),
    both(
        &["A14"],
        "a member that VFIO does not have is ENODEV",
        &[Device(Shared)],
        |host| {
            let (group, bdf) = host.place(Shared);
            let rig = Rig::new(host.kernel(), group, host.iommu());
            let without = host.without(&bdf);
            assert_eq!(refusal(&rig, &bdf), Err(Errno::NODEV));
            drop(without);
            assert_eq!(refusal(&rig, &bdf), Ok(()));
        },
    ),
    both(
        &["A14"],
        "a group in no container opens nothing: EINVAL",
        &[],
        |host| {
            let group = host.group(0);
            let name = CString::new(first(host)).unwrap();
            let answer = open_device(&**host.kernel(), &group, &name).map(drop);
            assert_eq!(answer, Err(Errno::INVAL));
        },
    ),
    both(
        &["A14"],
        "nor one in a container without an IOMMU: EINVAL",
        &[],
        |host| {
            let (kernel, group, container) = (&**host.kernel(), host.group(0), host.container());
            join(kernel, &group, &container).unwrap();
            let name = CString::new(first(host)).unwrap();
            let open = || open_device(kernel, &group, &name).map(drop);
            assert_eq!(open(), Err(Errno::INVAL));
            set_iommu(kernel, &container, host.iommu()).unwrap();
            assert_eq!(open(), Ok(()));
        },
    ),
    both(
        &["A14"],
        "who has the name comes before whether there is a container",
        &[],
        |host| {
            let group = host.group(0);
            let answer = open_device(&**host.kernel(), &group, c"0000:00:1e.7").map(drop);
            assert_eq!(answer, Err(Errno::NODEV));
        },
    ),
    both(
        &["A14", "F85b"],
        "a device that its driver is to give back is asked for, and can be opened by nobody: ENODEV",
        &[Device(Controller)],
        |host| {
            let (_, bdf) = host.place(Controller);
            let (rig, open) = host.open(Controller);
            let asked = Signal::new(rig.kernel());
            open.trigger(REQUEST, 0, &[asked.number()]).unwrap();
            assert_eq!(refusal(&rig, &bdf), Ok(()));
            std::thread::scope(|scope| {
                let without = scope.spawn(|| host.without(&bdf));
                assert_eq!(asked.wait(), 1);
                let again = refusal(&rig, &bdf);
                let still = open.pread(0, 0, 4).map(|bytes| bytes.len());
                drop(open); // now the driver gives it back
                drop(without.join().unwrap());
                assert_eq!((again, still), (Err(Errno::NODEV), Ok(4)));
            });
            drop(rig);
            drop(host.open(Controller));
        },
    ),
    both(
        &["A15"],
        "a device that is open is opened again, and it is the same",
        &[Device(Controller)],
        |host| {
            let (rig, first) = host.open(Controller);
            let second = rig.open(&host.place(Controller).1);
            assert_eq!(
                second.config(COMMAND) & MASTER,
                MASTER,
                "what was written before"
            );
            second.set_config(COMMAND, 0);
            assert_eq!(
                first.config(COMMAND),
                0,
                "what was written through the other"
            );
        },
    ),
    both(
        &["A15", "F91"],
        "closing one of two fds of a device changes nothing",
        &[Device(Controller)],
        |host| {
            let (rig, first) = host.open(Controller);
            let second = rig.open(&host.place(Controller).1);
            drop(first);
            assert_eq!(second.config(COMMAND) & MASTER, MASTER);
            assert_eq!(leave(rig.kernel(), &rig.group), Err(Errno::BUSY));
            drop(second);
            assert_eq!(leave(rig.kernel(), &rig.group), Ok(0));
        },
    ),
    both(
        &["A15"],
        "an open device holds its group open, and in its container",
        &[Device(Engine)],
        |host| {
            let (rig, open) = host.open(Engine);
            let (id, _) = host.place(Engine);
            let (memory, page) = (host.memory(2), host.page());
            reach(host, &rig, &memory);
            let Rig {
                group, container, ..
            } = rig;
            drop((group, container));
            let again = || host.kernel().open(&group_node(id)).map(drop);
            assert_eq!(again(), Err(Errno::BUSY));
            let sent = memory.get(0..64);
            open.copy(IOVA, IOVA + page, 64);
            let there = usize::try_from(page).unwrap();
            assert_eq!(memory.get(there..there + 64), sent, "DMA arrives still");
            drop(open);
            assert_eq!(again(), Ok(()));
        },
    ),
    both(
        &["A15", "A17"],
        "the last fd of a device takes a group that was closed out of its container",
        &[],
        |host| {
            let rig = host.rig();
            let open = rig.open(&first(host));
            let Rig {
                group, container, ..
            } = rig;
            drop(group);
            let kernel = &**host.kernel();
            assert_eq!(
                set_iommu(kernel, &container, host.iommu()),
                Err(Errno::INVAL)
            );
            drop(open);
            let group = host.group(0);
            assert_eq!(status(kernel, &group), Ok(GROUP_FLAGS_VIABLE));
            join(kernel, &group, &container).unwrap();
            assert_eq!(set_iommu(kernel, &container, host.iommu()), Ok(0), "as new");
        },
    ),
    both(
        &["A15", "A12"],
        "while a device is open, its group cannot be opened again",
        &[Device(Alone)],
        |host| {
            let (id, bdf) = host.place(Alone);
            let rig = Rig::new(host.kernel(), id, host.iommu());
            let open = rig.open(&bdf);
            drop(rig);
            let again = || host.kernel().open(&group_node(id)).map(drop);
            assert_eq!(again(), Err(Errno::BUSY));
            drop(open);
            assert_eq!(again(), Ok(()));
        },
    ),
    both(
        &["A16"],
        "the fd of a device is closed by exec",
        &[],
        |host| {
            let rig = host.rig();
            let open = rig.open(&first(host));
            let closed_by_exec = |fd: &OwnedFd| fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC);
            assert!(closed_by_exec(&open.device));
            assert!(open.device.as_raw_fd() > 2);
        },
    ),
];

/// The name of a device of the first group.
fn first(host: &Host) -> String {
    host.machine().groups[0].devices[0].bdf.clone()
}

/// What opening a device by that name answers.
fn refusal(rig: &Rig, name: &str) -> Result<()> {
    let name = CString::new(name).unwrap();
    open_device(rig.kernel(), &rig.group, &name).map(drop)
}

/// Maps memory, which sPAPR wants to know of before.
fn reach(host: &Host, rig: &Rig, memory: &Memory) {
    if host.spapr().is_some() {
        let mut known = uapi::SpaprRegisterMemory {
            argsz: 24,
            flags: 0,
            vaddr: memory.at(),
            size: memory.len(),
        };
        let opcode = uapi::SPAPR_REGISTER_MEMORY;
        assert_eq!(
            call(rig.kernel(), &rig.container, opcode, &mut known),
            Ok(0)
        );
    }
    assert_eq!(rig.map(IOVA, memory), Ok(0));
}

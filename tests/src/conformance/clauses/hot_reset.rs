//! F88: resets of a bus, with everything on it.

use std::os::fd::AsRawFd;

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, PCI_MSI_IRQ_INDEX as MSI, PciDependentDevice, PciHotResetInfo};
use zerocopy::{FromBytes, IntoBytes};

use super::reset::{INTERRUPT_MASK, MASKED, while_asked_for};
use crate::conformance::clause::Needs::{Device, TwoGroups};
use crate::conformance::clause::Trait::{ControllerOnBus, HotReset, NoHotReset, ResetWithOthers};
use crate::conformance::clause::{Clause, Needs, both};
use crate::conformance::host::Host;
use crate::conformance::raw::ioctl;
use crate::conformance::rig::{COMMAND, Open, Signal};

const INVALID: Result<u32> = Err(Errno::INVAL);
const NO_FD: i32 = i32::MAX;
const OTHERS: &[Needs] = &[Device(ResetWithOthers)];
const HEAD: usize = size_of::<PciHotResetInfo>();
const ENTRY: usize = size_of::<PciDependentDevice>();

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F88"],
        "what a hot reset takes: EFAULT without a struct",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let ask = |arg| {
                ioctl(
                    rig.kernel(),
                    &open.device,
                    uapi::DEVICE_GET_PCI_HOT_RESET_INFO,
                    arg,
                )
            };
            assert_eq!(ask(Arg::None), Err(Errno::FAULT));
            assert_eq!(ask(Arg::Value(8)), Err(Errno::FAULT));
        },
    ),
    both(
        &["F88"],
        "what a hot reset takes: EINVAL for an argsz below 12",
        OTHERS,
        |host| {
            let (_rig, open) = host.open(ResetWithOthers);
            assert_eq!(info(&open, 11, 64), (INVALID, unwritten(11, 64)));
        },
    ),
    both(
        &["F88"],
        "what a hot reset takes: ENODEV where nothing resets the bus",
        &[Device(NoHotReset)],
        |host| {
            let (_rig, open) = host.open(NoHotReset);
            assert_eq!(info(&open, 64, 64), (Err(Errno::NODEV), unwritten(64, 64)));
            assert_eq!(info(&open, 11, 64).0, INVALID, "argsz comes first");
        },
    ),
    both(
        &["F88"],
        "what a hot reset takes: ENOSPC without room for all, with how many they are",
        &[Device(HotReset)],
        |host| {
            let (_rig, open) = host.open(HotReset);
            let members = members(host, &open_name(host));
            let needed = HEAD + members.len() * ENTRY;
            for short in [HEAD, needed - 1] {
                let (answer, bytes) = info(&open, short, 128);
                assert_eq!(answer, Err(Errno::NOSPC));
                assert_eq!(head(&bytes), (short, 0, members.len()));
                assert_eq!(bytes[HEAD..], [0x77; 128 - HEAD], "not one is written");
            }
        },
    ),
    both(
        &["F88"],
        "what a hot reset takes: each device of the bus, where it is and its group",
        &[Device(HotReset)],
        |host| {
            let (_rig, open) = host.open(HotReset);
            let mut members = members(host, &open_name(host));
            let needed = HEAD + members.len() * ENTRY;
            for room in [needed, needed + 8] {
                let (answer, bytes) = info(&open, room, 128);
                assert_eq!(answer, Ok(0));
                assert_eq!(head(&bytes), (room, 0, members.len()));
                let entries = bytes[HEAD..needed].chunks_exact(ENTRY);
                let mut entries: Vec<_> = entries.map(place).collect();
                entries.sort_unstable();
                members.sort_unstable();
                assert_eq!(entries, members);
                assert_eq!(bytes[needed..], [0x77; 128][needed..], "and no more");
            }
        },
    ),
    both(
        &["F88"],
        "members that VFIO does not have are counted too",
        OTHERS,
        |host| {
            let (_rig, open) = host.open(ResetWithOthers);
            let _without = host.without(&neighbour(host));
            let members = members(host, &host.place(ResetWithOthers).1);
            let (answer, bytes) = info(&open, 128, 128);
            assert_eq!((answer, head(&bytes).2), (Ok(0), members.len()));
        },
    ),
    both(
        &["F88"],
        "hot reset: EFAULT without a struct",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let ask = |arg| ioctl(rig.kernel(), &open.device, uapi::DEVICE_PCI_HOT_RESET, arg);
            assert_eq!(ask(Arg::None), Err(Errno::FAULT));
            assert_eq!(ask(Arg::Value(8)), Err(Errno::FAULT));
        },
    ),
    both(
        &["F88"],
        "hot reset: EINVAL for an argsz below 12, for flags, and for no fds",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let own = [rig.group.as_raw_fd()];
            assert_eq!(hot_reset_of(&open, 11, 0, &own), INVALID);
            assert_eq!(hot_reset_of(&open, 16, 1, &own), INVALID);
            assert_eq!(hot_reset_of(&open, 16, 1 << 31, &own), INVALID);
            assert_eq!(hot_reset(&open, &[]), INVALID);
        },
    ),
    both(
        &["F88"],
        "hot reset: flags and no fds come before whether anything resets the bus",
        &[Device(NoHotReset)],
        |host| {
            let (rig, open) = host.open(NoHotReset);
            assert_eq!(
                hot_reset_of(&open, 16, 1, &[rig.group.as_raw_fd()]),
                INVALID
            );
            assert_eq!(hot_reset(&open, &[]), INVALID);
        },
    ),
    both(
        &["F88"],
        "hot reset: ENODEV where nothing resets the bus, before fds are counted and looked at",
        &[Device(NoHotReset)],
        |host| {
            let (rig, open) = host.open(NoHotReset);
            let none = Err(Errno::NODEV);
            assert_eq!(hot_reset(&open, &[rig.group.as_raw_fd()]), none);
            assert_eq!(hot_reset(&open, &[NO_FD; 9]), none);
        },
    ),
    both(
        &["F88"],
        "hot reset: EINVAL for more fds than devices, before they are looked at",
        &[Device(HotReset)],
        |host| {
            let (_rig, open) = host.open(HotReset);
            let members = members(host, &open_name(host)).len();
            assert_eq!(hot_reset(&open, &vec![NO_FD; members + 1]), INVALID);
            assert_eq!(hot_reset(&open, &vec![NO_FD; members]), Err(Errno::BADF));
        },
    ),
    both(
        &["F88"],
        "hot reset: EBADF for no fd, wherever it is",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let own = rig.group.as_raw_fd();
            for fds in [[NO_FD, own], [own, NO_FD], [own, -1]] {
                assert_eq!(hot_reset(&open, &fds), Err(Errno::BADF));
            }
        },
    ),
    both(
        &["F88"],
        "hot reset: EINVAL for an fd of no group",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let eventfd = Signal::new(rig.kernel());
            let own = rig.group.as_raw_fd();
            for other in [
                eventfd.number(),
                rig.container.as_raw_fd(),
                open.device.as_raw_fd(),
            ] {
                assert_eq!(hot_reset(&open, &[own, other]), INVALID);
                assert_eq!(
                    hot_reset(&open, &[other, NO_FD]),
                    INVALID,
                    "the first one that is wrong"
                );
            }
        },
    ),
    both(
        &["F88"],
        "hot reset: EINVAL if a device is of no group that was named",
        &[Device(ResetWithOthers), TwoGroups],
        |host| {
            let (_rig, open) = host.open(ResetWithOthers);
            let (own, _) = host.place(ResetWithOthers);
            let other = host.group(usize::from(host.group_id(0) == own));
            assert_eq!(hot_reset(&open, &[other.as_raw_fd()]), INVALID);
        },
    ),
    both(
        &["F88"],
        "hot reset: EINVAL if VFIO does not have a device",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let own = [rig.group.as_raw_fd()];
            let without = host.without(&neighbour(host));
            assert_eq!(hot_reset(&open, &own), INVALID);
            drop(without);
            assert_eq!(hot_reset(&open, &own), Ok(0));
        },
    ),
    both(
        &["F88"],
        "hot reset: the group of all devices is enough, whether they are open or not",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let own = rig.group.as_raw_fd();
            assert_eq!(hot_reset(&open, &[own]), Ok(0));
            let second = rig.open(&neighbour(host));
            assert_eq!(hot_reset(&open, &[own]), Ok(0));
            assert_eq!(hot_reset(&second, &[own]), Ok(0));
        },
    ),
    both(
        &["F88"],
        "hot reset: a group may be named twice, or another beside it",
        &[Device(ResetWithOthers), TwoGroups],
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let (id, own) = (host.place(ResetWithOthers).0, rig.group.as_raw_fd());
            assert_eq!(hot_reset(&open, &[own, own]), Ok(0));
            let other = host.group(usize::from(host.group_id(0) == id));
            assert_eq!(hot_reset(&open, &[own, other.as_raw_fd()]), Ok(0));
        },
    ),
    both(
        &["F88"],
        "hot reset: config space stays as it was",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            open.set_config(LINE, 0x155);
            let seen = || [COMMAND, 0x10, 0x12, LINE].map(|at| open.config(at));
            let before = seen();
            assert_eq!(before[0] & 6, 6, "a bus master that decodes memory");
            assert_eq!(hot_reset(&open, &[rig.group.as_raw_fd()]), Ok(0));
            assert_eq!(seen(), before);
        },
    ),
    both(
        &["F88"],
        "hot reset: MSI and its eventfds stay",
        OTHERS,
        |host| {
            const FIRE: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_ACTION_TRIGGER;
            let (rig, open) = host.open(ResetWithOthers);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(MSI, 0, &[signal.number()]), Ok(0));
            assert_eq!(hot_reset(&open, &[rig.group.as_raw_fd()]), Ok(0));
            assert_eq!(open.irqs(MSI, FIRE, (0, 1), &[]), Ok(0));
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["F88"],
        "hot reset: a controller that is alone on its bus forgets its registers",
        &[Device(ControllerOnBus)],
        |host| {
            let (rig, open) = host.open(ControllerOnBus);
            assert_eq!(open.pwrite(0, INTERRUPT_MASK, &MASKED), Ok(4));
            assert_eq!(hot_reset(&open, &[rig.group.as_raw_fd()]), Ok(0));
            assert_eq!(open.pread(0, INTERRUPT_MASK, 4), Ok(vec![0; 4]));
        },
    ),
    both(
        &["F88"],
        "hot reset: EAGAIN while somebody else holds a device of the bus",
        OTHERS,
        |host| {
            let (rig, open) = host.open(ResetWithOthers);
            let own = [rig.group.as_raw_fd()];
            let answer = while_asked_for(host, ResetWithOthers, open, |open| hot_reset(open, &own));
            assert_eq!(answer, Err(Errno::AGAIN));
            drop(rig);
        },
    ),
];

/// Where the interrupt line and pin are.
const LINE: u64 = 0x3c;

fn hot_reset_of(open: &Open, argsz: u32, flags: u32, fds: &[i32]) -> Result<u32> {
    let count = u32::try_from(fds.len()).unwrap();
    let mut bytes = [argsz, flags, count].as_bytes().to_vec();
    bytes.extend(fds.as_bytes());
    let arg = Arg::In(&bytes);
    ioctl(open.kernel(), &open.device, uapi::DEVICE_PCI_HOT_RESET, arg)
}

fn hot_reset(open: &Open, fds: &[i32]) -> Result<u32> {
    let size = HEAD + size_of_val(fds);
    hot_reset_of(open, u32::try_from(size).unwrap(), 0, fds)
}

/// Bytes that nobody has written, but for argsz.
fn unwritten(argsz: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0x77; len];
    bytes[..4].copy_from_slice(&u32::try_from(argsz).unwrap().to_ne_bytes());
    bytes
}

/// What a hot reset takes: the answer, and the bytes afterwards.
fn info(open: &Open, argsz: usize, len: usize) -> (Result<u32>, Vec<u8>) {
    let mut bytes = unwritten(argsz, len);
    let arg = Arg::InOut(&mut bytes);
    let opcode = uapi::DEVICE_GET_PCI_HOT_RESET_INFO;
    (ioctl(open.kernel(), &open.device, opcode, arg), bytes)
}

/// argsz, flags and count.
fn head(bytes: &[u8]) -> (usize, u32, usize) {
    let head = PciHotResetInfo::read_from_bytes(&bytes[..HEAD]).unwrap();
    (head.argsz as usize, head.flags, head.count as usize)
}

/// Where a device is, as sysfs says it, and its group.
fn place(entry: &[u8]) -> (String, u32) {
    let entry = PciDependentDevice::read_from_bytes(entry).unwrap();
    let PciDependentDevice {
        group_id,
        segment,
        bus,
        devfn,
    } = entry;
    let (slot, function) = (devfn >> 3, devfn & 7);
    (
        format!("{segment:04x}:{bus:02x}:{slot:02x}.{function}"),
        group_id,
    )
}

/// The devices that are reset with that one.
fn members(host: &Host, bdf: &str) -> Vec<(String, u32)> {
    let groups = &host.machine().groups;
    let all = groups
        .iter()
        .flat_map(|group| group.devices.iter().map(move |device| (device, group.id)));
    let bus = all
        .clone()
        .find(|(device, _)| device.bdf == bdf)
        .and_then(|(device, _)| device.reset_bus);
    all.filter(|(device, _)| device.reset_bus == bus)
        .map(|(device, group)| (device.bdf.clone(), group))
        .collect()
}

fn open_name(host: &Host) -> String {
    host.place(HotReset).1
}

/// Another device that is reset with the first one.
fn neighbour(host: &Host) -> String {
    let (_, bdf) = host.place(ResetWithOthers);
    let members = members(host, &bdf);
    let mut others = members.into_iter().map(|(name, _)| name);
    others.find(|name| *name != bdf).unwrap()
}

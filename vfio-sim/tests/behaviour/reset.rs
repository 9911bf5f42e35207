//! A14, F87 to F89: resets, features, tokens.

use std::os::fd::AsRawFd;

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, PCI_MSIX_IRQ_INDEX as MSIX, PciDependentDevice, TYPE1V2_IOMMU};
use vfio_sim::machine::{Device, Group, Sriov};
use vfio_sim::{Machine, SimKernel};
use zerocopy::{FromBytes, IntoBytes};

use crate::door::{ioctl, joined_group, open_container, open_device, open_group, set_iommu};
use crate::probe::{self, KEEP, NAME, SEND};
use crate::rig::{COMMAND, Open, Rig, Signal};

const NEIGHBOUR: &str = "0000:00:05.1";
const INVALID: Result<u32, Errno> = Err(Errno::INVAL);

fn reset(open: &Open) -> Result<u32, Errno> {
    ioctl(&open.sim, &open.device, uapi::DEVICE_RESET, Arg::None)
}

#[test]
fn f87_a_reset_keeps_eventfds_and_config_space() {
    let (rig, device) = Rig::probe();
    let signal = Signal::new(&rig.sim);
    device.trigger(MSIX, 0, &[signal.number()]).unwrap();
    device.set(KEEP, 5);
    let command = device.config(COMMAND);
    assert_eq!(reset(&device), Ok(0));
    assert_eq!(device.get(KEEP), 0);
    assert_eq!(device.config(COMMAND), command, "a bus master still");
    device.set(SEND, 0);
    assert_eq!(signal.count(), 1);
}

#[test]
fn f87_a_reset_wakes_up() {
    let (_rig, device) = Rig::probe();
    let control = device.capability(0x01) + 4;
    device.set_config(control, 3);
    assert_eq!(device.pread(0, 0, 4), Err(Errno::IO));
    assert_eq!(reset(&device), Ok(0));
    assert_eq!((device.config(control) & 3, device.get(KEEP)), (0, 0));
}

#[test]
fn f87_there_may_be_none() {
    let edu = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU).open("0000:00:04.0");
    assert_eq!(reset(&edu), INVALID);
}

/// Two devices of two groups on one bus that can be reset, and a third on none.
fn bus(neighbour: Device) -> Rig {
    let machine = Machine {
        groups: vec![
            Group::new(4, [probe::device(NAME).on_reset_bus(1)]),
            Group::new(5, [neighbour.on_reset_bus(1)]),
            Group::new(6, [probe::device("0000:00:06.0")]),
        ],
        ..Machine::x86_64()
    };
    Rig::new(machine, TYPE1V2_IOMMU)
}

fn hot_reset_of(open: &Open, argsz: u32, flags: u32, fds: &[i32]) -> Result<u32, Errno> {
    let count = u32::try_from(fds.len()).unwrap();
    let mut bytes = [argsz, flags, count].as_bytes().to_vec();
    bytes.extend(fds.as_bytes());
    let arg = Arg::In(&bytes);
    ioctl(&open.sim, &open.device, uapi::DEVICE_PCI_HOT_RESET, arg)
}

fn hot_reset(open: &Open, fds: &[i32]) -> Result<u32, Errno> {
    hot_reset_of(open, 12, 0, fds)
}

#[test]
fn f88_what_a_hot_reset_takes() {
    let rig = bus(probe::device(NEIGHBOUR));
    let device = rig.open(NAME);
    let ask = |argsz: u32| {
        let mut bytes = [0u8; 28];
        bytes[..4].copy_from_slice(&argsz.to_le_bytes());
        let arg = Arg::InOut(&mut bytes);
        let opcode = uapi::DEVICE_GET_PCI_HOT_RESET_INFO;
        (ioctl(&rig.sim, &device.device, opcode, arg), bytes)
    };
    assert_eq!(ask(11).0, INVALID);
    let (answer, bytes) = ask(27);
    assert_eq!((answer, bytes[8]), (Err(Errno::NOSPC), 2), "how many");
    assert_eq!(bytes[12..], [0; 16]);
    let (answer, bytes) = ask(28);
    assert_eq!((answer, bytes[8]), (Ok(0), 2));
    let second = PciDependentDevice::read_from_bytes(&bytes[20..]).unwrap();
    assert_eq!(
        (second.group_id, second.bus, second.devfn),
        (5, 0, 5 << 3 | 1)
    );
}

#[test]
fn f88_every_device_must_be_owned() {
    let rig = bus(probe::device(NEIGHBOUR));
    let device = rig.open(NAME);
    let own = rig.group.as_raw_fd();
    let other = joined_group(&rig.sim, &rig.container, 5);
    let third = open_group(&rig.sim, 6).unwrap();
    let neighbour = Rig {
        group: other,
        container: rig.container.try_clone().unwrap(),
        sim: rig.sim.clone(),
    };
    let both = [own, neighbour.group.as_raw_fd()];
    let second = neighbour.open(NEIGHBOUR);
    device.set(KEEP, 5);
    second.set(KEEP, 6);
    assert_eq!(hot_reset_of(&device, 11, 0, &both), INVALID, "argsz");
    assert_eq!(hot_reset_of(&device, 12, 1, &both), INVALID, "flags");
    assert_eq!(hot_reset(&device, &[]), INVALID, "no fds");
    assert_eq!(
        hot_reset(&device, &[own, both[1], own]),
        INVALID,
        "more than devices"
    );
    assert_eq!(hot_reset(&device, &[own]), INVALID, "not all");
    assert_eq!(
        hot_reset(&device, &[own, third.as_raw_fd()]),
        INVALID,
        "another"
    );
    assert_eq!(hot_reset(&device, &[own, i32::MAX]), Err(Errno::BADF));
    assert_eq!(
        hot_reset(&device, &[own, second.device.as_raw_fd()]),
        INVALID,
        "no group"
    );
    assert_eq!(
        (device.get(KEEP), second.get(KEEP)),
        (5, 6),
        "nothing happened"
    );
    assert_eq!(hot_reset(&device, &both), Ok(0));
    assert_eq!((device.get(KEEP), second.get(KEEP)), (0, 0));
}

#[test]
fn f88_every_device_must_be_bound_to_vfio() {
    let rig = Rig::new(
        Machine::x86_64().with_devices([
            probe::device(NAME).on_reset_bus(1),
            probe::device(NEIGHBOUR).on_reset_bus(1).unbound(),
        ]),
        TYPE1V2_IOMMU,
    );
    assert_eq!(
        hot_reset(&rig.open(NAME), &[rig.group.as_raw_fd()]),
        INVALID
    );
}

#[test]
fn f88_there_may_be_none() {
    let (rig, device) = Rig::probe();
    let own = [rig.group.as_raw_fd()];
    assert_eq!(hot_reset(&device, &own), Err(Errno::NODEV));
    assert_eq!(hot_reset(&device, &[]), INVALID, "that is looked at first");
    let many = [-1; 9];
    assert_eq!(
        hot_reset(&device, &many),
        Err(Errno::NODEV),
        "before they are counted and looked at"
    );
    let mut bytes = [12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let arg = Arg::InOut(&mut bytes);
    let opcode = uapi::DEVICE_GET_PCI_HOT_RESET_INFO;
    assert_eq!(
        ioctl(&rig.sim, &device.device, opcode, arg),
        Err(Errno::NODEV)
    );
}

const GET: u32 = uapi::DEVICE_FEATURE_GET;
const SET: u32 = uapi::DEVICE_FEATURE_SET;
const PROBE: u32 = uapi::DEVICE_FEATURE_PROBE;

fn feature(open: &Open, argsz: u32, flags: u32, data: &[u8]) -> Result<u32, Errno> {
    let mut bytes = [argsz, flags].as_bytes().to_vec();
    bytes.extend(data);
    ioctl(
        &open.sim,
        &open.device,
        uapi::DEVICE_FEATURE,
        Arg::InOut(&mut bytes),
    )
}

#[test]
fn f89_features() {
    const SLEEP: u32 = uapi::DEVICE_FEATURE_LOW_POWER_ENTRY;
    let (_rig, device) = Rig::probe();
    let ask = |flags| feature(&device, 8, flags, &[]);
    assert_eq!(feature(&device, 7, PROBE | SLEEP, &[]), INVALID, "argsz");
    assert_eq!(ask(GET | SET | SLEEP), INVALID, "both");
    assert_eq!(ask(1 << 19 | SET | SLEEP), INVALID, "flags");
    assert_eq!(ask(GET | SET | PROBE | SLEEP), INVALID, "it cannot be got");
    assert_eq!(ask(SLEEP), INVALID, "neither");
    assert_eq!(
        ask(PROBE | GET | uapi::DEVICE_FEATURE_MIGRATION),
        Err(Errno::NOTTY)
    );
    assert_eq!(
        ask(PROBE | uapi::DEVICE_FEATURE_PCI_VF_TOKEN),
        Err(Errno::NOTTY),
        "no PF"
    );
    assert_eq!(ask(PROBE | SLEEP), Ok(0));
    assert_eq!(ask(PROBE | SET | SLEEP), Ok(0));
    assert!(device.pread(0, 0, 4).is_ok(), "a probe does nothing");
}

#[test]
fn f89_low_power() {
    const SLEEP: u32 = SET | uapi::DEVICE_FEATURE_LOW_POWER_ENTRY;
    const WAKE_BY: u32 = SET | uapi::DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
    const WAKE: u32 = SET | uapi::DEVICE_FEATURE_LOW_POWER_EXIT;
    let (rig, device) = Rig::probe();
    let signal = Signal::new(&rig.sim);
    // The second number is reserved, and nobody looks at it.
    let wakeup = |fd| feature(&device, 16, WAKE_BY, [fd, 7].as_bytes());
    assert_eq!(feature(&device, 8, WAKE, &[]), Ok(0), "awake already");
    assert_eq!(wakeup(i32::MAX), Err(Errno::BADF));
    assert_eq!(wakeup(-1), INVALID, "no number of an fd");
    assert_eq!(wakeup(rig.group.as_raw_fd()), INVALID, "no eventfd");
    assert_eq!(feature(&device, 15, WAKE_BY, &[0; 8]), INVALID);
    for enter in [|| (SLEEP, 0), || (WAKE_BY, 1)] {
        let (how, reserved) = enter();
        let answer = match reserved {
            0 => feature(&device, 8, how, &[]),
            _ => wakeup(signal.number()),
        };
        assert_eq!(answer, Ok(0));
        assert_eq!(feature(&device, 8, SLEEP, &[]), INVALID, "asleep already");
        for region in [0, 7] {
            let woken_up = device.pread(region, 0, 4);
            assert!(woken_up.is_ok(), "for a while");
        }
        assert_eq!(feature(&device, 8, WAKE, &[]), Ok(0));
        assert!(device.pread(0, 0, 4).is_ok());
    }
}

/// A physical function in group 4, one of its virtual ones in group 5.
fn functions(driver: &str) -> (SimKernel, [std::os::fd::OwnedFd; 2]) {
    let physical = Device {
        sriov: Sriov::Physical,
        ..probe::device(NAME)
    };
    let virtual_one = Device {
        sriov: Sriov::Virtual(NAME.into()),
        ..probe::device(NEIGHBOUR)
    };
    let machine = Machine {
        groups: vec![
            Group::new(4, [physical.driven_by(driver)]),
            Group::new(5, [virtual_one]),
        ],
        ..Machine::x86_64()
    };
    let sim = SimKernel::new(machine);
    let container = open_container(&sim);
    let second = joined_group(&sim, &container, 5);
    set_iommu(&sim, &container, TYPE1V2_IOMMU).unwrap();
    let first = match driver {
        "vfio-pci" => joined_group(&sim, &container, 4),
        _ => second.try_clone().unwrap(),
    };
    (sim, [first, second])
}

#[test]
fn a14_f89_a_virtual_function_wants_the_token_of_its_physical_one() {
    const TOKEN: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
    let (sim, [first, second]) = functions("vfio-pci");
    let right = c"0000:00:05.1 vf_token=00112233-4455-6677-8899-aabbccddeeff";
    let open = |name| open_device(&sim, &second, name).map(drop);
    assert_eq!(open(c"0000:00:05.1"), Err(Errno::ACCESS), "none");
    assert_eq!(
        open(right),
        Err(Errno::ACCESS),
        "nobody knows the first one"
    );
    let zeros = c"0000:00:05.1 vf_token=00000000-0000-0000-0000-000000000000";
    assert_eq!(open(zeros), Err(Errno::ACCESS));
    assert_eq!(
        open(c"0000:00:05.1 vf_token=0011"),
        Err(Errno::INVAL),
        "malformed"
    );
    assert_eq!(open(c"0000:00:05.1 other"), Err(Errno::INVAL));

    let physical = Open {
        device: open_device(&sim, &first, c"0000:00:04.0").unwrap(),
        sim: sim.clone(),
    };
    let set = SET | uapi::DEVICE_FEATURE_PCI_VF_TOKEN;
    assert_eq!(feature(&physical, 23, set, &TOKEN), INVALID, "argsz");
    assert_eq!(feature(&physical, 24, set, &TOKEN), Ok(0));
    let held = open_device(&sim, &second, right).unwrap();
    let again = |name| open_device(&sim, &first, name).map(drop);
    assert_eq!(
        again(c"0000:00:04.0"),
        Err(Errno::ACCESS),
        "a virtual one is open"
    );
    drop(held);
    assert_eq!(again(c"0000:00:04.0"), Ok(()));
}

#[test]
fn a14_a_physical_function_of_the_kernel_asks_for_no_token() {
    let (sim, [_, second]) = functions("pci-pf-stub");
    let open = |name| open_device(&sim, &second, name).map(drop);
    assert_eq!(open(c"0000:00:05.1"), Ok(()));
    let with = c"0000:00:05.1 vf_token=00112233-4455-6677-8899-aabbccddeeff";
    assert_eq!(open(with), Err(Errno::INVAL));
}

#[test]
fn a14_the_token_is_judged_before_the_container() {
    let sim = SimKernel::new(Machine::x86_64().with_devices([probe::device(NAME)]));
    let group = open_group(&sim, 2).unwrap();
    let open = |name| open_device(&sim, &group, name).map(drop);
    assert_eq!(open(c"0000:00:04.1"), Err(Errno::NODEV));
    assert_eq!(open(c"0000:00:04.0 vf_token=0"), Err(Errno::INVAL));
    let (sim, [_, second]) = functions("vfio-pci");
    crate::door::leave(&sim, &second).unwrap();
    let answer = open_device(&sim, &second, c"0000:00:05.1").map(drop);
    assert_eq!(
        answer,
        Err(Errno::ACCESS),
        "and not EINVAL for want of a container"
    );
}

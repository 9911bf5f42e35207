//! F88: a bus with devices of several groups on it, which the lab does not have.

use std::os::fd::AsRawFd;

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, TYPE1V2_IOMMU};
use vfio_sim::Machine;
use vfio_sim::machine::Group;
use zerocopy::IntoBytes;

use crate::door::{ioctl, joined_group};
use crate::probe::{self, KEEP, NAME};
use crate::rig::{Open, Rig};

const NEIGHBOUR: &str = "0000:00:05.1";

fn hot_reset(open: &Open, fds: &[i32]) -> Result<u32, Errno> {
    let count = u32::try_from(fds.len()).unwrap();
    let mut bytes = [12, 0, count].as_bytes().to_vec();
    bytes.extend(fds.as_bytes());
    let arg = Arg::In(&bytes);
    ioctl(&open.sim, &open.device, uapi::DEVICE_PCI_HOT_RESET, arg)
}

#[test]
fn f88_the_group_of_every_device_must_be_named() {
    let machine = Machine {
        groups: vec![
            Group::new(4, [probe::device(NAME).on_reset_bus(1)]),
            Group::new(5, [probe::device(NEIGHBOUR).on_reset_bus(1)]),
        ],
        ..Machine::x86_64()
    };
    let rig = Rig::new(machine, TYPE1V2_IOMMU);
    let device = rig.open(NAME);
    let neighbour = Rig {
        group: joined_group(&rig.sim, &rig.container, 5),
        container: rig.container.try_clone().unwrap(),
        sim: rig.sim.clone(),
    };
    let second = neighbour.open(NEIGHBOUR);
    let both = [&rig, &neighbour].map(|it| it.group.as_raw_fd());
    device.set(KEEP, 5);
    second.set(KEEP, 6);
    assert_eq!(hot_reset(&device, &both[..1]), Err(Errno::INVAL));
    assert_eq!(hot_reset(&device, &both[1..]), Err(Errno::INVAL));
    let kept = (device.get(KEEP), second.get(KEEP));
    assert_eq!(kept, (5, 6), "nothing happened");
    assert_eq!(hot_reset(&device, &both), Ok(0));
    assert_eq!((device.get(KEEP), second.get(KEEP)), (0, 0));
}

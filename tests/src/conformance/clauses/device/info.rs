//! F74: what VFIO says of a device.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, DeviceInfo};

use super::{each, each_like, raw_info};
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Any, FunctionReset, NoReset};
use crate::conformance::clause::{Clause, both};
use crate::conformance::raw::{call, ioctl};
use crate::conformance::rig::Open;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F74"],
        "GET_INFO: less than 16 bytes are EINVAL",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            for argsz in [0, 8, 15] {
                let mut bytes = [0x77; 24];
                bytes[..4].copy_from_slice(&[argsz, 0, 0, 0]);
                let before = bytes;
                let answer = raw_info(&open, uapi::DEVICE_GET_INFO, &mut bytes);
                assert_eq!(answer, Err(Errno::INVAL), "{argsz}");
                assert_eq!(bytes, before, "nothing is written");
            }
        },
    ),
    both(
        &["F74"],
        "GET_INFO: 16 bytes are enough, and no more is written then",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let mut bytes = [0x77; 24];
            bytes[..4].copy_from_slice(&[16, 0, 0, 0]);
            let answer = raw_info(&open, uapi::DEVICE_GET_INFO, &mut bytes);
            assert_eq!(answer, Ok(0));
            assert_eq!(bytes[8..16], [9, 0, 0, 0, 5, 0, 0, 0]);
            assert_eq!(bytes[16..], [0x77; 8]);
        },
    ),
    both(
        &["F74"],
        "GET_INFO: argsz comes back as it was, and there are no capabilities",
        &[],
        |host| {
            let (_rig, open) = host.open(Any);
            let info = info(&open);
            assert_eq!((info.argsz, info.cap_offset), (24, 0));
        },
    ),
    both(
        &["F74"],
        "every device has nine regions, five interrupt indexes, and is a PCI device",
        &[],
        |host| {
            each(host, |open, device| {
                let info = info(open);
                let kind = info.flags & !uapi::DEVICE_FLAGS_RESET;
                let told = (info.num_regions, info.num_irqs, kind);
                let expected = (9, 5, uapi::DEVICE_FLAGS_PCI);
                assert_eq!(told, expected, "{}", device.bdf);
            });
        },
    ),
    both(
        &["F74"],
        "the reset flag is set where a reset works, one of the bus too, and nowhere else",
        &[],
        |host| {
            each_like(
                host,
                |_| true,
                |open, device| {
                    let can = host.machine().can_reset(device);
                    assert_eq!(says_reset(open), can, "{}", device.bdf);
                },
            );
        },
    ),
    both(
        &["F74", "F87"],
        "what says that it can be reset can be",
        &[Device(FunctionReset)],
        |host| {
            let (_rig, open) = host.open(FunctionReset);
            assert!(says_reset(&open));
            assert_eq!(reset(&open), Ok(0));
        },
    ),
    both(
        &["F74", "F87"],
        "what has no reset does not say so, and cannot be reset",
        &[Device(NoReset)],
        |host| {
            let (_rig, open) = host.open(NoReset);
            assert!(!says_reset(&open));
            assert_eq!(reset(&open), Err(Errno::INVAL));
        },
    ),
];

fn info(open: &Open) -> DeviceInfo {
    let mut info = DeviceInfo {
        argsz: 24,
        cap_offset: 7,
        ..DeviceInfo::default()
    };
    call(
        open.kernel(),
        &open.device,
        uapi::DEVICE_GET_INFO,
        &mut info,
    )
    .unwrap();
    info
}

fn says_reset(open: &Open) -> bool {
    info(open).flags & uapi::DEVICE_FLAGS_RESET != 0
}

fn reset(open: &Open) -> vfio_core::kernel::Result<u32> {
    ioctl(open.kernel(), &open.device, uapi::DEVICE_RESET, Arg::None)
}

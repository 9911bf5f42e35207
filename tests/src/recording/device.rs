//! What a device says of itself. Nothing of it is written, and of its registers nothing is read.

use std::os::fd::OwnedFd;

use vfio_core::uapi::{
    self, DEVICE_FEATURE_GET, DEVICE_FEATURE_PROBE, DEVICE_FEATURE_SET, RegionInfo,
};
use zerocopy::FromBytes;

use super::caller::Caller;

/// One more than there are of each, so that it is said that there is no more.
const REGIONS: std::ops::RangeInclusive<u32> = 0..=9;
const IRQS: std::ops::RangeInclusive<u32> = 0..=5;
const FEATURES: std::ops::RangeInclusive<u32> = 0..=12;

/// Room for capabilities, and for the devices of a bus.
const ROOM: u32 = 0x400;

pub(super) fn programme(caller: &Caller, device: &OwnedFd) {
    let ask = |opcode, argsz: u32, words: &[u32], room: usize| {
        let words: Vec<_> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        caller.ask(device, opcode, argsz, &words, room)
    };
    for (argsz, room) in [(15, 24), (16, 24), (ROOM, ROOM as usize)] {
        ask(uapi::DEVICE_GET_INFO, argsz, &[], room);
    }
    let mut config = None;
    for index in REGIONS {
        for (argsz, room) in [(31, 32), (32, 32), (ROOM, ROOM as usize)] {
            let info = ask(uapi::DEVICE_GET_REGION_INFO, argsz, &[0, index], room);
            if index == uapi::PCI_CONFIG_REGION_INDEX {
                config = info.and_then(|info| Some(RegionInfo::read_from_prefix(&info).ok()?.0));
            }
        }
    }
    for index in IRQS {
        ask(uapi::DEVICE_GET_IRQ_INFO, 15, &[0, index], 16);
        ask(uapi::DEVICE_GET_IRQ_INFO, 16, &[0, index], 16);
    }
    if let Some(config) = config {
        caller.read_config(device, usize::try_from(config.size).unwrap_or(0), 0);
        caller.read_config(device, 4, config.size);
        caller.read_config(device, 8, config.size.saturating_sub(4));
    }
    for feature in FEATURES {
        for access in [DEVICE_FEATURE_GET, DEVICE_FEATURE_SET] {
            ask(
                uapi::DEVICE_FEATURE,
                8,
                &[DEVICE_FEATURE_PROBE | access | feature],
                8,
            );
        }
    }
    for (argsz, room) in [(11, 12), (12, 12), (ROOM, ROOM as usize)] {
        ask(uapi::DEVICE_GET_PCI_HOT_RESET_INFO, argsz, &[], room);
    }
}

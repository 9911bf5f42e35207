//! Container and group, and each IOMMU that they can have.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use vfio_core::host::PciDevice;
use vfio_core::{CONTAINER_NODE, group_node, uapi};

use super::caller::Caller;
use super::{device, spapr, type1};

/// Every extension that there is a number for, and some more.
const EXTENSIONS: std::ops::RangeInclusive<u32> = 0..=12;

/// The IOMMUs, from the oldest on: the devices are opened with the last one that can be had.
const IOMMUS: [u32; 4] = [
    uapi::TYPE1_IOMMU,
    uapi::SPAPR_TCE_IOMMU,
    uapi::TYPE1V2_IOMMU,
    uapi::SPAPR_TCE_V2_IOMMU,
];

pub(super) fn programme<'a>(
    caller: &Caller,
    id: u32,
    devices: impl Iterator<Item = &'a PciDevice> + Clone,
) -> Result<()> {
    let node = group_node(id);
    let opened = |path: &std::path::Path| {
        let fd = caller.open(path);
        fd.with_context(|| path.display().to_string())
    };
    let container = opened(CONTAINER_NODE.as_ref())?;
    let offered = alone(caller, &container);
    let group = opened(&node)?;
    let _ = caller.open(&node); // a group is opened once
    outside(caller, &container, &group, devices.clone());

    let mut best = None;
    for iommu in IOMMUS.into_iter().filter(|iommu| offered.contains(iommu)) {
        join(caller, &group, &container);
        if caller.value(&container, uapi::SET_IOMMU, iommu) == Ok(0) {
            best = Some(iommu);
            with(caller, &container, &group, iommu);
        }
        caller.plain(&group, uapi::GROUP_UNSET_CONTAINER);
    }
    if let Some(iommu) = best {
        join(caller, &group, &container);
        let _ = caller.value(&container, uapi::SET_IOMMU, iommu);
        for device in devices {
            if let Ok(fd) = caller.open_device(&group, &device.bdf.to_string()) {
                device::programme(caller, &fd);
                caller.plain(&group, uapi::GROUP_UNSET_CONTAINER); // refused: a device is open
                caller.close(fd);
            }
        }
        caller.plain(&group, uapi::GROUP_UNSET_CONTAINER);
    }
    caller.close(group);
    caller.close(container);
    Ok(())
}

/// A container without a group; answers what it offers.
fn alone(caller: &Caller, container: &OwnedFd) -> Vec<u32> {
    caller.plain(container, uapi::GET_API_VERSION);
    let offered = extensions(caller, container);
    let _ = caller.value(container, uapi::SET_IOMMU, uapi::TYPE1V2_IOMMU);
    caller.ask(container, uapi::IOMMU_GET_INFO, 16, &[], 16);
    offered
}

fn extensions(caller: &Caller, container: &OwnedFd) -> Vec<u32> {
    EXTENSIONS
        .filter(|number| caller.value(container, uapi::CHECK_EXTENSION, *number) == Ok(1))
        .collect()
}

/// A group that is in no container.
fn outside<'a>(
    caller: &Caller,
    container: &OwnedFd,
    group: &OwnedFd,
    devices: impl Iterator<Item = &'a PciDevice>,
) {
    caller.ask(group, uapi::GROUP_GET_STATUS, 8, &[], 8);
    caller.ask(group, uapi::GROUP_GET_STATUS, 7, &[], 8);
    caller.plain(group, uapi::GROUP_UNSET_CONTAINER);
    let _ = caller.open_device(group, "no device");
    for device in devices {
        let _ = caller.open_device(group, &device.bdf.to_string());
    }
    let nothing = -1_i32;
    let _ = caller.give(group, uapi::GROUP_SET_CONTAINER, &nothing.to_ne_bytes());
    join(caller, group, group);
    join(caller, group, container);
    join(caller, group, container);
    caller.ask(group, uapi::GROUP_GET_STATUS, 8, &[], 8);
    extensions(caller, container);
    for wrong in [0, uapi::TYPE1_NESTING_IOMMU, uapi::UNMAP_ALL, 77] {
        let _ = caller.value(container, uapi::SET_IOMMU, wrong);
    }
    caller.plain(group, uapi::GROUP_UNSET_CONTAINER);
}

fn join(caller: &Caller, group: &OwnedFd, container: &OwnedFd) {
    let fd = container.as_raw_fd().to_ne_bytes();
    let _ = caller.give(group, uapi::GROUP_SET_CONTAINER, &fd);
}

/// A container that has its IOMMU.
fn with(caller: &Caller, container: &OwnedFd, group: &OwnedFd, iommu: u32) {
    let _ = caller.value(container, uapi::SET_IOMMU, iommu);
    extensions(caller, container);
    let _ = caller.open_device(group, "no device");
    match iommu {
        uapi::TYPE1_IOMMU | uapi::TYPE1V2_IOMMU => type1::programme(caller, container),
        _ => spapr::programme(caller, container, iommu == uapi::SPAPR_TCE_V2_IOMMU),
    }
}

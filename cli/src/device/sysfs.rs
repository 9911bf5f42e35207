//! What sysfs says of a device, which needs no rights and changes nothing.

use std::path::PathBuf;

use vfio_core::group_node;
use vfio_core::host::{self, Bdf, HostBar, PciDevice};
use vfio_core::kernel::{Errno, Kernel};

use crate::answer::Answer;
use crate::groups::report::{DeviceRow, rows};
use crate::host::Host;
use crate::names::Names;

use super::report::{
    BarRow, MemberRow, NodeRow, PowerRow, Report, ReservedRow, ResetRow, SubsystemRow, VfioRow,
};

pub(super) fn ask(host: &Host, bdf: Bdf, vfio: VfioRow) -> vfio_core::Result<Report> {
    let kernel = host.kernel();
    let device = host::device(kernel, bdf)?;
    let group = device.group.map(|id| host::group(kernel, id)).transpose()?;
    let reserved = match device.group {
        Some(id) => host::reserved_regions(kernel, id)?,
        None => Vec::new(),
    };
    let members = group.iter().flat_map(|group| &group.devices);
    let names = Names::of(members.chain([&device]));
    let attribute = |name| host::attribute(kernel, bdf, name);
    Ok(Report {
        schema_version: 1,
        about: host.about(),
        subsystem: subsystem_row(kernel, &device, &names),
        driver_override: attribute("driver_override").filter(|name| name != "(null)"),
        group: group.and_then(|group| rows(&[group], &names).pop()),
        node: device
            .group
            .map(|id| node(kernel, group_node(id), device.is_bound_to_vfio())),
        cdev: host::device_node(kernel, bdf).map(|path| node(kernel, path, true)),
        numa_node: device.numa_node,
        bridges: host::bridges_above(kernel, bdf)
            .iter()
            .map(Bdf::to_string)
            .collect(),
        reserved: reserved
            .into_iter()
            .map(|region| ReservedRow {
                first: format!("{:#x}", region.first),
                last: format!("{:#x}", region.last),
                kind: region.kind,
            })
            .collect(),
        reset: ResetRow {
            methods: host::reset_methods(kernel, bdf),
            with_its_bus: host::reset_with_the_bus(kernel, bdf)
                .into_iter()
                .map(|member| MemberRow {
                    bdf: member.to_string(),
                    group: host::device(kernel, member).ok().and_then(|it| it.group),
                })
                .collect(),
        },
        power: PowerRow {
            state: attribute("power_state"),
            runtime_status: attribute("power/runtime_status"),
            control: attribute("power/control"),
            d3cold_allowed: attribute("d3cold_allowed"),
            answers: Answer::of(
                host::is_dead(kernel, bdf).map(|dead| !dead),
                "it is asleep, and asking would wake it up",
            ),
        },
        bars: host::bars(kernel, bdf).iter().map(bar).collect(),
        physical_function: host::physical_function(kernel, bdf).map(|it| it.to_string()),
        vfio,
        device: DeviceRow::new(&device, &names),
    })
}

fn subsystem_row(kernel: &dyn Kernel, device: &PciDevice, names: &Names) -> Option<SubsystemRow> {
    let number = |name| {
        let text = host::attribute(kernel, device.bdf, name)?;
        u16::from_str_radix(text.trim_start_matches("0x"), 16).ok()
    };
    let (vendor, id) = (number("subsystem_vendor")?, number("subsystem_device")?);
    Some(SubsystemRow {
        vendor,
        device: id,
        name: names.card(device, vendor, id).map(str::to_owned),
    })
}

fn node(kernel: &dyn Kernel, path: PathBuf, is_bound: bool) -> NodeRow {
    let found = kernel.node(&path);
    let may_open = match &found {
        Ok(node) => match node.access {
            Ok(()) => Answer::Yes,
            Err(errno) => Answer::No(Some(errno.to_string())),
        },
        Err(Errno::NOENT) if !is_bound => Answer::No(Some(
            "it is not there before the device is bound to a VFIO driver".to_owned(),
        )),
        Err(errno) => Answer::No(Some(errno.to_string())),
    };
    NodeRow {
        path: path.display().to_string(),
        mode: found.ok().map(|node| format!("{:04o}", node.mode)),
        owner: found.ok().map(|node| node.owner),
        group: found.ok().map(|node| node.group),
        may_open,
    }
}

fn bar(bar: &HostBar) -> BarRow {
    BarRow {
        number: bar.number,
        first: format!("{:#x}", bar.first),
        last: format!("{:#x}", bar.last),
        space: if bar.is_io { "io" } else { "memory" },
        prefetchable: bar.prefetchable,
        wide: bar.wide,
    }
}

//! Everything about one device, for people.

use std::fmt::Display;
use std::io;

use vfio_core::address::Size;

use crate::output::Output;

use super::report::{BarRow, MemberRow, NodeRow, Report, VfioRow};

pub(super) fn print(report: &Report, out: &mut Output) -> io::Result<()> {
    let device = &report.device;
    out.line(format_args!("{}  {}", device.bdf, device.title()))?;
    let mut fact = |name: &str, value: &dyn Display| out.line(format_args!("  {name:<12} {value}"));
    if let Some(class) = &device.class_name {
        fact("class", &format_args!("{class} ({:06x})", device.class))?;
    }
    if let Some(subsystem) = &report.subsystem {
        let name = subsystem.name.as_deref().unwrap_or("");
        let numbers = format!("[{:04x}:{:04x}]", subsystem.vendor, subsystem.device);
        fact("card", &format!("{name} {numbers}").trim_start())?;
    }
    fact("driver", &device.driver.as_deref().unwrap_or("none"))?;
    if let Some(only) = &report.driver_override {
        fact("", &format_args!("only {only} may take it"))?;
    }
    if let Some(physical) = &report.physical_function {
        fact("virtual", &format_args!("a function of {physical}"))?;
    }
    match &report.group {
        None => fact("group", &"none: no IOMMU translates for it")?,
        Some(group) => {
            let others = group.devices.iter().filter(|it| it.bdf != device.bdf);
            let others: Vec<_> = others
                .map(|it| {
                    format!(
                        "{} ({})",
                        it.bdf,
                        it.driver.as_deref().unwrap_or("no driver")
                    )
                })
                .collect();
            let with = match others.is_empty() {
                true => "alone".to_owned(),
                false => format!("with {}", others.join(", ")),
            };
            let viable = if group.viable { "" } else { "; not viable" };
            fact("group", &format_args!("{}, {with}{viable}", group.id))?;
        }
    }
    for (name, node) in [("node", &report.node), ("", &report.cdev)] {
        if let Some(node) = node {
            fact(name, &describe_node(node))?;
        }
    }
    if let Some(node) = report.numa_node {
        fact("NUMA node", &node)?;
    }
    if !report.bridges.is_empty() {
        fact("behind", &report.bridges.join(", "))?;
    }
    for region in &report.reserved {
        fact(
            "reserved",
            &format_args!("{}-{} {}", region.first, region.last, region.kind),
        )?;
    }
    let methods = match report.reset.methods.is_empty() {
        true => "none alone".to_owned(),
        false => report.reset.methods.join(", "),
    };
    fact("reset", &methods)?;
    if report.reset.with_its_bus.len() > 1 {
        fact(
            "",
            &format_args!("its bus: {}", members(&report.reset.with_its_bus)),
        )?;
    }
    let power = &report.power;
    let words = [&power.state, &power.runtime_status];
    let words: Vec<_> = words.into_iter().flatten().map(String::as_str).collect();
    fact(
        "power",
        &format_args!("{}; answers: {}", words.join(", "), power.answers),
    )?;
    for bar in &report.bars {
        fact(&bar_name(bar), &describe_bar(bar))?;
    }
    print_vfio(&report.vfio, &mut fact)
}

fn print_vfio(
    vfio: &VfioRow,
    fact: &mut dyn FnMut(&str, &dyn Display) -> io::Result<()>,
) -> io::Result<()> {
    fact("VFIO", &format_args!("opened: {}", vfio.opened))?;
    for region in &vfio.regions {
        let rights = [
            (region.readable, "read"),
            (region.writable, "write"),
            (region.mappable, "map"),
        ];
        let rights: Vec<_> = rights.iter().filter(|it| it.0).map(|it| it.1).collect();
        fact(
            "region",
            &format_args!(
                "{}, {}: {}",
                region.name,
                Size(region.size),
                rights.join(", ")
            ),
        )?;
    }
    for interrupt in &vfio.interrupts {
        let grows = if interrupt.resizable {
            ", can grow"
        } else {
            ""
        };
        fact(
            "interrupts",
            &format_args!("{} {}{grows}", interrupt.count, interrupt.name),
        )?;
    }
    if let Some(set) = &vfio.hot_reset {
        fact("hot reset", &members(set))?;
    }
    Ok(())
}

fn describe_node(node: &NodeRow) -> String {
    let whose = match (&node.mode, node.owner, node.group) {
        (Some(mode), Some(owner), Some(group)) => {
            format!(" mode {mode} user {owner} group {group};")
        }
        _ => String::new(),
    };
    format!("{}{whose} may be opened: {}", node.path, node.may_open)
}

fn members(members: &[MemberRow]) -> String {
    let member = |it: &MemberRow| match it.group {
        Some(id) => format!("{} (group {id})", it.bdf),
        None => it.bdf.clone(),
    };
    members.iter().map(member).collect::<Vec<_>>().join(", ")
}

fn bar_name(bar: &BarRow) -> String {
    match bar.number {
        6 => "ROM".to_owned(),
        number => format!("BAR {number}"),
    }
}

fn describe_bar(bar: &BarRow) -> String {
    let kind = match (bar.space, bar.prefetchable, bar.wide) {
        ("io", ..) => "ports",
        (_, true, true) => "memory, prefetchable, 64 bits",
        (_, true, false) => "memory, prefetchable",
        (_, false, true) => "memory, 64 bits",
        (_, false, false) => "memory",
    };
    format!("{}-{} {kind}", bar.first, bar.last)
}

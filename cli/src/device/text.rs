//! Everything about one device, for people.

use std::fmt::Display;
use std::io;

use vfio_core::address::Size;

use crate::output::Output;

use super::drawing::{draw, glyph};
use super::report::{
    BarLayoutRow, BarRow, LayoutRow, MemberRow, NodeRow, Report, SliceName, VfioRow, bar_kind,
};

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
    match &vfio.layout {
        Some(layout) => print_layout(layout, fact),
        None => Ok(()),
    }
}

/// The BARs as pictures, each with its slices.
fn print_layout(
    layout: &LayoutRow,
    fact: &mut dyn FnMut(&str, &dyn Display) -> io::Result<()>,
) -> io::Result<()> {
    let page = Size(layout.page_size);
    fact(
        "in a guest",
        &format_args!("on a host with pages of {page}"),
    )?;
    for kind in [
        SliceName::Mapped,
        SliceName::Trapped,
        SliceName::Table,
        SliceName::Pending,
    ] {
        let is_there = |bar: &BarLayoutRow| bar.slices.iter().any(|it| it.kind == kind);
        if layout.bars.iter().any(is_there) {
            fact("", &format_args!("{} {}", glyph(kind), meaning(kind)))?;
        }
    }
    for bar in &layout.bars {
        let alone = match bar.in_a_page_alone {
            true => "; mapped where the guest puts it at the start of a page, alone",
            false => "",
        };
        fact(
            &format!("BAR {}", bar.number),
            &format_args!("{}, {}{alone}", bar.kind, Size(bar.size)),
        )?;
        let slices: Vec<_> = bar.slices.iter().map(|it| (it.kind, it.size)).collect();
        fact("", &format_args!("[{}]", draw(&slices)))?;
        for slice in &bar.slices {
            let range = format!("{}-{}", slice.first, slice.last);
            let size = Size(slice.size).to_string();
            fact(
                "",
                &format_args!("{range:<22} {size:<9} {}", name(slice.kind)),
            )?;
        }
    }
    for number in &layout.unassigned {
        fact(
            &format!("BAR {number}"),
            &"ports, to which the host has given no numbers: no guest sees them",
        )?;
    }
    let mapped = Size(layout.mapped);
    let trapped = Size(layout.trapped);
    fact(
        "together",
        &format_args!("{mapped} mapped, {trapped} trapped"),
    )?;
    if layout.beside_the_table > 0 {
        fact(
            "",
            &format_args!(
                "of that {} bytes only because the MSI-X table is in their pages: a VMM can show it in another BAR",
                layout.beside_the_table
            ),
        )?;
    }
    Ok(())
}

fn name(kind: SliceName) -> &'static str {
    match kind {
        SliceName::Mapped => "mapped",
        SliceName::Trapped => "trapped",
        SliceName::Table => "MSI-X table",
        SliceName::Pending => "pending bits",
    }
}

fn meaning(kind: SliceName) -> &'static str {
    match kind {
        SliceName::Mapped => "mapped: the guest reaches the device directly",
        SliceName::Trapped => "trapped: the VMM carries each access out",
        SliceName::Table => "MSI-X table: trapped, and the VMM's",
        SliceName::Pending => "pending bits of MSI-X: trapped, and the VMM's",
    }
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
    let kind = bar_kind(bar.space == "io", bar.prefetchable, bar.wide);
    format!("{}-{} {kind}", bar.first, bar.last)
}

//! The IOMMU hardware, the ways in to VFIO, and what may be locked.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::uapi::TYPE1V2_IOMMU;

use super::attached::Attached;
use super::difference::WORDS;
use super::{GUEST, NEEDED, answer, hex, names, text, unknown};

const UNITS: &str = "/sys/class/iommu";

pub(super) fn iommu(kernel: &Arc<dyn Kernel>, group: Option<u32>) -> Result<Value> {
    let units = names(&**kernel, UNITS)?;
    let rows = units
        .iter()
        .map(|name| json!({ "name": name, "kind": WORDS }));
    Ok(json!({
        "units": rows.collect::<Vec<_>>(),
        "firmware": WORDS,
        "boot_arguments": WORDS,
        "interrupt_isolation": interrupt_isolation(kernel, group)?,
        "address_bits": address_bits(&**kernel, &units)?,
    }))
}

/// On x86 the kernel attaches no group whose interrupts are not remapped, unless it was told to (B19). Elsewhere probe does
/// not say.
fn interrupt_isolation(kernel: &Arc<dyn Kernel>, group: Option<u32>) -> Result<Value> {
    const UNSAFE: &str = "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";

    let Some(group) = group.filter(|_| kernel.identity().0 == "x86_64") else {
        return Ok(unknown());
    };
    if text(&**kernel, UNSAFE)? == "Y" {
        return Ok(unknown());
    }
    Ok(match Attached::new(kernel, group, TYPE1V2_IOMMU)? {
        Ok(_) => answer(true),
        Err(Errno::PERM) => answer(false),
        Err(_) => unknown(),
    })
}

/// The least of what the units of VT-d address, by the specification of their capability registers: bits 21 to 16 say how
/// long an address may be, less 1; bits 9 to 12 that there are tables for 39, 48, 57 and 64 bits.
fn address_bits(kernel: &dyn Kernel, units: &[String]) -> Result<Option<u64>> {
    let mut least = None;
    for unit in units.iter().filter(|name| name.starts_with("dmar")) {
        let file = format!("{UNITS}/{unit}/intel-iommu/cap");
        if kernel.read(file.as_ref()) == Err(Errno::NOENT) {
            continue;
        }
        let register = hex(kernel, &file)?;
        let longest = (register >> 16) % 64 + 1;
        let tables = [(9, 39), (10, 48), (11, 57), (12, 64)];
        let there = tables.iter().filter(|(bit, _)| register >> bit & 1 == 1);
        let widest = there.map(|(_, bits)| *bits).max().unwrap_or(longest);
        let bits = longest.min(widest);
        least = Some(least.map_or(bits, |least: u64| least.min(bits)));
    }
    Ok(least)
}

pub(super) fn interfaces(kernel: &dyn Kernel) -> Result<Value> {
    let has = |directory, name: &str| {
        Ok::<_, anyhow::Error>(names(kernel, directory)?.iter().any(|it| it == name))
    };
    let cdevs = names(kernel, "/sys/class/vfio-dev")?;
    let has_cdev = cdevs.iter().any(|name| {
        kernel
            .read(format!("/sys/class/vfio-dev/{name}/dev").as_ref())
            .is_ok()
    });
    let noiommu = kernel.read("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode".as_ref());
    Ok(json!({
        "container": answer(has("/sys/class/misc", "vfio")?),
        "cdev": if has_cdev { answer(true) } else { unknown() },
        "iommufd": answer(has("/sys/class/misc", "iommu")?),
        "vfio_pci": answer(has("/sys/bus/pci/drivers", "vfio-pci")?),
        "noiommu": answer(noiommu.is_ok_and(|value| value.starts_with(b"Y"))),
    }))
}

pub(super) fn container(kernel: &dyn Kernel) -> Value {
    json!({
        "node": "/dev/vfio/vfio",
        "usable": kernel.open(CONTAINER_NODE.as_ref()).is_ok(),
        "reason": WORDS,
    })
}

/// `read` answers what a file of proc says of a program with the same rights.
pub(super) fn memlock(read: impl Fn(&str) -> Result<String>) -> Result<Value> {
    let status = read(STATUS)?;
    let limit = limit(&read("/proc/self/limits")?)?;
    let locked = kibibytes(&status, "VmLck:")?;
    let capabilities = u64::from_str_radix(field(&status, "CapEff:")?, 16)?;
    let is_exempt = capabilities >> 14 & 1 == 1; // CAP_IPC_LOCK
    let is_enough = is_exempt || limit.is_none_or(|limit| locked + NEEDED <= limit);
    Ok(json!({
        "limit": limit,
        "locked": locked,
        "exempt": is_exempt,
        "guest_memory": GUEST,
        "needed": NEEDED,
        "enough": answer(is_enough),
    }))
}

const STATUS: &str = "/proc/self/status";

/// What this process has locked, in bytes.
pub(super) fn locked(kernel: &dyn Kernel) -> Result<u64> {
    kibibytes(&text(kernel, STATUS)?, "VmLck:")
}

/// In bytes; `None` is no limit.
fn limit(limits: &str) -> Result<Option<u64>> {
    let soft = field(limits, "Max locked memory")?
        .split_whitespace()
        .next();
    Ok(match soft.context("no limit")? {
        "unlimited" => None,
        bytes => Some(bytes.parse()?),
    })
}

/// In bytes.
fn kibibytes(status: &str, name: &str) -> Result<u64> {
    let number: u64 = field(status, name)?.trim_end_matches("kB").trim().parse()?;
    Ok(number * 1024)
}

fn field<'a>(lines: &'a str, name: &str) -> Result<&'a str> {
    let value = lines.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.with_context(|| format!("no line {name}"))?.trim())
}

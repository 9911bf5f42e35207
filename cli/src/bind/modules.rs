//! The kernel modules that a driver of VFIO's comes with.

use std::path::Path;
use std::process::{Command, Stdio};

use vfio_core::kernel::Kernel;

use super::failure::{Outcome, not_loaded};
use super::plan::drivers;
use super::report::Report;
use crate::host::Host;

/// The driver of that name, as it calls itself, if it is loaded: a module's file may have `-` where its driver has `_`.
pub(super) fn loaded(kernel: &dyn Kernel, name: &str) -> Option<String> {
    let same = |other: &str| other.replace('-', "_") == name.replace('-', "_");
    let names = kernel.list(&drivers()).unwrap_or_default();
    let mut names = names.iter().filter_map(|name| name.to_str());
    names.find(|other| same(other)).map(str::to_owned)
}

/// The modules that are loaded for a driver: on POWER nothing else brings that of the IOMMU along.
pub(super) fn to_load<'a>(kernel: &dyn Kernel, driver: &'a str) -> impl Iterator<Item = &'a str> {
    let of_iommu = of_iommu(kernel);
    let of_iommu = Some(of_iommu).filter(|it| it.contains("spapr"));
    [driver].into_iter().chain(of_iommu)
}

/// Loads a driver, and what it needs; answers what it calls itself.
pub(super) fn load(host: &Host, driver: &str, report: &mut Report) -> Outcome<String> {
    let kernel = &**host.vfio.kernel();
    if host.simulated.is_some() {
        let why = "a simulated machine has no modules to load";
        return Err(not_loaded(driver, why));
    }
    modprobe(driver).map_err(|why| not_loaded(driver, &why))?;
    report.loaded.push(driver.to_owned());
    let of_iommu = of_iommu(kernel);
    if !is_seen(kernel, of_iommu) {
        match modprobe(of_iommu) {
            Ok(()) => report.loaded.push(of_iommu.to_owned()),
            Err(why) => report.warnings.push(format!("{of_iommu}: {why}")),
        }
    }
    let why = "its module is, and has another one";
    loaded(kernel, driver).ok_or_else(|| not_loaded(driver, why))
}

/// What VFIO needs beside the driver to reach the IOMMU of that architecture.
fn of_iommu(kernel: &dyn Kernel) -> &'static str {
    match kernel.identity().0.as_str() {
        "ppc64le" | "ppc64" => "vfio_iommu_spapr_tce",
        _ => "vfio_iommu_type1",
    }
}

/// Whether a module is there. One that is built in and has no parameters is not seen.
fn is_seen(kernel: &dyn Kernel, module: &str) -> bool {
    kernel.list(&Path::new("/sys/module").join(module)).is_ok()
}

/// Has modprobe load it; answers what that says if it fails.
fn modprobe(module: &str) -> Result<(), String> {
    let output = Command::new("modprobe")
        .arg(module)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("modprobe does not start: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

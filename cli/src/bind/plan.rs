//! What is written to sysfs so that a device changes its driver: data, made of what the host has.

use std::fmt;
use std::path::{Path, PathBuf};

use vfio_core::host::Bdf;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{Error, Result};

const BUS: &str = "/sys/bus/pci";

/// Which driver a device has, and which alone may have it (`driver_override`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) driver: Option<String>,
    pub(super) only: Option<String>,
}

/// Who is to have a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taker {
    Driver(String),
    /// Whichever driver of the kernel's own takes it, or none.
    Own,
    Nobody,
}

/// What is to become of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goal {
    pub(super) taker: Taker,
    pub(super) only: Option<String>,
}

/// A write to a file of sysfs. It is shown as the shell's command that does the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    path: PathBuf,
    text: String,
}

impl Binding {
    pub(super) fn read(kernel: &dyn Kernel, bdf: Bdf) -> Result<Self> {
        let dir = directory(bdf);
        let link = dir.join("driver");
        let driver = match kernel.read_link(&link) {
            Ok(target) => target.file_name().map(|name| name.to_string_lossy().into()),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(failed("readlink", &link, errno)),
        };
        let file = dir.join("driver_override");
        let only = match kernel.read(&file) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            Err(errno) => return Err(failed("read", &file, errno)),
        };
        Ok(Self {
            driver,
            only: Some(only).filter(|only| !matches!(only.as_str(), "" | "(null)")),
        })
    }

    /// Whether that is how it is to be.
    pub(super) fn meets(&self, goal: &Goal) -> bool {
        self.only == goal.only && self.is_taken_by(&goal.taker)
    }

    fn is_taken_by(&self, taker: &Taker) -> bool {
        match (taker, &self.driver) {
            (Taker::Driver(wanted), driver) => driver.as_ref() == Some(wanted),
            (Taker::Own, Some(driver)) => !is_of_vfio(driver),
            (Taker::Own, None) => false,
            (Taker::Nobody, driver) => driver.is_none(),
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driver = self.driver.as_deref().unwrap_or("no driver");
        let only = self.only.as_deref().unwrap_or("empty");
        write!(f, "{driver} (driver_override: {only})")
    }
}

impl Goal {
    /// It belongs to that driver, and to no other.
    pub(super) fn bound_to(driver: &str) -> Self {
        Self {
            taker: Taker::Driver(driver.to_owned()),
            only: Some(driver.to_owned()),
        }
    }

    /// It is again as it was.
    pub(super) fn as_before(before: &Binding) -> Self {
        Self {
            taker: before.driver.clone().map_or(Taker::Nobody, Taker::Driver),
            only: before.only.clone(),
        }
    }
}

impl Write {
    pub(super) fn make(&self, kernel: &dyn Kernel) -> Result<()> {
        let line = format!("{}\n", self.text);
        kernel
            .write(&self.path, line.as_bytes())
            .map_err(|errno| failed("write", &self.path, errno))
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.text.is_empty() { "" } else { " " };
        let path = self.path.display();
        write!(f, "echo{separator}{} > {path}", self.text)
    }
}

/// The writes that bring a device from what it has to where it is to be.
pub(super) fn writes(bdf: Bdf, now: &Binding, goal: &Goal) -> Vec<Write> {
    let dir = directory(bdf);
    let name = bdf.to_string();
    let mut writes = Vec::new();
    let mut push = |path, text: &str| {
        let text = text.to_owned();
        writes.push(Write { path, text });
    };
    let moves = !now.is_taken_by(&goal.taker);
    // A driver takes no device that is meant for another one: that is said when it has it.
    let meant_for_another = match (&goal.taker, &goal.only) {
        (Taker::Driver(driver), Some(only)) => moves && driver != only,
        _ => false,
    };
    let on_the_way = goal.only.clone().filter(|_| !meant_for_another);
    if now.only != on_the_way {
        let only = on_the_way.as_deref().unwrap_or_default();
        push(dir.join("driver_override"), only);
    }
    if moves {
        if now.driver.is_some() {
            push(dir.join("driver/unbind"), &name);
        }
        match &goal.taker {
            Taker::Nobody => {}
            // Several drivers may match: only this one is meant.
            Taker::Driver(driver) if goal.only.as_ref() != Some(driver) => {
                push(drivers().join(driver).join("bind"), &name);
            }
            Taker::Driver(_) | Taker::Own => push(Path::new(BUS).join("drivers_probe"), &name),
        }
    }
    if on_the_way != goal.only {
        let only = goal.only.as_deref().unwrap_or_default();
        push(dir.join("driver_override"), only);
    }
    writes
}

/// Where sysfs has the drivers of PCI devices.
pub(super) fn drivers() -> PathBuf {
    Path::new(BUS).join("drivers")
}

/// Whether a driver gives devices to user space: all of VFIO's have that in their name.
pub(super) fn is_of_vfio(driver: &str) -> bool {
    driver.contains("vfio")
}

fn directory(bdf: Bdf) -> PathBuf {
    PathBuf::from(format!("{BUS}/devices/{bdf}"))
}

fn failed(operation: &'static str, path: &Path, errno: Errno) -> Error {
    Error::kernel(operation, path.display().to_string(), errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(driver: Option<&str>, only: Option<&str>) -> Binding {
        Binding {
            driver: driver.map(str::to_owned),
            only: only.map(str::to_owned),
        }
    }

    /// What is written, without where all of it is.
    fn planned(now: &Binding, goal: &Goal) -> Vec<String> {
        let bdf = "0000:03:00.0".parse().unwrap();
        let writes = writes(bdf, now, goal);
        let place = |it: &Write| it.to_string().replace("/sys/bus/pci/", "");
        writes.iter().map(place).collect()
    }

    #[test]
    fn a_device_goes_to_vfio_by_its_override() {
        let goal = Goal::bound_to("vfio-pci");
        let [only, leave, probe] = [
            "echo vfio-pci > devices/0000:03:00.0/driver_override",
            "echo 0000:03:00.0 > devices/0000:03:00.0/driver/unbind",
            "echo 0000:03:00.0 > drivers_probe",
        ];
        let planned = |driver, only| planned(&binding(driver, only), &goal);
        assert_eq!(planned(Some("nvme"), None), [only, leave, probe]);
        assert_eq!(planned(None, None), [only, probe]);
        assert_eq!(planned(None, Some("vfio-pci")), [probe]);
        assert_eq!(planned(Some("vfio-pci"), None), [only]);
        assert_eq!(planned(Some("vfio-pci"), Some("vfio-pci")), [""; 0]);
    }

    #[test]
    fn it_comes_back_to_the_driver_that_had_it() {
        let now = binding(Some("vfio-pci"), Some("vfio-pci"));
        let [clear, leave] = [
            "echo > devices/0000:03:00.0/driver_override",
            "echo 0000:03:00.0 > devices/0000:03:00.0/driver/unbind",
        ];
        let back = |driver, only| planned(&now, &Goal::as_before(&binding(driver, only)));
        assert_eq!(
            back(Some("nvme"), None),
            [clear, leave, "echo 0000:03:00.0 > drivers/nvme/bind"]
        );
        assert_eq!(back(None, None), [clear, leave]);
        // It was meant for VFIO, and its own driver had it all the same.
        assert_eq!(
            back(Some("nvme"), Some("vfio-pci")),
            [
                clear,
                leave,
                "echo 0000:03:00.0 > drivers/nvme/bind",
                "echo vfio-pci > devices/0000:03:00.0/driver_override",
            ]
        );
        let own = Goal {
            taker: Taker::Own,
            only: None,
        };
        let probe = "echo 0000:03:00.0 > drivers_probe";
        assert_eq!(planned(&now, &own), [clear, leave, probe]);
        assert_eq!(planned(&binding(Some("nvme"), None), &own), [""; 0]);
    }
}

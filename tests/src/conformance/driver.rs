//! Drivers of devices, changed as an administrator changes them: by sysfs.

use std::fs;
use std::path::Path;

use vfio_core::kernel::{Errno, Result};

use super::host::Host;

/// The kernel's driver for QEMU's `pci-serial`, which every kernel of the lab has built in.
pub(super) const SERIAL: &str = "serial";

/// Where every clause finds its devices.
const VFIO: &str = "vfio-pci";

impl Host {
    /// Takes a device from its driver, which waits until nobody has it open.
    pub(super) fn unbind(&self, bdf: &str) -> Result<()> {
        match self.simulation() {
            Some(simulation) => simulation.unbind(bdf),
            None => write(&format!("devices/{bdf}/driver/unbind"), bdf),
        }
    }

    /// Gives a device that has no driver to one.
    pub(super) fn bind(&self, bdf: &str, driver: &str) -> Result<()> {
        match self.simulation() {
            Some(simulation) => simulation.bind(bdf, driver),
            None => {
                write(&format!("devices/{bdf}/driver_override"), driver)?;
                write(&format!("drivers/{driver}/bind"), bdf)
            }
        }
    }

    /// Waits until the kernel has put a device to sleep that may sleep.
    pub(super) fn until_asleep(&self, bdf: &str) {
        /// A kernel asks this often for one that is awake still, at the very most.
        const PATIENCE: u32 = 1_000_000;
        if self.simulation().is_some() {
            return; // it sleeps at once
        }
        let path = format!("/sys/bus/pci/devices/{bdf}/power/runtime_status");
        for _ in 0..PATIENCE {
            if fs::read_to_string(&path).unwrap().trim() == "suspended" {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{bdf} does not fall asleep");
    }

    /// Takes a device from VFIO until what comes back is dropped.
    pub(super) fn without(&self, bdf: &str) -> Without<'_> {
        self.unbind(bdf).unwrap();
        let bdf = bdf.to_owned();
        Without { host: self, bdf }
    }

    /// The same with another driver in its place.
    pub(super) fn lent(&self, bdf: &str, driver: &str) -> Without<'_> {
        let without = self.without(bdf);
        self.bind(bdf, driver).unwrap();
        without
    }
}

/// A device that VFIO does not have, while this lives.
#[derive(Debug)]
pub(super) struct Without<'a> {
    host: &'a Host,
    bdf: String,
}

impl Drop for Without<'_> {
    fn drop(&mut self) {
        let _ = self.host.unbind(&self.bdf); // another driver may have it, or none
        let bound = self.host.bind(&self.bdf, VFIO);
        if !std::thread::panicking() {
            bound.unwrap();
        }
    }
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = Path::new("/sys/bus/pci").join(file);
    fs::write(path, text).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

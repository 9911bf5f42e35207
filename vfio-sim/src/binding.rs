//! Drivers that come and go.

use std::path::Path;

use vfio_core::kernel::{Errno, Result};

use crate::event::Object;
use crate::host_tree::HostTree;
use crate::machine::Device;
use crate::process::ProcessId;
use crate::token;
use crate::world::World;

impl World {
    /// Takes a device from its driver; answers whether that is done. One that is open is asked for (F85b), and nobody
    /// can open it any more; its driver keeps it until it is closed.
    pub(crate) fn unbind(&mut self, bdf: &str) -> Result<bool> {
        self.notice_closed();
        let device = self.machine.device(bdf).ok_or(Errno::NODEV)?;
        if device.driver.is_none() {
            return Err(Errno::NODEV);
        }
        if self.device_objects().any(|it| it.bdf() == Some(bdf)) {
            if self.leaving.insert(bdf.to_owned()) {
                self.request_release(bdf);
            }
            return Ok(false);
        }
        self.leaving.remove(bdf);
        self.set_driver(bdf, None);
        self.forget_empty_groups();
        Ok(true)
    }

    /// Gives a device that has none to a driver: `EBUSY` if the driver does DMA on the kernel's behalf, and the group is
    /// in a container.
    pub(crate) fn bind(&mut self, bdf: &str, driver: &str) -> Result<()> {
        self.notice_closed();
        let device = self.machine.device(bdf).ok_or(Errno::NODEV)?;
        if device.driver.is_some() {
            return Err(Errno::BUSY);
        }
        let wanted = device.clone().driven_by(driver);
        let group = self.machine.groups.iter().find(|group| {
            let mut members = group.devices.iter();
            members.any(|device| device.bdf == bdf)
        });
        let is_taken = group.is_some_and(|group| self.container_of(group.id).is_some());
        if is_taken && wanted.belongs_to_the_kernel() {
            return Err(Errno::BUSY);
        }
        if wanted.is_bound_to_vfio() {
            self.state(bdf).vf_token = token::random();
        }
        self.set_driver(bdf, Some(driver));
        Ok(())
    }

    /// A process writes to a file of sysfs: which driver a device has is what can be changed there.
    pub(crate) fn write(&mut self, caller: ProcessId, path: &Path, bytes: &[u8]) -> Result<()> {
        if !self.processes.rights(caller).raw_io {
            return Err(Errno::ACCESS);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Errno::INVAL)?.trim();
        let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
        match *parts
            .strip_prefix(&["/", "sys", "bus", "pci"])
            .ok_or(Errno::ACCESS)?
        {
            ["drivers_probe"] => self.probe_drivers(text),
            ["devices", bdf, "driver_override"] => {
                let only = (!text.is_empty()).then(|| text.to_owned());
                self.change(bdf, |device| device.driver_override = only)
            }
            ["devices", bdf, "driver", "unbind"] if bdf == text => self.unbind(bdf).map(drop),
            ["drivers", driver, "unbind"] if self.is_driven_by(text, driver) => {
                self.unbind(text).map(drop)
            }
            ["drivers", driver, "bind"] => self.bind_by_name(text, driver),
            _ => Err(Errno::NODEV),
        }
    }

    fn is_driven_by(&self, bdf: &str, driver: &str) -> bool {
        let device = self.machine.device(bdf);
        device.is_some_and(|device| device.driver.as_deref() == Some(driver))
    }

    /// Gives a device that has none to the driver that may take it, if that is loaded.
    fn probe_drivers(&mut self, bdf: &str) -> Result<()> {
        let device = self.machine.device(bdf).ok_or(Errno::NODEV)?;
        let wanted = device
            .driver_override
            .as_ref()
            .or(device.own_driver.as_ref());
        let Some(driver) = wanted.cloned().filter(|_| device.driver.is_none()) else {
            return Ok(());
        };
        let fails = device.refused_by.contains(&driver);
        if !fails && self.is_loaded(&driver) {
            self.bind(bdf, &driver)?;
        }
        Ok(())
    }

    /// Gives a device to the driver that somebody has named, if that may take it.
    fn bind_by_name(&mut self, bdf: &str, driver: &str) -> Result<()> {
        if !self.is_loaded(driver) {
            return Err(Errno::NOENT);
        }
        let device = self.machine.device(bdf).ok_or(Errno::NODEV)?;
        if device.driver_override.as_deref().unwrap_or(driver) != driver {
            return Err(Errno::NODEV);
        }
        if device.refused_by.iter().any(|it| it == driver) {
            return Err(Errno::INVAL);
        }
        self.bind(bdf, driver)
    }

    fn is_loaded(&self, driver: &str) -> bool {
        let place = format!("/sys/bus/pci/drivers/{driver}");
        self.host.has(place.as_ref())
    }

    fn set_driver(&mut self, bdf: &str, driver: Option<&str>) {
        // There is such a device: whoever calls has looked at it.
        let _ = self.change(bdf, |device| device.driver = driver.map(str::to_owned));
    }

    fn change(&mut self, bdf: &str, change: impl FnOnce(&mut Device)) -> Result<()> {
        let groups = self.machine.groups.iter_mut();
        let mut devices = groups.flat_map(|group| &mut group.devices);
        let device = devices.find(|device| device.bdf == bdf);
        change(device.ok_or(Errno::NODEV)?);
        self.host = HostTree::of(&self.machine);
        Ok(())
    }

    /// A group whose last member has left VFIO is none any more, for whoever has it open, and leaves its container.
    fn forget_empty_groups(&mut self) {
        let is_empty = |id: &u32| {
            let group = self.machine.group(*id);
            !group.is_some_and(|group| group.devices.iter().any(Device::is_bound_to_vfio))
        };
        let empty: Vec<_> = self.groups.keys().copied().filter(is_empty).collect();
        for id in empty {
            self.detach(id);
            self.groups.remove(&id);
            self.files
                .rename(&Object::Group(id), &Object::GroupThatWas(id));
        }
    }
}

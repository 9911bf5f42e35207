//! Drivers that come and go.

use vfio_core::kernel::{Errno, Result};

use crate::event::Object;
use crate::host_tree::HostTree;
use crate::machine::Device;
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

    fn set_driver(&mut self, bdf: &str, driver: Option<&str>) {
        let groups = self.machine.groups.iter_mut();
        let devices = groups.flat_map(|group| &mut group.devices);
        for device in devices.filter(|device| device.bdf == bdf) {
            device.driver = driver.map(str::to_owned);
        }
        self.host = HostTree::of(&self.machine);
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

//! The container's state machine.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi;

use crate::iommu::{Env, Iommu};
use crate::process::ProcessId;
use crate::world::World;

#[derive(Debug, Default, Clone)]
pub(crate) struct Container {
    /// Its IOMMU, once it was set.
    pub(crate) driver: Option<Driver>,
}

/// One of the machine's IOMMU drivers, at work.
#[derive(Debug, Clone)]
pub(crate) struct Driver {
    /// Which.
    index: usize,
    pub(crate) iommu: Iommu,
}

impl World {
    pub(crate) fn container_ioctl(
        &mut self,
        caller: ProcessId,
        id: u64,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        match opcode {
            uapi::GET_API_VERSION => Ok(uapi::API_VERSION), // A2
            uapi::CHECK_EXTENSION => Ok(u32::from(self.has_extension(id, number(arg)))),
            uapi::SET_IOMMU => self.set_iommu(caller, id, number(arg)).map(|()| 0),
            _ => self.iommu_ioctl(caller, id, opcode, arg),
        }
    }

    /// A6
    fn iommu_ioctl(
        &mut self,
        caller: ProcessId,
        id: u64,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        let bars = self.mapped_bars();
        let groups = self.groups_in(id);
        let driver = self
            .containers
            .get_mut(&id)
            .and_then(|it| it.driver.as_mut());
        let driver = driver.ok_or(Errno::INVAL)?;
        let mut env = Env {
            caller,
            processes: &mut self.processes,
            profile: self.machine.profile(),
            groups: &groups,
            refused: &mut self.refused,
            units: &mut self.units,
            host_page: self.machine.page_size as u64,
            bars: &bars,
            huge_pages: &self.huge_pages,
            hazards: &mut self.hazards,
        };
        let answer = driver.iommu.ioctl(&mut env, opcode, arg);
        self.units_have_changed()?;
        answer
    }

    /// Every driver is asked before the IOMMU was set (A3), only the chosen one afterwards (A4).
    fn has_extension(&self, id: u64, extension: usize) -> bool {
        let chosen = self.driver(id);
        let profile = self.machine.profile();
        let groups = self.groups_in(id);
        let mut drivers = self.machine.iommus.iter().enumerate();
        drivers.any(|(index, driver)| match chosen {
            Some(chosen) => chosen == index && driver.has_extension(&profile, extension, true),
            None => {
                groups.iter().all(|&group| self.fits(group, index))
                    && driver.has_extension(&profile, extension, false)
            }
        })
    }

    /// Whether a driver is for groups like that one: with an IOMMU behind them, or without (A3).
    fn fits(&self, group: u32, driver: usize) -> bool {
        let without = self.machine.group(group).is_some_and(|it| it.without_iommu);
        let driver = self.machine.iommus.get(driver);
        driver.is_some_and(|it| it.is_for_no_iommu() == without)
    }

    /// A5
    fn set_iommu(&mut self, caller: ProcessId, id: u64, iommu: usize) -> Result<()> {
        let groups = self.groups_in(id);
        if groups.is_empty() || self.driver(id).is_some() {
            return Err(Errno::INVAL);
        }
        let mut answer = Err(Errno::NODEV);
        for (index, driver) in self.machine.iommus.iter().enumerate() {
            if !groups.iter().all(|&group| self.fits(group, index)) {
                continue;
            }
            let Some(taken) = driver.set_iommu(&self.machine.profile(), iommu) else {
                continue;
            };
            let may = !driver.is_for_no_iommu() || self.processes.rights(caller).raw_io;
            let made = taken.and(may.then_some(()).ok_or(Errno::PERM));
            let made = made.and_then(|()| {
                let mut made = Iommu::new(&driver.hardware, iommu)?;
                for _ in 1..groups.len() {
                    made.attach()?; // C37: not every IOMMU takes a second group
                }
                Ok(made)
            });
            match made {
                Ok(iommu) => {
                    self.containers.entry(id).or_default().driver = Some(Driver { index, iommu });
                    return Ok(());
                }
                Err(errno) => answer = Err(errno),
            }
        }
        answer
    }

    /// The groups that are in it.
    pub(crate) fn groups_in(&self, id: u64) -> Vec<u32> {
        let inside = self
            .groups
            .iter()
            .filter(|(_, it)| it.container == Some(id));
        inside.map(|(&group, _)| group).collect()
    }

    /// Whether it has an IOMMU, and which.
    pub(crate) fn driver(&self, id: u64) -> Option<usize> {
        Some(self.containers.get(&id)?.driver.as_ref()?.index)
    }

    /// Lets a group into the IOMMU that a container has, if it has one (A9).
    pub(crate) fn attach(&mut self, container: u64, group: u32) -> Result<()> {
        let Some(index) = self.driver(container) else {
            return Ok(());
        };
        if !self.fits(group, index) {
            return Err(Errno::PERM); // A10
        }
        let driver = self
            .containers
            .get_mut(&container)
            .and_then(|it| it.driver.as_mut());
        driver.map_or(Ok(()), |driver| driver.iommu.attach())
    }

    /// Takes a group out of its container; the IOMMU goes with the last one (A7).
    pub(crate) fn detach(&mut self, group: u32) {
        let left = self
            .groups
            .get_mut(&group)
            .and_then(|group| group.container.take());
        let Some(id) = left else {
            return;
        };
        let is_last = self.groups_in(id).is_empty();
        let Some(container) = self.containers.get_mut(&id) else {
            return;
        };
        if is_last {
            if let Some(mut driver) = container.driver.take() {
                driver.iommu.release(&mut self.processes);
            }
        } else if let Some(driver) = &mut container.driver {
            let profile = self.machine.profile();
            driver.iommu.detach(profile, &mut self.processes);
        }
    }
}

/// The argument as the kernel sees it when it wants a number: for bytes, their address.
fn number(arg: &Arg<'_>) -> usize {
    match arg {
        Arg::None => 0,
        Arg::Value(value) => *value,
        Arg::In(bytes) => bytes.as_ptr().addr(),
        Arg::InOut(bytes) => bytes.as_ptr().addr(),
    }
}

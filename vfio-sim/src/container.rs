//! The container's state machine.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi;

use crate::world::World;

#[derive(Debug, Default)]
pub(crate) struct Container {
    /// Which of the machine's IOMMU drivers serves it, once it was set.
    driver: Option<usize>,
}

impl World {
    pub(crate) fn container_ioctl(
        &mut self,
        id: u64,
        opcode: Opcode,
        arg: &Arg<'_>,
    ) -> Result<u32> {
        match opcode {
            uapi::GET_API_VERSION => Ok(uapi::API_VERSION), // A2
            uapi::CHECK_EXTENSION => Ok(u32::from(self.has_extension(id, number(arg)))),
            uapi::SET_IOMMU => self.set_iommu(id, number(arg)).map(|()| 0),
            // A6
            _ if self.driver(id).is_some() => Err(Errno::NOTTY),
            _ => Err(Errno::INVAL),
        }
    }

    /// Every driver is asked before the IOMMU was set (A3), only the chosen one afterwards (A4).
    fn has_extension(&self, id: u64, extension: usize) -> bool {
        let chosen = self.driver(id);
        let mut drivers = self.machine.iommus.iter().enumerate();
        drivers.any(|(index, driver)| {
            chosen.is_none_or(|chosen| chosen == index) && driver.set_iommu(extension).is_some()
        })
    }

    /// A5
    fn set_iommu(&mut self, id: u64, iommu: usize) -> Result<()> {
        if !self.has_groups(id) || self.driver(id).is_some() {
            return Err(Errno::INVAL);
        }
        let mut answer = Err(Errno::NODEV);
        for (index, driver) in self.machine.iommus.iter().enumerate() {
            let Some(this) = driver.set_iommu(iommu) else {
                continue;
            };
            answer = this;
            if answer.is_ok() {
                self.containers.entry(id).or_default().driver = Some(index);
                break;
            }
        }
        answer
    }

    /// Whether a group is in it.
    pub(crate) fn has_groups(&self, id: u64) -> bool {
        self.groups
            .values()
            .any(|group| group.container == Some(id))
    }

    /// Whether it has an IOMMU.
    pub(crate) fn driver(&self, id: u64) -> Option<usize> {
        self.containers.get(&id)?.driver
    }

    /// Takes a group out of its container; the IOMMU goes with the last one (A7).
    pub(crate) fn detach(&mut self, group: u32) {
        let left = self
            .groups
            .get_mut(&group)
            .and_then(|group| group.container.take());
        if let Some(id) = left.filter(|id| !self.has_groups(*id)) {
            self.containers.insert(id, Container::default());
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

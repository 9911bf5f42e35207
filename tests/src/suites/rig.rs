//! The device under test.

use std::sync::Arc;

use anyhow::Result;
use pci_device::{Command, ConfigSpace};
use vfio_core::device::Device;
use vfio_core::host::{self, Bdf, PciDevice};
use vfio_core::{AddressSpaceId, OpenOptions, Vfio};

use crate::devices::Model;

/// The device under test, open, and what the kernel says of it elsewhere.
pub struct Rig {
    pub(super) device: Device,
    pub(super) config: ConfigSpace,
    model: Option<Model>,
    sysfs: PciDevice,
    space: AddressSpaceId,
    others: Vec<Bdf>,
    vfio: Arc<Vfio>,
}

impl Rig {
    /// Opens the device.
    ///
    /// # Errors
    /// Those of [`Vfio::open`]; what the kernel answered.
    pub fn open(vfio: &Arc<Vfio>, bdf: Bdf) -> Result<Self> {
        let space = AddressSpaceId::unique();
        let device = vfio.open_with(bdf, OpenOptions::default().in_space(space))?;
        let sysfs = host::device(&**vfio.kernel(), bdf)?;
        let config = ConfigSpace::of(&device)?;
        config.enable(Command::IO | Command::MEMORY)?;
        Ok(Self {
            device,
            config,
            model: Model::of(&sysfs),
            sysfs,
            space,
            others: Vec::new(),
            vfio: Arc::clone(vfio),
        })
    }

    /// The same, with other devices that cases may open: nobody else has them open.
    #[must_use]
    pub fn beside(mut self, others: &[Bdf]) -> Self {
        let others = others.iter().filter(|bdf| **bdf != self.sysfs.bdf);
        self.others = others.copied().collect();
        self
    }

    /// The kind of device that its driver is for.
    pub fn model(&self) -> Option<Model> {
        self.model
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What sysfs says of it.
    pub fn sysfs(&self) -> &PciDevice {
        &self.sysfs
    }

    /// The address space that it is open in.
    pub(super) fn space(&self) -> AddressSpaceId {
        self.space
    }

    /// What sysfs says of the first other device that is as wanted.
    pub(super) fn other<T>(
        &self,
        wanted: impl Fn(&PciDevice) -> Option<T>,
    ) -> Result<Option<(PciDevice, T)>> {
        for bdf in &self.others {
            let device = host::device(&**self.vfio.kernel(), *bdf)?;
            if let Some(found) = wanted(&device) {
                return Ok(Some((device, found)));
            }
        }
        Ok(None)
    }

    /// The way to it.
    pub fn vfio(&self) -> &Vfio {
        &self.vfio
    }
}

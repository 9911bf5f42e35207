//! The device under test.

use std::sync::Arc;

use anyhow::Result;
use pci_device::{Command, ConfigSpace};
use vfio_core::Vfio;
use vfio_core::device::Device;
use vfio_core::host::{self, Bdf, PciDevice};

use crate::devices::Model;

/// The device under test, open, and what the kernel says of it elsewhere.
pub struct Rig {
    pub(super) device: Device,
    pub(super) config: ConfigSpace,
    model: Option<Model>,
    sysfs: PciDevice,
    vfio: Arc<Vfio>,
}

impl Rig {
    /// Opens the device.
    ///
    /// # Errors
    /// Those of [`Vfio::open`]; what the kernel answered.
    pub fn open(vfio: &Arc<Vfio>, bdf: Bdf) -> Result<Self> {
        let device = vfio.open(bdf)?;
        let sysfs = host::device(&**vfio.kernel(), bdf)?;
        let config = ConfigSpace::of(&device)?;
        config.enable(Command::IO | Command::MEMORY)?;
        Ok(Self {
            device,
            config,
            model: Model::of(&sysfs),
            sysfs,
            vfio: Arc::clone(vfio),
        })
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

    /// The way to it.
    pub fn vfio(&self) -> &Vfio {
        &self.vfio
    }
}

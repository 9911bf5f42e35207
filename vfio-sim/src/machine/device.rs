//! What devices a machine has.

/// A PCI device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Where it is, as sysfs names it: `0000:00:1f.2`.
    pub bdf: String,
    /// Its vendor id.
    pub vendor: u16,
    /// Its device id.
    pub device: u16,
    /// Its class code: base class, subclass, programming interface.
    pub class: u32,
    /// The driver that it is bound to.
    pub driver: Option<String>,
}

impl Device {
    /// QEMU's `edu`, bound to `vfio-pci`.
    pub fn edu(bdf: &str) -> Self {
        Self {
            bdf: bdf.into(),
            vendor: 0x1234,
            device: 0x11e8,
            class: 0x00_ff00,
            driver: Some("vfio-pci".into()),
        }
    }

    /// QEMU's `nvme`, bound to `vfio-pci`.
    pub fn nvme(bdf: &str) -> Self {
        Self {
            bdf: bdf.into(),
            vendor: 0x1b36,
            device: 0x0010,
            class: 0x01_0802,
            driver: Some("vfio-pci".into()),
        }
    }

    /// The same, bound to another driver.
    #[must_use]
    pub fn driven_by(self, driver: &str) -> Self {
        Self {
            driver: Some(driver.into()),
            ..self
        }
    }

    /// The same, bound to no driver.
    #[must_use]
    pub fn unbound(self) -> Self {
        Self {
            driver: None,
            ..self
        }
    }

    pub(crate) fn is_bound_to_vfio(&self) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.contains("vfio"))
    }

    /// Drivers that do no DMA themselves leave the group to user space (`driver_managed_dma`).
    pub(super) fn belongs_to_the_kernel(&self) -> bool {
        match self.driver.as_deref() {
            None | Some("pci-stub" | "pcieport") => false,
            Some(_) => !self.is_bound_to_vfio(),
        }
    }
}

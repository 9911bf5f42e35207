//! The IOMMU hardware, the state of firmware and kernel, and the ways in to VFIO, as data.

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::host::{self, Interfaces};
use vfio_core::kernel::Kernel;

use crate::answer::Answer;

/// What decides about an IOMMU at boot.
const BOOT_ARGUMENTS: [&str; 12] = [
    "intel_iommu",
    "amd_iommu",
    "iommu",
    "iommu.passthrough",
    "iommu.strict",
    "intremap",
    "nointremap",
    "arm-smmu.disable_bypass",
    "pcie_acs_override",
    "vfio_iommu_type1.allow_unsafe_interrupts",
    "vfio_iommu_type1.dma_entry_limit",
    "vfio-pci.ids",
];

/// The IOMMU hardware, and how it comes to be used.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct IommuRow {
    /// The IOMMUs that the kernel drives.
    pub(super) units: Vec<UnitRow>,
    /// How the firmware describes one: `DMAR`, `IVRS`, `IORT`, `VIOT`, `device tree`.
    pub(super) firmware: Option<&'static str>,
    /// What the kernel's command line says about it.
    pub(super) boot_arguments: Vec<String>,
    /// Whether interrupts are remapped, so that a device cannot forge those of others.
    pub(super) interrupt_isolation: Answer,
    /// How many bits its addresses have, where that can be seen before a group is attached (VT-d).
    pub(super) address_bits: Option<u32>,
}

/// One IOMMU.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct UnitRow {
    pub(super) name: String,
    /// What it is.
    pub(super) kind: &'static str,
}

/// The ways in to VFIO.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct InterfacesRow {
    /// Containers and groups.
    pub(super) container: Answer,
    /// A node for each device.
    pub(super) cdev: Answer,
    pub(super) iommufd: Answer,
    /// Whether the driver is there that devices are bound to.
    pub(super) vfio_pci: Answer,
    /// Whether the kernel gives devices away without an IOMMU.
    pub(super) noiommu: Answer,
}

impl IommuRow {
    pub(super) fn of(kernel: &dyn Kernel) -> Self {
        let units = host::iommus(kernel).into_iter().map(|name| UnitRow {
            kind: host::iommu_kind(&name),
            name,
        });
        let arch = kernel.identity().0;
        let interrupt_isolation = match host::interrupt_remapping(kernel) {
            Some(isolated) => Answer::of(Some(isolated), ""),
            None if matches!(arch.as_str(), "x86_64" | "i686") => {
                Answer::Unknown("/proc/interrupts names no interrupt of a device".to_owned())
            }
            None => Answer::Unknown("only attaching a group tells on this architecture".to_owned()),
        };
        Self {
            units: units.collect(),
            firmware: host::firmware_table(kernel),
            boot_arguments: host::boot_arguments(kernel, &BOOT_ARGUMENTS),
            interrupt_isolation,
            address_bits: host::vtd_address_bits(kernel).map(|(_, bits)| bits),
        }
    }
}

impl InterfacesRow {
    pub(super) fn of(kernel: &dyn Kernel) -> Self {
        let interfaces = Interfaces::of(kernel);
        let loaded = |there, module: &str| match there {
            true => Answer::Yes,
            false => Answer::No(Some(format!(
                "the module {module} is not loaded, or not built"
            ))),
        };
        let mode = host::module_parameter(kernel, "vfio", "enable_unsafe_noiommu_mode");
        Self {
            container: loaded(interfaces.container, "vfio"),
            cdev: match interfaces.cdev {
                true => Answer::Yes,
                false => Answer::Unknown(
                    "no device is bound that would show it, or the kernel has none".to_owned(),
                ),
            },
            iommufd: loaded(interfaces.iommufd, "iommufd"),
            vfio_pci: loaded(interfaces.pci_driver, "vfio-pci"),
            noiommu: match mode.as_deref() {
                Some("Y") => Answer::Yes,
                _ => Answer::No(None),
            },
        }
    }
}

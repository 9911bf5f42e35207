//! The answer as data: what `--json` prints, and what the text is made of.

use serde::Serialize;
use vfio_core::host::{IommuGroup, PciDevice};
use vfio_core::iommu::{BackendReport, Capabilities, Support, WindowTrial};
use vfio_core::kernel::Kernel;
use vfio_core::{CONTAINER_NODE, Error, ErrorKind};

use crate::finding::{Finding, KERNEL_LOG};
use crate::status::Status;

/// What is known of the host. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) schema_version: u32,
    /// The name of the machine, if it is a simulated one; absent where the host is real.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) simulated: Option<String>,
    pub(super) architecture: String,
    pub(super) kernel: String,
    pub(super) container: ContainerRow,
    pub(super) backends: Vec<BackendRow>,
    /// The group that was put into containers for it.
    pub(super) verified_with_group: Option<u32>,
    pub(super) groups: Vec<GroupRow>,
    pub(super) findings: Vec<Finding>,
    /// Not fine as soon as there is a finding.
    #[serde(skip)]
    pub(super) status: Status,
}

/// The way in to VFIO.
#[derive(Debug, Serialize)]
pub(super) struct ContainerRow {
    pub(super) node: &'static str,
    pub(super) usable: bool,
    pub(super) reason: Option<String>,
}

/// One backend.
#[derive(Debug, Serialize)]
pub(super) struct BackendRow {
    pub(super) name: String,
    /// `verified`, `advertised`, `absent`, `refused` or `unknown`.
    pub(super) state: &'static str,
    /// Why, if it is refused or unknown.
    pub(super) reason: Option<String>,
    pub(super) capabilities: Option<CapabilitiesRow>,
    /// Windows that were created and removed again, to see which can be.
    pub(super) windows_tried: Vec<TriedRow>,
}

/// What a verified backend can do; sizes in bytes.
#[derive(Debug, Serialize)]
pub(super) struct CapabilitiesRow {
    pub(super) page_sizes: Vec<u64>,
    pub(super) apertures: Vec<ApertureRow>,
    pub(super) mappings_left: Option<u32>,
    /// Counted as locked for the context alone.
    pub(super) locked: u64,
    pub(super) windows: Option<WindowsRow>,
}

/// Addresses that can be mapped; those are hexadecimal, for readers whose numbers end at 2^53.
#[derive(Debug, Serialize)]
pub(super) struct ApertureRow {
    pub(super) first: String,
    pub(super) last: String,
    pub(super) page_size: u64,
}

/// What windows can be created.
#[derive(Debug, Serialize)]
pub(super) struct WindowsRow {
    pub(super) most: u32,
    pub(super) levels: u32,
}

/// A window that was created, or was not.
#[derive(Debug, Serialize)]
pub(super) struct TriedRow {
    pub(super) page_size: u64,
    pub(super) levels: u32,
    /// Where it was, hexadecimal.
    pub(super) start: Option<String>,
    /// Why there was none.
    pub(super) reason: Option<String>,
}

/// An IOMMU group.
#[derive(Debug, Serialize)]
pub(super) struct GroupRow {
    pub(super) id: u32,
    /// Whether a device of it can be assigned as it is now.
    pub(super) ready: bool,
    pub(super) devices: Vec<DeviceRow>,
}

/// A device of a group.
#[derive(Debug, Serialize)]
pub(super) struct DeviceRow {
    pub(super) bdf: String,
    pub(super) vendor: u16,
    pub(super) device: u16,
    pub(super) class: u32,
    pub(super) driver: Option<String>,
    /// Whether its driver keeps the group from being assigned.
    pub(super) in_the_way: bool,
}

impl Report {
    /// What can be told without VFIO.
    pub(super) fn new(kernel: &dyn Kernel, groups: &[IommuGroup]) -> Self {
        let (architecture, release) = kernel.identity();
        Self {
            schema_version: 1,
            simulated: None,
            architecture,
            kernel: release,
            container: ContainerRow {
                node: CONTAINER_NODE,
                usable: true,
                reason: None,
            },
            backends: Vec::new(),
            verified_with_group: None,
            groups: groups.iter().map(GroupRow::from).collect(),
            findings: Vec::new(),
            status: Status::FINE,
        }
    }

    /// Adds a finding, once; the first decides the status.
    fn find(&mut self, finding: Finding, status: Status) {
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
        if self.status == Status::FINE {
            self.status = status;
        }
    }

    /// Something failed.
    pub(super) fn failed(&mut self, kernel: &dyn Kernel, error: &Error) {
        self.find(Finding::of_error(error, kernel), error.kind().into());
    }

    /// There are no groups: no IOMMU is at work.
    pub(super) fn no_iommu(&mut self, kernel: &dyn Kernel) {
        let error = Error::new(ErrorKind::NoGroup, "probe", "this host");
        if let Some(diagnosis) = error.diagnose(kernel) {
            self.find(diagnosis.into(), Status::FINDINGS);
        }
    }

    /// What the backends answered. That one is refused is a finding only if no other works.
    pub(super) fn backends(&mut self, kernel: &dyn Kernel, backends: &[BackendReport]) {
        self.backends = backends.iter().map(BackendRow::from).collect();
        let is_verified = |backend: &BackendReport| matches!(backend.support, Support::Verified(_));
        let one_works = backends.iter().any(is_verified);
        for backend in backends {
            let error = match &backend.support {
                Support::Refused(error) if !one_works => error,
                Support::Unknown(error) => error,
                _ => continue,
            };
            if let Some(diagnosis) = error.diagnose(kernel) {
                self.find(diagnosis.into(), Status::FINDINGS);
            }
        }
        let hope = |backend: &BackendReport| matches!(backend.support, Support::Advertised);
        if !one_works && self.findings.is_empty() && !backends.iter().any(hope) {
            self.no_backend(backends.iter().all(is_absent));
        }
    }

    /// No backend is left, and no diagnosis says why.
    fn no_backend(&mut self, all_absent: bool) {
        let (cause, remedy) = if all_absent {
            (
                "the kernel advertises no IOMMU that this program has a backend for; there is none for its \
                 noiommu mode, in which nothing keeps a device's DMA inside the program's memory",
                "load the kernel's module: modprobe vfio_iommu_type1 (POWER: vfio_iommu_spapr_tce)",
            )
        } else {
            (
                "no backend that this program has works on this host",
                KERNEL_LOG,
            )
        };
        let finding = Finding {
            code: None,
            name: "no-backend",
            cause: cause.to_owned(),
            error: None,
            evidence: Vec::new(),
            remedies: vec![remedy.to_owned()],
        };
        self.find(finding, Status::FINDINGS);
    }

    /// The container cannot be opened, so that no backend could be asked.
    pub(super) fn no_container(
        &mut self,
        kernel: &dyn Kernel,
        names: impl IntoIterator<Item = &'static str>,
        error: &Error,
    ) {
        self.container.usable = false;
        self.container.reason = Some(error.to_string());
        self.backends = names
            .into_iter()
            .map(|name| BackendRow {
                name: name.to_owned(),
                state: "unknown",
                reason: Some("VFIO could not be asked".to_owned()),
                capabilities: None,
                windows_tried: Vec::new(),
            })
            .collect();
        self.failed(kernel, error);
    }

    /// There is no group that could be tried.
    pub(super) fn nothing_to_verify_with(&mut self) {
        let finding = Finding {
            code: None,
            name: "nothing-to-verify-with",
            cause: "no group is bound to a VFIO driver and free of others, so nothing was verified"
                .to_owned(),
            error: None,
            evidence: Vec::new(),
            remedies: vec!["bind a device that nothing on this host needs to vfio-pci".to_owned()],
        };
        self.find(finding, Status::FINDINGS);
    }
}

/// Whether the kernel does not have what a backend needs.
pub(super) fn is_absent(backend: &BackendReport) -> bool {
    matches!(backend.support, Support::Absent)
}

impl From<&BackendReport> for BackendRow {
    fn from(backend: &BackendReport) -> Self {
        let (state, reason, capabilities) = match &backend.support {
            Support::Verified(capabilities) => ("verified", None, Some(capabilities.into())),
            Support::Advertised => ("advertised", None, None),
            Support::Absent => ("absent", None, None),
            Support::Refused(error) => ("refused", Some(error.to_string()), None),
            Support::Unknown(error) => ("unknown", Some(error.to_string()), None),
        };
        Self {
            name: backend.name.to_owned(),
            state,
            reason,
            capabilities,
            windows_tried: backend.windows.iter().map(TriedRow::from).collect(),
        }
    }
}

impl From<&WindowTrial> for TriedRow {
    fn from(trial: &WindowTrial) -> Self {
        let window = trial.outcome.as_ref();
        Self {
            page_size: trial.page_size,
            levels: window.map_or(trial.levels, |it| it.levels),
            start: window.ok().map(|it| format!("{:#x}", it.range.first().0)),
            reason: window.err().map(ToString::to_string),
        }
    }
}

impl From<&Capabilities> for CapabilitiesRow {
    fn from(capabilities: &Capabilities) -> Self {
        Self {
            page_sizes: capabilities.page_sizes.iter().collect(),
            apertures: capabilities
                .apertures
                .iter()
                .map(|aperture| ApertureRow {
                    first: format!("{:#x}", aperture.range.first().0),
                    last: format!("{:#x}", aperture.range.last().0),
                    page_size: aperture.page_size,
                })
                .collect(),
            mappings_left: capabilities.mappings_left,
            locked: capabilities.locked,
            windows: capabilities.windows.map(|windows| WindowsRow {
                most: windows.count,
                levels: windows.levels,
            }),
        }
    }
}

impl From<&IommuGroup> for GroupRow {
    fn from(group: &IommuGroup) -> Self {
        Self {
            id: group.id,
            ready: group.is_ready(),
            devices: group.devices.iter().map(DeviceRow::from).collect(),
        }
    }
}

impl From<&PciDevice> for DeviceRow {
    fn from(device: &PciDevice) -> Self {
        Self {
            bdf: device.bdf.to_string(),
            vendor: device.vendor,
            device: device.device,
            class: device.class,
            driver: device.driver.clone(),
            in_the_way: device.spoils_its_group(),
        }
    }
}

//! The answer as data: what `--json` prints, and what the text is made of.

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::diagnosis::{Examination, Weight};
use vfio_core::host::IommuGroup;
use vfio_core::iommu::{BackendReport, Support};
use vfio_core::kernel::Kernel;
use vfio_core::{CONTAINER_NODE, Error};

use crate::finding::{Finding, KERNEL_LOG};
use crate::groups::report::{GroupRow, rows};
use crate::host::About;
use crate::names::Names;
use crate::status::Status;

use super::backend::{BackendRow, is_absent, is_verified};
use super::iommu::{InterfacesRow, IommuRow};
use super::memlock::MemlockRow;

/// What is known of the host. Fields are only ever added.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    pub(super) schema_version: u32,
    #[serde(flatten)]
    pub(super) about: About,
    pub(super) iommu: IommuRow,
    pub(super) interfaces: InterfacesRow,
    pub(super) memlock: MemlockRow,
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
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ContainerRow {
    pub(super) node: &'static str,
    pub(super) usable: bool,
    pub(super) reason: Option<String>,
}

impl Report {
    /// What can be told without VFIO.
    pub(super) fn new(
        about: About,
        kernel: &dyn Kernel,
        groups: &[IommuGroup],
        guest_memory: Option<u64>,
    ) -> Self {
        let names = Names::of(groups.iter().flat_map(|group| &group.devices));
        Self {
            schema_version: 2,
            about,
            iommu: IommuRow::of(kernel),
            interfaces: InterfacesRow::of(kernel),
            memlock: MemlockRow::of(kernel, guest_memory),
            container: ContainerRow {
                node: CONTAINER_NODE,
                usable: true,
                reason: None,
            },
            backends: Vec::new(),
            verified_with_group: None,
            groups: rows(groups, &names),
            findings: Vec::new(),
            status: Status::FINE,
        }
    }

    /// Adds a finding, each diagnosis once; the first that is not fine decides the status.
    fn find(&mut self, finding: Finding, status: Status) {
        let mut known = self.findings.iter();
        let is_known = match finding.code {
            Some(code) => known.any(|it| it.code == Some(code)),
            None => known.any(|it| *it == finding),
        };
        if !is_known {
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

    /// What the doctor says of the whole host.
    pub(super) fn examined(&mut self, examination: Examination) {
        for diagnosis in examination.findings {
            let status = match diagnosis.weight {
                Weight::Blocks => Status::FINDINGS,
                Weight::Limits | Weight::Harmless => Status::FINE,
            };
            self.find(diagnosis.into(), status);
        }
    }

    /// What the backends answered. That one is refused is a finding only if no other works.
    pub(super) fn backends(&mut self, kernel: &dyn Kernel, backends: &[BackendReport]) {
        self.backends = backends.iter().map(BackendRow::from).collect();
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
        let is_explained = self.status != Status::FINE;
        if !one_works && !is_explained && !backends.iter().any(hope) {
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
        let finding = Finding::new("no-backend", cause, remedy);
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
        self.backends = names.into_iter().map(BackendRow::not_asked).collect();
        self.failed(kernel, error);
    }

    /// There is no group that could be tried.
    pub(super) fn nothing_to_verify_with(&mut self) {
        let finding = Finding::new(
            "nothing-to-verify-with",
            "no group is bound to a VFIO driver and free of others, so nothing was verified",
            "bind a device that nothing on this host needs: vfioctl bind BDF",
        );
        self.find(finding, Status::FINDINGS);
    }
}

//! What the doctor found, as data.

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::diagnosis::Examination;
use vfio_core::host::PciDevice;
use vfio_core::kernel::Kernel;

use crate::finding::{Finding, NotFoundOut, Severity};
use crate::groups::report::DeviceRow;
use crate::host::About;
use crate::names::Names;

/// What is wrong with a host and its devices.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    pub(crate) schema_version: u32,
    #[serde(flatten)]
    pub(crate) about: About,
    /// Whether nothing blocks.
    pub(crate) ready: bool,
    /// What is wrong whatever the device is, that which blocks first.
    pub(crate) findings: Vec<Finding>,
    /// What could not be found out of the host.
    pub(crate) unknown: Vec<NotFoundOut>,
    /// The device that was asked for, or else those that are bound to a VFIO driver or meant to be.
    pub(crate) devices: Vec<DeviceReport>,
}

/// What is wrong with a device.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeviceReport {
    #[serde(flatten)]
    pub(crate) device: DeviceRow,
    pub(crate) group: Option<u32>,
    /// Whether nothing blocks.
    pub(crate) ready: bool,
    pub(crate) findings: Vec<Finding>,
    pub(crate) unknown: Vec<NotFoundOut>,
    /// The command line that uses it, if it is ready.
    pub(crate) command: Option<String>,
}

impl Report {
    pub(super) fn new(about: About, general: Examination, devices: Vec<DeviceReport>) -> Self {
        Self {
            schema_version: 1,
            about,
            ready: general.is_ready() && devices.iter().all(|device| device.ready),
            findings: general.findings.into_iter().map(Finding::from).collect(),
            unknown: general.unknown.into_iter().map(NotFoundOut::from).collect(),
            devices,
        }
    }
}

impl DeviceReport {
    pub(super) fn new(
        device: &PciDevice,
        names: &Names,
        examination: Examination,
        kernel: &dyn Kernel,
        general: &Examination,
    ) -> Self {
        let ready = examination.is_ready() && general.is_ready();
        Self {
            device: DeviceRow::new(device, names),
            group: device.group,
            ready,
            findings: examination
                .findings
                .into_iter()
                .map(Finding::from)
                .collect(),
            unknown: examination
                .unknown
                .into_iter()
                .map(NotFoundOut::from)
                .collect(),
            command: ready.then(|| command(kernel, device)),
        }
    }

    /// Whether it is ready and something of it will not work.
    pub(super) fn is_limited(&self) -> bool {
        self.findings
            .iter()
            .any(|it| it.severity == Severity::Limits)
    }
}

/// How a guest gets it.
fn command(kernel: &dyn Kernel, device: &PciDevice) -> String {
    let (program, machine) = match kernel.identity().0.as_str() {
        "aarch64" => ("qemu-system-aarch64", "virt"),
        "ppc64le" | "ppc64" => ("qemu-system-ppc64", "pseries"),
        _ => ("qemu-system-x86_64", "q35"),
    };
    format!(
        "{program} -machine {machine},accel=kvm ... -device vfio-pci,host={}",
        device.bdf
    )
}

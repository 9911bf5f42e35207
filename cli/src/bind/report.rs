//! What was done: for people, and as the JSON of `--json`.

use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::group_node;
use vfio_core::host::{self, PciDevice};
use vfio_core::kernel::Kernel;

use super::carry_out::Drivers;
use super::failure::Outcome;
use super::plan::is_of_vfio;
use crate::finding::Finding;
use crate::host::{About, Host};
use crate::output::{Output, remark};
use crate::status::Status;

/// What became of the devices.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Report {
    schema_version: u32,
    #[serde(flatten)]
    about: About,
    /// Modules that were loaded.
    pub(super) loaded: Vec<String>,
    pub(super) devices: Vec<Row>,
    /// Whether the devices are bound when the host starts; absent where nothing was changed about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) persistent: Option<bool>,
    pub(super) warnings: Vec<String>,
    /// What remains to be done, in words.
    pub(super) next: Vec<String>,
    /// Why nothing was done.
    findings: Vec<Finding>,
}

/// A device.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Row {
    bdf: String,
    pub(super) group: Option<u32>,
    /// The driver that it had.
    from: Option<String>,
    /// The driver that it has now.
    driver: Option<String>,
    /// Its group's node in `/dev/vfio`.
    node: Option<PathBuf>,
}

impl Row {
    /// A device as it was, with what it has now. What was done is told, whatever else can be read.
    pub(super) fn new(kernel: &dyn Kernel, before: &PciDevice, drivers: &Drivers) -> Self {
        let driver = drivers.get(&before.bdf).unwrap_or(&before.driver).clone();
        // In the kernel's noiommu mode a group comes with the driver.
        let now = host::device(kernel, before.bdf);
        let group = now.map_or(before.group, |now| now.group);
        let is_vfio = driver.as_deref().is_some_and(is_of_vfio);
        Self {
            bdf: before.bdf.to_string(),
            group,
            from: before.driver.clone(),
            driver,
            node: group.filter(|_| is_vfio).and_then(|it| node(kernel, it)),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |driver: &Option<String>| driver.clone().unwrap_or("no driver".to_owned());
        write!(f, "{}  ", self.bdf)?;
        match self.from == self.driver {
            true => write!(f, "{}, as before", shown(&self.driver))?,
            false => write!(f, "{} -> {}", shown(&self.from), shown(&self.driver))?,
        }
        match &self.node {
            Some(node) => write!(f, "  {}", node.display()),
            None => Ok(()),
        }
    }
}

/// The node of a group.
fn node(kernel: &dyn Kernel, group: u32) -> Option<PathBuf> {
    let without_iommu = Path::new("/dev/vfio").join(format!("noiommu-{group}"));
    let mut nodes = [group_node(group), without_iommu].into_iter();
    nodes.find(|node| kernel.node(node).is_ok())
}

impl Report {
    pub(super) fn new(host: &Host) -> Self {
        Self {
            schema_version: 1,
            about: host.about(),
            loaded: Vec::new(),
            devices: Vec::new(),
            persistent: None,
            warnings: Vec::new(),
            next: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// With how it ended.
    pub(super) fn close(mut self, outcome: Outcome<()>) -> (Status, Self) {
        let status = match outcome {
            Ok(()) => Status::FINE,
            Err(failure) => {
                self.findings = failure.findings;
                failure.status
            }
        };
        (status, self)
    }

    /// Tells what was done, and what is in the way.
    pub(super) fn tell(&self, host: &Host, out: &mut Output, json: bool) -> anyhow::Result<()> {
        if json {
            out.json(self)?;
            return Ok(());
        }
        for warning in &self.warnings {
            remark(format_args!("warning: {warning}"));
        }
        if !self.devices.is_empty() {
            host.announce(out)?;
        }
        for module in &self.loaded {
            out.line(format_args!("loaded {module}"))?;
        }
        for row in &self.devices {
            out.line(row)?;
        }
        for next in &self.next {
            out.line(format_args!("next: {next}"))?;
        }
        for finding in &self.findings {
            let text = format!("vfioctl: {finding}");
            text.lines().for_each(remark);
        }
        Ok(())
    }
}

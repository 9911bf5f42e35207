//! Looking at a host before anything is tried.

use crate::error::Result;
use crate::host::{self, Bdf, IommuGroup, PciDevice};
use crate::kernel::Kernel;

use super::surroundings::Surroundings;
use super::{CATALOGUE, Diagnosis, Weight};

/// What is to be found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Question {
    /// Whether this device can be assigned; without one, what is wrong with the host for any device.
    pub device: Option<Bdf>,
    /// How much memory, in bytes, the guest has that it is for; without it, as little as a small program needs.
    pub guest_memory: Option<u64>,
}

impl Question {
    /// Whether this device can be assigned.
    pub fn of(device: Bdf) -> Self {
        Self {
            device: Some(device),
            ..Self::default()
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examination {
    /// What is in the way, that which blocks first.
    pub findings: Vec<Diagnosis>,
    /// What could not be found out.
    pub unknown: Vec<Unknown>,
}

impl Examination {
    /// Whether nothing is known that keeps the device from being assigned.
    pub fn is_ready(&self) -> bool {
        self.findings.iter().all(|it| it.weight != Weight::Blocks)
    }
}

/// A diagnosis that could be neither made nor excluded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// Its code.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Why not, and what it would take.
    pub why: String,
}

/// The host that is looked at, and what is known of the device.
#[derive(Debug)]
pub(super) struct Patient<'a> {
    pub(super) kernel: &'a dyn Kernel,
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) device: Option<&'a PciDevice>,
    /// The device's.
    pub(super) group: Option<&'a IommuGroup>,
    /// In bytes.
    pub(super) guest_memory: Option<u64>,
}

impl Patient<'_> {
    /// The device, if VFIO has it.
    pub(super) fn bound(&self) -> Option<&PciDevice> {
        self.device.filter(|device| device.is_bound_to_vfio())
    }

    /// The device with its group, if that is one of an IOMMU.
    pub(super) fn grouped(&self) -> Option<(&PciDevice, &IommuGroup)> {
        Some((self.device?, self.group?))
    }
}

/// Looks at the host, and at a device of it, for everything that is known to keep it from being assigned. Nothing is opened
/// and nothing changed; no rights are needed, and what cannot be seen without them is said.
///
/// # Errors
/// [`NoSuchDevice`](crate::ErrorKind::NoSuchDevice); what the kernel answered of the device or its group.
pub fn examine(kernel: &dyn Kernel, question: Question) -> Result<Examination> {
    Examiner::of(kernel).examine(question)
}

/// Looks at several devices of a host. What is the same for all of them is asked once, so that an examiner is for one
/// answer, and not kept while the host changes.
#[derive(Debug)]
pub struct Examiner<'a>(Surroundings<'a>);

impl<'a> Examiner<'a> {
    /// For that host.
    pub fn of(kernel: &'a dyn Kernel) -> Self {
        Self(Surroundings::of(kernel))
    }

    /// As [`examine`].
    ///
    /// # Errors
    /// Those of [`examine`].
    pub fn examine(&self, question: Question) -> Result<Examination> {
        let kernel = self.0.kernel();
        let device = question.device.map(|bdf| host::device(kernel, bdf));
        let device = device.transpose()?;
        let id = device.as_ref().and_then(|device| device.group);
        let group = id.map(|id| host::group(kernel, id)).transpose()?;
        let patient = Patient {
            kernel,
            surroundings: &self.0,
            device: device.as_ref(),
            group: group.as_ref(),
            guest_memory: question.guest_memory,
        };
        let mut examination = Examination::default();
        for entry in &CATALOGUE {
            (entry.examine)(&patient, &mut examination);
        }
        examination.findings.sort_by_key(|it| it.weight);
        Ok(examination)
    }
}

//! What is wrong with this host, and what to do: the catalogue of diagnoses.
//!
//! Each has a stable code, a file here and a page in the project's `docs/diagnoses`. It is found in two ways: from an error
//! ([`Error::diagnose`]), and by looking at the host before anything is tried ([`examine`]). To add one, write its file and
//! name it in `CATALOGUE`.
//!
//! ```
//! use vfio_core::diagnosis::{Question, examine};
//! use vfio_core::kernel::Errno;
//! use vfio_sim::{Machine, SimKernel};
//!
//! // Somebody else may open the device's group.
//! let mut machine = Machine::x86_64();
//! machine.groups[0].node = Err(Errno::ACCESS);
//! let kernel = SimKernel::new(machine);
//!
//! let question = Question::of("0000:00:04.0".parse()?);
//! let examination = examine(&kernel, question)?;
//! let found: Vec<_> = examination.findings.iter().map(|it| it.code).collect();
//! assert!(found.contains(&"VFIO-08"));
//! assert!(!examination.is_ready());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod acs_grouping;
mod bar_map_refused;
mod bar_reserved;
mod bind_did_not_take;
mod busy;
mod confidential;
mod dead;
mod examination;
mod firmware_reserved;
mod iommu_off;
mod iova_too_wide;
mod mapping_count;
mod memlock;
mod no_node;
mod no_reset;
mod noiommu;
mod not_viable;
mod permission;
mod remedy;
mod spapr_window;
mod surroundings;
mod unsafe_interrupts;
mod vf_token;

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::kernel::Kernel;

use examination::Patient;
pub use examination::{Examination, Examiner, Question, Unknown, examine};
pub use remedy::{Danger, Remedy};

/// A cause that is known, with what shows it and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Its code, which never changes: `VFIO-01`.
    pub code: &'static str,
    /// Its name in two or three words.
    pub name: &'static str,
    /// How much it is in the way.
    pub weight: Weight,
    /// The cause in one line.
    pub cause: String,
    /// What was looked at, and what was found there.
    pub evidence: Vec<Evidence>,
    /// What to do, the safest first.
    pub remedies: Vec<Remedy>,
}

/// How much a cause is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The device cannot be assigned.
    Blocks,
    /// It can be assigned, and something of it will not work.
    Limits,
    /// It matters only to some uses.
    Harmless,
}

/// A file of the host, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The file, directory or limit.
    pub place: PathBuf,
    /// What was found.
    pub found: String,
}

impl Evidence {
    fn new(place: impl Into<PathBuf>, found: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            found: found.into(),
        }
    }
}

/// One diagnosis of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Its code.
    pub code: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Says whether an error is this one.
    of_error: fn(&Error, &dyn Kernel) -> Option<Diagnosis>,
    /// Looks for it on a host.
    examine: fn(&Patient<'_>, &mut Examination),
}

impl Entry {
    fn found(
        &self,
        weight: Weight,
        cause: impl Into<String>,
        evidence: Vec<Evidence>,
        remedies: Vec<Remedy>,
    ) -> Diagnosis {
        Diagnosis {
            code: self.code,
            name: self.name,
            weight,
            cause: cause.into(),
            evidence,
            remedies,
        }
    }

    fn unknown(&self, why: impl Into<String>) -> Unknown {
        Unknown {
            code: self.code,
            name: self.name,
            why: why.into(),
        }
    }
}

/// Every diagnosis there is. In this order they are tried on an error, and those of one weight are told.
const CATALOGUE: [Entry; 20] = [
    noiommu::ENTRY,
    iommu_off::ENTRY,
    bind_did_not_take::ENTRY,
    no_node::ENTRY,
    not_viable::ENTRY,
    permission::ENTRY,
    firmware_reserved::ENTRY,
    unsafe_interrupts::ENTRY,
    busy::ENTRY,
    memlock::ENTRY,
    dead::ENTRY,
    bar_reserved::ENTRY,
    vf_token::ENTRY,
    spapr_window::ENTRY,
    iova_too_wide::ENTRY,
    mapping_count::ENTRY,
    acs_grouping::ENTRY,
    no_reset::ENTRY,
    bar_map_refused::ENTRY,
    confidential::ENTRY,
];

/// Every diagnosis there is, by code.
pub fn catalogue() -> Vec<Entry> {
    let mut entries = CATALOGUE.to_vec();
    entries.sort_by_key(|entry| entry.code);
    entries
}

impl Error {
    /// Looks at the host and says what is wrong and what to do, if that is known. It reads sysfs and proc
    /// through `kernel`, and only when it is called: a program that confines itself can leave it alone.
    pub fn diagnose(&self, kernel: &dyn Kernel) -> Option<Diagnosis> {
        CATALOGUE
            .iter()
            .find_map(|entry| (entry.of_error)(self, kernel))
            .or_else(|| {
                self.causes()
                    .iter()
                    .find_map(|cause| cause.diagnose(kernel))
            })
    }
}

/// For a diagnosis that no error of this library is.
fn of_no_error(_: &Error, _: &dyn Kernel) -> Option<Diagnosis> {
    None
}

/// The names in a directory; none if it is not there.
fn names(kernel: &dyn Kernel, dir: &str) -> Vec<String> {
    kernel
        .list(Path::new(dir))
        .unwrap_or_default()
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// What was found in a directory, in words.
fn listing(kernel: &dyn Kernel, dir: &str) -> Evidence {
    let found = match kernel.list(Path::new(dir)) {
        Err(errno) => format!("not readable: {errno}"),
        Ok(names) if names.is_empty() => "empty".to_owned(),
        Ok(names) => format!("{} entries", names.len()),
    };
    Evidence::new(dir, found)
}

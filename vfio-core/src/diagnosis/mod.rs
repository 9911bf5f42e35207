//! What is wrong with this host, and what to do: the catalogue of diagnoses.
//!
//! Each diagnosis has a file here and a stable code. To add one, write its file (a function from an error
//! and the host to a [`Diagnosis`]) and name it in `CATALOGUE`.

mod busy;
mod iommu_off;
mod memlock;
mod no_node;
mod not_viable;
mod permission;
mod unsafe_interrupts;

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::kernel::Kernel;

/// A cause that is known, with what shows it and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Its code, which never changes: `VFIO-01`.
    pub code: &'static str,
    /// Its name in two or three words.
    pub name: &'static str,
    /// The cause in one line.
    pub cause: String,
    /// What was looked at, and what was found there.
    pub evidence: Vec<Evidence>,
    /// What to do, the safest first.
    pub remedies: Vec<String>,
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

/// Says which diagnosis an error is, if it is that one.
type Diagnose = fn(&Error, &dyn Kernel) -> Option<Diagnosis>;

/// Every diagnosis there is, in the order in which they are tried.
const CATALOGUE: &[Diagnose] = &[
    iommu_off::diagnose,
    no_node::diagnose,
    not_viable::diagnose,
    permission::diagnose,
    unsafe_interrupts::diagnose,
    busy::diagnose,
    memlock::diagnose,
];

impl Error {
    /// Looks at the host and says what is wrong and what to do, if that is known. It reads sysfs and proc
    /// through `kernel`, and only when it is called: a program that confines itself can leave it alone.
    pub fn diagnose(&self, kernel: &dyn Kernel) -> Option<Diagnosis> {
        CATALOGUE
            .iter()
            .find_map(|diagnose| diagnose(self, kernel))
            .or_else(|| {
                self.causes()
                    .iter()
                    .find_map(|cause| cause.diagnose(kernel))
            })
    }
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

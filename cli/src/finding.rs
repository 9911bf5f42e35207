//! Something is in the way: what it is, and what to do.

use std::fmt;

use serde::Serialize;
use vfio_core::diagnosis::Diagnosis;
use vfio_core::kernel::Kernel;
use vfio_core::{Error, ErrorKind};

/// A finding, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The code of its diagnosis, if it is one of the catalogue's.
    pub(crate) code: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) cause: String,
    /// What failed, if the finding is that something did.
    pub(crate) error: Option<String>,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) remedies: Vec<String>,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    pub(crate) place: String,
    pub(crate) found: String,
}

impl Finding {
    /// An error, with its diagnosis if there is one.
    pub(crate) fn of_error(error: &Error, kernel: &dyn Kernel) -> Self {
        match error.diagnose(kernel) {
            Some(diagnosis) => Self {
                error: Some(error.to_string()),
                ..diagnosis.into()
            },
            None => Self {
                code: None,
                name: "failed",
                cause: error.to_string(),
                error: None,
                evidence: Vec::new(),
                remedies: next(error).into_iter().map(str::to_owned).collect(),
            },
        }
    }
}

/// What to do about an error that has no diagnosis.
pub(crate) fn next(error: &Error) -> Option<&'static str> {
    match error.kind() {
        ErrorKind::NoSuchDevice => Some("`vfioctl probe` lists the groups and their devices"),
        ErrorKind::Kernel | ErrorKind::NoBackend => Some(KERNEL_LOG),
        _ => None,
    }
}

/// Where the kernel says what its answers leave out.
pub(crate) const KERNEL_LOG: &str = "the kernel's log may say more: dmesg";

impl From<Diagnosis> for Finding {
    fn from(diagnosis: Diagnosis) -> Self {
        Self {
            code: Some(diagnosis.code),
            name: diagnosis.name,
            cause: diagnosis.cause,
            error: None,
            evidence: diagnosis
                .evidence
                .into_iter()
                .map(|evidence| Evidence {
                    place: evidence.place.display().to_string(),
                    found: evidence.found,
                })
                .collect(),
            remedies: diagnosis.remedies,
        }
    }
}

impl fmt::Display for Finding {
    /// Over several lines, each of them ended.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        writeln!(f, "{}: {}", self.name, self.cause)?;
        if let Some(error) = &self.error {
            writeln!(f, "  failed: {error}")?;
        }
        for seen in &self.evidence {
            writeln!(f, "  seen: {}: {}", seen.place, seen.found)?;
        }
        for (number, remedy) in (1..).zip(&self.remedies) {
            writeln!(f, "  {number}. {}", remedy.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}

//! Something is in the way: what it is, and what to do.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::diagnosis::{self, Danger, Diagnosis, Weight};
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{Error, ErrorKind};

use crate::output::Visible;

/// A finding, for people and for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Finding {
    /// The code of its diagnosis, if it is one of the catalogue's.
    pub(crate) code: Option<&'static str>,
    pub(crate) name: &'static str,
    /// How much it is in the way.
    pub(crate) severity: Severity,
    /// The cause in one line.
    pub(crate) cause: String,
    /// What failed, if the finding is that something did.
    pub(crate) error: Option<String>,
    pub(crate) evidence: Vec<Evidence>,
    /// What to do, the safest first.
    pub(crate) remedies: Vec<Remedy>,
    /// The page of the project's documentation on it, if it is one of the catalogue's.
    pub(crate) page: Option<String>,
}

/// How much a finding is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It keeps what was asked for from being done.
    Blocks,
    /// Something of it will not work.
    Limits,
    /// It matters only to some uses.
    Harmless,
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Evidence {
    /// A file, a directory or a limit.
    pub(crate) place: String,
    pub(crate) found: String,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Remedy {
    pub(crate) what: String,
    pub(crate) danger: RemedyDanger,
}

/// What doing it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RemedyDanger {
    /// Nothing that the host does is disturbed.
    None,
    /// The host loses a device, or the time of a reboot.
    Disrupts,
    /// What keeps the host safe from its devices is given up.
    Unsafe,
}

/// A diagnosis that could be neither made nor excluded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct NotFoundOut {
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    /// Why not, and what it would take.
    pub(crate) why: String,
}

impl Finding {
    /// One that is no diagnosis of the catalogue.
    pub(crate) fn new(
        name: &'static str,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            code: None,
            name,
            severity: Severity::Blocks,
            cause: cause.into(),
            error: None,
            evidence: Vec::new(),
            remedies: vec![Remedy::safe(remedy)],
            page: None,
        }
    }

    /// An error, with its diagnosis if there is one.
    pub(crate) fn of_error(error: &Error, kernel: &dyn Kernel) -> Self {
        match error.diagnose(kernel) {
            Some(diagnosis) => Self {
                error: Some(error.to_string()),
                ..diagnosis.into()
            },
            None => Self::new(
                "failed",
                error.to_string(),
                next(error).unwrap_or(KERNEL_LOG),
            ),
        }
    }
}

/// What to do about an error that has no diagnosis.
pub(crate) fn next(error: &Error) -> Option<&'static str> {
    match error.kind() {
        _ if error.errno() == Some(Errno::NODATA) => Some(
            "if this is a captured host, its capture does not tell that: capture it anew with this vfioctl",
        ),
        ErrorKind::NoSuchDevice => Some("`vfioctl groups` lists the groups and their devices"),
        ErrorKind::Kernel | ErrorKind::NoBackend => Some(KERNEL_LOG),
        _ => None,
    }
}

/// Where the kernel says what its answers leave out.
pub(crate) const KERNEL_LOG: &str = "the kernel's log may say more: dmesg";

impl From<Diagnosis> for Finding {
    fn from(diagnosis: Diagnosis) -> Self {
        let evidence = diagnosis.evidence.into_iter().map(|evidence| Evidence {
            place: evidence.place.display().to_string(),
            found: evidence.found,
        });
        Self {
            code: Some(diagnosis.code),
            name: diagnosis.name,
            severity: diagnosis.weight.into(),
            cause: diagnosis.cause,
            error: None,
            evidence: evidence.collect(),
            remedies: diagnosis.remedies.into_iter().map(Remedy::from).collect(),
            page: Some(format!("docs/diagnoses/{}.md", diagnosis.code)),
        }
    }
}

impl Remedy {
    /// One that disturbs nothing.
    pub(crate) fn safe(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            danger: RemedyDanger::None,
        }
    }
}

impl From<diagnosis::Remedy> for Remedy {
    fn from(remedy: diagnosis::Remedy) -> Self {
        Self {
            what: remedy.what,
            danger: match remedy.danger {
                Danger::None => RemedyDanger::None,
                Danger::Disrupts => RemedyDanger::Disrupts,
                Danger::Unsafe => RemedyDanger::Unsafe,
            },
        }
    }
}

impl From<Weight> for Severity {
    fn from(weight: Weight) -> Self {
        match weight {
            Weight::Blocks => Self::Blocks,
            Weight::Limits => Self::Limits,
            Weight::Harmless => Self::Harmless,
        }
    }
}

impl From<diagnosis::Unknown> for NotFoundOut {
    fn from(unknown: diagnosis::Unknown) -> Self {
        Self {
            code: unknown.code,
            name: unknown.name,
            why: unknown.why,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blocks => "blocks",
            Self::Limits => "limits",
            Self::Harmless => "harmless",
        })
    }
}

impl fmt::Display for Finding {
    /// Over several lines, each of them ended. What a host is called makes none of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code} ")?;
        }
        writeln!(
            f,
            "{} ({}): {}",
            self.name,
            self.severity,
            Visible(&self.cause)
        )?;
        if let Some(error) = &self.error {
            writeln!(f, "  failed: {}", Visible(error))?;
        }
        for seen in &self.evidence {
            let (place, found) = (Visible(&seen.place), Visible(&seen.found));
            writeln!(f, "  seen: {place}: {found}")?;
        }
        for (number, remedy) in (1..).zip(&self.remedies) {
            let danger = match remedy.danger {
                RemedyDanger::None => "",
                RemedyDanger::Disrupts => "  [disrupts the host]",
                RemedyDanger::Unsafe => "  [UNSAFE]",
            };
            writeln!(f, "  {number}. {}{danger}", Visible(&remedy.what))?;
        }
        if let Some(code) = self.code {
            writeln!(f, "  more: vfioctl explain {code}")?;
        }
        Ok(())
    }
}

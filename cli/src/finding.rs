//! Something is in the way: what it is, and what to do.

use std::fmt;

use serde::Serialize;
use vfio_core::diagnosis::Diagnosis;

/// A finding, for people and for programs.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    /// The code of its diagnosis, if it is one of the catalogue's.
    pub(crate) code: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) cause: String,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) remedies: Vec<String>,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub(crate) struct Evidence {
    pub(crate) place: String,
    pub(crate) found: String,
}

impl From<Diagnosis> for Finding {
    fn from(diagnosis: Diagnosis) -> Self {
        Self {
            code: Some(diagnosis.code),
            name: diagnosis.name,
            cause: diagnosis.cause,
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
        for seen in &self.evidence {
            writeln!(f, "  seen: {}: {}", seen.place, seen.found)?;
        }
        for (number, remedy) in (1..).zip(&self.remedies) {
            writeln!(f, "  {number}. {}", remedy.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}

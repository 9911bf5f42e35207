//! Yes, no, or unknown and why.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// An answer to a question about the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "answer", content = "why", rename_all = "lowercase")]
pub(crate) enum Answer {
    /// Yes.
    Yes,
    /// No, and why if that is known.
    No(Option<String>),
    /// It could not be found out, and why.
    Unknown(String),
}

impl Answer {
    /// What is known, or why it is not.
    pub(crate) fn of(known: Option<bool>, why_not: impl Into<String>) -> Self {
        match known {
            Some(true) => Self::Yes,
            Some(false) => Self::No(None),
            None => Self::Unknown(why_not.into()),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("yes"),
            Self::No(None) => f.write_str("no"),
            Self::No(Some(why)) => write!(f, "no: {why}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

//! Why a guest's call is not done.

use std::fmt;

use vfio_core::{Error, ErrorKind};

/// Why a guest's call is not done, with what to answer to it.
#[derive(Debug)]
pub enum Refused {
    /// The guest asks for what cannot be, and why.
    Parameter(String),
    /// There is no window left, or not such a one.
    Resource(String),
    /// The host could not.
    Host(Error),
}

impl Refused {
    /// What a hypercall answers: `H_PARAMETER`, `H_RESOURCE`, `H_HARDWARE`.
    pub fn hcall(&self) -> i64 {
        match self {
            Self::Parameter(_) => -4,
            Self::Resource(_) => -16,
            Self::Host(_) => -1,
        }
    }

    /// What a call of the firmware (RTAS) answers: parameter error, or hardware error.
    pub fn rtas(&self) -> i32 {
        match self {
            Self::Parameter(_) => -3,
            Self::Resource(_) | Self::Host(_) => -1,
        }
    }
}

impl Refused {
    /// As an error of the host's.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Host(error) => error,
            Self::Parameter(why) | Self::Resource(why) => {
                Error::new(ErrorKind::Invalid, "call", "a guest's host bridge").because(why)
            }
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameter(why) | Self::Resource(why) => f.write_str(why),
            Self::Host(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Parameter(_) | Self::Resource(_) => None,
            Self::Host(error) => Some(error),
        }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Host(error)
    }
}

pub(super) fn parameter(why: impl Into<String>) -> Refused {
    Refused::Parameter(why.into())
}

//! Exit statuses: the same for every command.

use std::process::ExitCode;

use vfio_core::{Error, ErrorKind};

/// How a command ended. Usage errors (2) are the argument parser's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Status {
    /// Answered, and fine.
    Fine = 0,
    /// Answered, and something is in the way.
    Findings = 1,
    /// Not permitted.
    NotPermitted = 3,
    /// The kernel, or input and output, failed.
    Failed = 4,
}

impl Status {
    /// What an error means for the exit status.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .downcast_ref::<Error>()
            .map_or(Self::Failed, |error| Self::of_kind(error.kind()))
    }

    /// What the kind of an error means for the exit status.
    pub(crate) fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NoVfio
            | ErrorKind::NoSuchDevice
            | ErrorKind::NoGroup
            | ErrorKind::NotBound
            | ErrorKind::NotViable
            | ErrorKind::NoBackend => Self::Findings,
            ErrorKind::NotPermitted => Self::NotPermitted,
            _ => Self::Failed,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

//! Exit statuses: the same for every command.

use std::process::ExitCode;

use vfio_core::{Error, ErrorKind};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(u8);

impl Status {
    /// Answered, and fine.
    pub(crate) const FINE: Self = Self(0);
    /// Answered, and something is in the way.
    pub(crate) const FINDINGS: Self = Self(1);
    /// Input or output failed. (2 is a wrong command line, and the argument parser's.)
    const FAILED: Self = Self(4);

    /// As a number.
    #[cfg(test)]
    pub(crate) const fn number(self) -> u8 {
        self.0
    }

    /// What an error means.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error
            .downcast_ref::<Error>()
            .map_or(Self::FAILED, |error| error.kind().into())
    }
}

impl From<ErrorKind> for Status {
    fn from(kind: ErrorKind) -> Self {
        Self(kind.exit_status())
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.0)
    }
}

//! A sequence of calls, and what the process that makes them may do.

use std::fmt;

use super::call::Call;

/// Calls that are made one after the other; then everything is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sequence {
    /// How many bytes may be locked; `None` is no limit, with `CAP_IPC_LOCK`.
    pub(super) memlock: Option<u64>,
    pub(super) calls: Vec<Call>,
}

impl Sequence {
    /// The same process, with other calls.
    pub(super) fn with(&self, calls: Vec<Call>) -> Self {
        Self {
            memlock: self.memlock,
            calls,
        }
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.memlock {
            None => writeln!(f, "  as root")?,
            Some(bytes) => writeln!(f, "  as one who may lock {bytes:#x} bytes")?,
        }
        for (n, call) in self.calls.iter().enumerate() {
            writeln!(f, "  {n}: {call:?}")?;
        }
        Ok(())
    }
}

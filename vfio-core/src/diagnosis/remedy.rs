//! What helps, and what it may cost.

use std::fmt;

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// What, in words or as a command.
    pub what: String,
    /// What it may cost.
    pub danger: Danger,
}

/// How dangerous it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Danger {
    /// Nothing that the host does is disturbed.
    None,
    /// The host loses something while or until it is done: a device, or the time of a reboot.
    Disrupts,
    /// What keeps the host safe from its devices is given up.
    Unsafe,
}

impl Remedy {
    pub(super) fn safe(what: impl Into<String>) -> Self {
        Self::new(what, Danger::None)
    }

    pub(super) fn disrupts(what: impl Into<String>) -> Self {
        Self::new(what, Danger::Disrupts)
    }

    pub(super) fn gives_up_safety(what: impl Into<String>) -> Self {
        Self::new(what, Danger::Unsafe)
    }

    fn new(what: impl Into<String>, danger: Danger) -> Self {
        Self {
            what: what.into(),
            danger,
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.danger {
            Danger::None => Ok(()),
            Danger::Disrupts => f.write_str(" (disrupts)"),
            Danger::Unsafe => f.write_str(" (UNSAFE)"),
        }
    }
}

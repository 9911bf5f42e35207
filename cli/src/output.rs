//! What people read: text on standard output, complaints on standard error.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;
use vfio_core::Error;
use vfio_core::kernel::Kernel;

use crate::finding::{self, Finding};

/// Standard output. A reader that has gone away is not an error.
#[derive(Debug, Default)]
pub(crate) struct Output {
    closed: bool,
}

impl Output {
    /// Writes one line, at once.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match writeln!(io::stdout(), "{line}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            written => written?,
        }
        Ok(())
    }
}

impl Output {
    /// Whether the reader has gone away.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes text of the program's own, of several lines.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| self.line(line))
    }

    /// Writes a document for programs.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
        self.line(text)
    }

    /// Writes a finding, over several lines.
    pub(crate) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.line(finding.to_string().trim_end())
    }
}

/// Says on standard error what failed on that kernel, why, and what to do.
pub(crate) fn complain(error: &anyhow::Error, kernel: &dyn Kernel) {
    let mut text = format!("vfioctl: {error}\n");
    if let Some(error) = error.downcast_ref::<Error>() {
        text.push_str(&advice(error, kernel));
    }
    // Nobody is left to tell if standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// What an error is and what to do, as far as that is known.
fn advice(error: &Error, kernel: &dyn Kernel) -> String {
    if let Some(diagnosis) = error.diagnose(kernel) {
        return Finding::from(diagnosis).to_string();
    }
    finding::next(error).map_or_else(String::new, |next| format!("  next: {next}\n"))
}

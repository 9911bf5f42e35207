//! What `explain` answers, for people and for programs.

use std::io;

use schemars::JsonSchema;
use serde::Serialize;

use super::page::Page;
use super::scan::{Found, Scan};
use crate::output::Output;
use crate::status::Status;

/// What a text says.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Explanation {
    schema_version: u32,
    /// The diagnoses that it speaks of, in order of appearance.
    found: Vec<Found>,
    #[serde(skip)]
    lines: u64,
}

impl Explanation {
    /// What was asked for by its code.
    pub(super) fn page(page: Page) -> Self {
        Self {
            schema_version: 1,
            found: vec![Found::page(page)],
            lines: 0,
        }
    }

    pub(super) fn status(&self) -> Status {
        if self.found.is_empty() {
            Status::FINDINGS
        } else {
            Status::FINE
        }
    }

    pub(super) fn print(&self, out: &mut Output) -> io::Result<()> {
        if self.found.is_empty() {
            return self.print_unknown(out);
        }
        for (number, found) in self.found.iter().enumerate() {
            if number != 0 {
                out.line("")?;
            }
            print_found(found, out)?;
        }
        Ok(())
    }

    fn print_unknown(&self, out: &mut Output) -> io::Result<()> {
        out.line(format_args!(
            "not known: {}",
            match self.lines {
                0 => "there is no text".to_owned(),
                1 => "the line is none of the messages that this program knows".to_owned(),
                lines => format!("none of {lines} lines is a message that this program knows"),
            }
        ))?;
        out.line("  1. ask the host itself: vfioctl doctor, or vfioctl doctor BDF for one device")?;
        out.line(
            "  2. the kernel's log often has the cause: sudo dmesg | vfioctl explain, just after it failed",
        )?;
        out.line("  3. so has the whole log of the program that failed, from its start on")
    }
}

impl From<Scan> for Explanation {
    fn from(scan: Scan) -> Self {
        Self {
            schema_version: 1,
            found: scan.found,
            lines: scan.lines,
        }
    }
}

fn print_found(found: &Found, out: &mut Output) -> io::Result<()> {
    if let (Some(first), Some(by)) = (&found.first, found.by) {
        let (code, name) = (found.code, found.name);
        match found.lines {
            1 => out.line(format_args!("{code} {name}, said by {by}:"))?,
            lines => out.line(format_args!(
                "{code} {name}, in {lines} lines; the first, said by {by}:"
            ))?,
        }
        out.line(format_args!("  {first}"))?;
        for note in &found.notes {
            out.line(format_args!("note: {note}"))?;
        }
        out.line(format_args!(
            "on the host itself: vfioctl doctor {}",
            found.device.as_deref().unwrap_or("BDF")
        ))?;
        out.line("")?;
    }
    out.text(found.page)
}

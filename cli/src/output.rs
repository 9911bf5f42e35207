//! What people read: text on standard output, complaints on standard error.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Effects, Style};
use clap::ValueEnum;
use serde::Serialize;
use vfio_core::Error;
use vfio_core::kernel::Kernel;

use crate::finding::{self, Finding, Severity};

/// When there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

impl ColorWhen {
    /// From now on, everywhere.
    pub(crate) fn obey(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

const RED: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const YELLOW: Style = AnsiColor::Yellow.on_default();
const CYAN: Style = AnsiColor::Cyan.on_default();
const GREEN: Style = AnsiColor::Green.on_default();

/// Standard output. A reader that has gone away is not an error.
pub(crate) struct Output {
    stdout: AutoStream<io::Stdout>,
    closed: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            stdout: anstream::stdout(),
            closed: false,
        }
    }
}

impl Output {
    /// Writes one line, at once, [without](Visible) a control character in it.
    pub(crate) fn line(&mut self, line: impl fmt::Display) -> io::Result<()> {
        self.write(&Visible(line))
    }

    fn write(&mut self, text: &dyn fmt::Display) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match writeln!(self.stdout, "{text}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.closed = true,
            written => written?,
        }
        Ok(())
    }

    /// Whether the reader has gone away.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes text of the program's own, of several lines.
    pub(crate) fn text(&mut self, text: &str) -> io::Result<()> {
        self.write(&text.trim_end())
    }

    /// Writes a document for programs.
    pub(crate) fn json(&mut self, document: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(document).map_err(io::Error::other)?;
        self.write(&text)
    }

    /// Writes a finding, over several lines.
    pub(crate) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let text = finding.to_string();
        let mut lines = text.lines();
        let style = match finding.severity {
            Severity::Blocks => RED,
            Severity::Limits => YELLOW,
            Severity::Harmless => CYAN,
        };
        if let Some(head) = lines.next() {
            self.styled(style, head)?;
        }
        lines.try_for_each(|line| self.line(line))
    }

    /// Writes a line that says that something is good, or that it is not.
    pub(crate) fn verdict(&mut self, good: bool, line: impl fmt::Display) -> io::Result<()> {
        self.styled(if good { GREEN } else { RED }, line)
    }

    fn styled(&mut self, style: Style, line: impl fmt::Display) -> io::Result<()> {
        self.write(&format_args!("{style}{}{style:#}", Visible(line)))
    }
}

/// Text that may come from a host, with control characters as escapes: a driver or a file can be called anything, and a
/// terminal would obey it.
pub(crate) struct Visible<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes on, with escapes.
struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match reorders(letter) || letter.is_control() {
                true => write!(self.0, "{}", letter.escape_default())?,
                false => self.0.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// Whether it has what follows shown in another order.
fn reorders(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same as it stands between the quotation marks of Prometheus and graphviz, which know no other escapes.
pub(crate) fn escaped(text: &str) -> String {
    let shown = Visible(text).to_string();
    shown.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Says something beside the answer, on standard error.
pub(crate) fn remark(text: impl fmt::Display) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{}", Visible(text));
}

/// Says on standard error what failed on that kernel, why, and what to do.
pub(crate) fn complain(error: &anyhow::Error, kernel: &dyn Kernel) {
    let mut text = format!("vfioctl: {}\n", Visible(error));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_orders() {
        let hostile = "a\u{1b}[2Jb\nc\td\u{9b}31m\u{202e}e\u{7f}";
        let shown = Visible(hostile).to_string();
        assert_eq!(shown, "a\\u{1b}[2Jb\\nc\\td\\u{9b}31m\\u{202e}e\\u{7f}");
        assert_eq!(Visible("größe é 大").to_string(), "größe é 大");
    }

    #[test]
    fn a_quotation_ends_where_it_should() {
        let hostile = "a\\b\"c\nd\u{202e}e";
        assert_eq!(escaped(hostile), r#"a\\b\"c\\nd\\u{202e}e"#);
    }
}

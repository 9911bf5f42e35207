//! A report: lines for machines, then text for people. It says nothing of when and where it was made, so
//! that the same sources have the same report.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};

use crate::workspace::root;

/// A report of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    /// The tool, with its version.
    pub(super) tool: String,
    /// What was covered, parted by blanks.
    pub(super) covers: String,
    /// That of what was covered.
    pub(super) digest: String,
    /// Markdown.
    pub(super) text: String,
}

/// Where the report of a run is, from the root of the workspace.
pub(super) fn place(run: &str) -> String {
    format!("docs/reports/{run}.md")
}

impl Report {
    /// The committed report of a run.
    pub(super) fn read(run: &str) -> Result<Self> {
        let place = place(run);
        let text = match fs::read_to_string(root().join(&place)) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("{place} is not there: `cargo xtask test --suite {run}` writes it")
            }
            text => text.with_context(|| format!("read {place}"))?,
        };
        Self::parse(&text).with_context(|| {
            format!("{place} does not begin as a report does: `cargo xtask test --suite {run}` renews it")
        })
    }

    pub(super) fn write(&self, run: &str) -> Result<()> {
        let path = root().join(place(run));
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        fs::write(&path, self.show()).with_context(|| format!("write {}", path.display()))
    }

    fn show(&self) -> String {
        let Self {
            tool,
            covers,
            digest,
            text,
        } = self;
        format!("---\ntool: {tool}\ncovers: {covers}\ndigest: {digest}\n---\n\n{text}")
    }

    fn parse(text: &str) -> Option<Self> {
        let (head, text) = text.strip_prefix("---\n")?.split_once("\n---\n\n")?;
        let field = |name: &str| {
            let mut lines = head.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
            Some(value.to_owned())
        };
        Some(Self {
            tool: field("tool")?,
            covers: field("covers")?,
            digest: field("digest")?,
            text: text.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let report = Report {
            tool: "tool 1.2.3".into(),
            covers: "a/src b".into(),
            digest: "sha256:00".into(),
            text: "# Title\n\n---\n\ntool: none\n".into(),
        };
        assert_eq!(Report::parse(&report.show()), Some(report));
        assert_eq!(Report::parse("# Title\n"), None);
    }
}

//! What became of each mutant, and the table of those that no test saw.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

/// What became of a mutant, with the file in which cargo-mutants lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// A test failed.
    Caught,
    /// No test failed.
    Missed,
    /// The tests did not end: they were stopped.
    Timeout,
    /// It does not compile.
    Unviable,
}

impl Fate {
    pub(super) const ALL: [Self; 4] = [Self::Caught, Self::Missed, Self::Timeout, Self::Unviable];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Caught => "caught",
            Self::Missed => "missed",
            Self::Timeout => "timeout",
            Self::Unviable => "unviable",
        }
    }
}

/// Each mutant with its fate, in the order of the sources. A name has no line number, which the next
/// change above it would alter; of several that are alike in a file, the second is `... (2)`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mutants(Vec<(String, Fate)>);

impl Mutants {
    /// Those of a directory that cargo-mutants wrote.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut lists = Vec::new();
        for fate in Fate::ALL {
            let path = dir.join(format!("{}.txt", fate.name()));
            let list = std::fs::read_to_string(&path)
                .with_context(|| format!("read {}", path.display()))?;
            lists.push((fate, list));
        }
        Self::parse(&lists).context("understand what cargo-mutants wrote")
    }

    pub(super) fn parse(lists: &[(Fate, String)]) -> Option<Self> {
        let mut all = Vec::new();
        for (fate, list) in lists {
            for line in list.lines() {
                all.push((place(line)?, *fate));
            }
        }
        all.sort();
        let mut alike = BTreeMap::new();
        let named = all.into_iter().map(|((file, .., change), fate)| {
            let name = format!("{file}: {change}");
            let number = alike.entry(name.clone()).or_insert(0);
            *number += 1;
            match number {
                1 => (name, fate),
                number => (format!("{name} ({number})"), fate),
            }
        });
        Some(Self(named.collect()))
    }

    pub(super) fn count(&self, fate: Fate) -> usize {
        self.0.iter().filter(|(_, its)| *its == fate).count()
    }

    /// Those that no test saw.
    pub(super) fn survivors(&self) -> impl Iterator<Item = &str> {
        let missed = self.0.iter().filter(|(_, fate)| *fate == Fate::Missed);
        missed.map(|(name, _)| name.as_str())
    }
}

/// File, line, column and change, of `src/lib.rs:12:5: replace a with b`.
fn place(line: &str) -> Option<(&str, u32, u32, &str)> {
    let mut parts = line.splitn(4, ':');
    let mut next = || parts.next();
    let (file, row, column, change) = (next()?, next()?, next()?, next()?);
    Some((
        file,
        row.parse().ok()?,
        column.parse().ok()?,
        change.trim_start(),
    ))
}

/// A row of the table: a mutant, and why it may survive.
pub(super) fn row(mutant: &str, reason: &str) -> String {
    format!("| `{}` | {reason} |\n", mutant.replace('|', "\\|"))
}

/// The rows of a table in `text`: mutants and reasons.
pub(super) fn rows(text: &str) -> BTreeMap<String, String> {
    let rows = text.lines().filter_map(|line| {
        let (mutant, reason) = line.strip_prefix("| `")?.split_once("` |")?;
        let reason = reason.trim_end().strip_suffix('|')?;
        Some((mutant.replace("\\|", "|"), reason.trim().to_owned()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_unlike_each_other() {
        let lists = [
            (
                Fate::Caught,
                "a.rs:10:7: replace < with > in f\na.rs:9:1: replace f -> u8 with 0\n".to_owned(),
            ),
            (
                Fate::Missed,
                "a.rs:9:30: replace < with > in f\na.rs:11:7: replace < with > in f\n".to_owned(),
            ),
        ];
        let mutants = Mutants::parse(&lists).unwrap();
        assert_eq!(
            mutants.survivors().collect::<Vec<_>>(),
            [
                "a.rs: replace < with > in f",
                "a.rs: replace < with > in f (3)"
            ]
        );
        assert_eq!(mutants.count(Fate::Caught), 2);
        assert_eq!(Mutants::parse(&[(Fate::Missed, "?".to_owned())]), None);
    }

    #[test]
    fn reasons_are_kept() {
        let mutant = "a.rs: replace | with ^ in <impl B for C>::f -> Result<'_, D>";
        for reason in ["", "only `x | y` sees it"] {
            let text = format!("| mutant | reason |\n|---|---|\n{}", row(mutant, reason));
            assert_eq!(
                rows(&text),
                BTreeMap::from([(mutant.to_owned(), reason.to_owned())])
            );
        }
    }
}

//! The numbers of kernel behaviours that comments quote are on the project's page of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::tally::Tally;
use crate::workspace;

/// The page.
const PAGE: &str = "docs/kernel-behaviour.md";

/// Where numbers are quoted.
const FOLDERS: [&str; 9] = [
    "vfio-core",
    "iommu-type1",
    "iommu-spapr",
    "pci-device",
    "rust-vmm-compat",
    "vfio-sim",
    "cli",
    "tests",
    "xtask",
];

pub(super) fn check(tally: &mut Tally) -> Result<()> {
    tally.check("quoted kernel behaviours are on their page", |_| {
        let page = fs::read_to_string(workspace::root().join(PAGE)).context(PAGE)?;
        let known = defined(&page);
        ensure!(known.len() > 100, "{PAGE} has only {} numbers", known.len());
        let mut missing = Vec::new();
        for folder in FOLDERS {
            quotes(&workspace::root().join(folder), &mut |file, number| {
                if !known.contains(number) {
                    missing.push(format!("{number} in {}", file.display()));
                }
            })?;
        }
        ensure!(missing.is_empty(), "not on {PAGE}:\n{}", missing.join("\n"));
        Ok(())
    });
    Ok(())
}

/// The numbers that the page explains.
fn defined(page: &str) -> BTreeSet<&str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("- **")?.split("**").next())
        .collect()
}

/// Hands over each number that a comment below `folder` quotes.
fn quotes(folder: &Path, found: &mut dyn FnMut(&Path, &str)) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("list")?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            quotes(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let comments = text.lines().filter_map(|line| line.split_once("//"));
            for word in comments.flat_map(|(_, comment)| numbers(comment)) {
                found(&path, word);
            }
        }
    }
    Ok(())
}

/// The words that are numbers of behaviours: those of a part of the page, as it counts them.
fn numbers(comment: &str) -> impl Iterator<Item = &str> {
    let words = comment.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter(|word| {
        let digits = word.get(1..).unwrap_or_default();
        let digits = digits.strip_suffix(char::is_lowercase).unwrap_or(digits);
        let number: Option<u32> = digits.parse().ok();
        match (word.chars().next(), number) {
            (Some('A'), Some(number)) => number >= 1,
            (Some('B'), Some(number)) => number >= 18,
            (Some('C'), Some(number)) => number >= 36,
            (Some('D'), Some(number)) => number >= 49,
            (Some('E'), Some(number)) => number >= 60,
            (Some('F'), Some(number)) => number >= 74,
            (Some('H' | 'P'), Some(_)) => true,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_from_other_words() {
        let found: Vec<_> = numbers("(A5, A11b) H1; sleeps in D3, x86, F8, PCI, C44.").collect();
        assert_eq!(found, ["A5", "A11b", "H1", "C44"]);
        let page = "# P\n- **P1** `x`\n- **A11b** y\n**B1** no";
        assert_eq!(defined(page), BTreeSet::from(["P1", "A11b"]));
    }
}

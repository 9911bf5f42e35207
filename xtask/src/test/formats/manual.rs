//! The manual: a formatter does not complain of its pages, and what readers look for is in them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Reader, Vfioctl};

const LINT: Reader = Reader("mandoc", &["-T", "lint", "-W", "warning"]);
const SHOW: Reader = Reader("mandoc", &["-T", "ascii"]);

/// What is so in every page that clap_mangen writes, and harms no reader: there is no date, since a page is as old as the
/// program that prints it, and the values of an option stand below an empty line.
const TOLERATED: [&str; 3] = [
    "cannot parse date, using it verbatim",
    "skipping paragraph macro: br before sp",
    "skipping paragraph macro: br after sp",
];

pub(super) fn check(vfioctl: &Vfioctl, readers: &Path) -> Result<()> {
    let directory = tempfile::tempdir().context("make a directory for the manual")?;
    let place = directory.path().display().to_string();
    vfioctl.ask(&["man", "--out", &place])?;
    let mut pages = 0;
    for entry in fs::read_dir(&directory).context("read the manual")? {
        let path = entry.context("read the manual")?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let page = fs::read_to_string(&path).with_context(|| format!("read {name}"))?;
        check_page(vfioctl, readers, &name, &page).with_context(|| format!("the page {name}"))?;
        pages += 1;
    }
    ensure!(pages > 10, "the manual has {pages} pages");
    Ok(())
}

fn check_page(vfioctl: &Vfioctl, readers: &Path, name: &str, page: &str) -> Result<()> {
    let (_, said) = LINT.read(readers, page)?;
    let tolerated = |line: &&str| TOLERATED.iter().any(|it| line.contains(it));
    let complaints: Vec<_> = said.lines().filter(|line| !tolerated(line)).collect();
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));

    let (_, page) = SHOW.read(readers, page)?;
    let page = plain(&page);
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    let command = name.strip_prefix("vfioctl-");
    let help: Vec<_> = command.into_iter().chain(["--help"]).collect();
    let help = vfioctl.ask(&help)?;
    let mut expected = vec!["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS"];
    expected.extend(help.lines().filter_map(option));
    expected.push(match command {
        Some(_) => "Example:",
        None => {
            "Exit status: 0 answered and fine; 1 findings; 2 usage; 3 not permitted; 4 kernel or I/O error."
        }
    });
    for part in expected {
        ensure!(words.contains(part), "no {part:?} in it:\n{page}");
    }
    // On its left is the program with its version; where no date is said, it would be in a date's place.
    let footer = page.lines().next_back().unwrap_or_default();
    ensure!(footer.starts_with("vfioctl "), "its footer is {footer:?}");
    Ok(())
}

/// The option that a line of a help begins with.
fn option(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix('-').map(|_| line)?;
    let start = line.find("--")?;
    line[start..].split([' ', '[', '=']).next()
}

/// What a terminal shows of it: bold letters are written twice, one over the other.
fn plain(page: &str) -> String {
    let mut text = String::new();
    for letter in page.chars() {
        match letter {
            '\u{8}' => drop(text.pop()),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_pages_are_read_as_they_look() {
        assert_eq!(option("      --sim <MACHINE>"), Some("--sim"));
        assert_eq!(option("  -h, --help"), Some("--help"));
        assert_eq!(option("      --verify[=<N>]"), Some("--verify"));
        assert_eq!(option("  vfioctl --sim x86_64 groups"), None);
        assert_eq!(plain("N\u{8}NA\u{8}AME\n _\u{8}a\n"), "NAME\n a\n");
    }
}

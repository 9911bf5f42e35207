//! Looks for known messages in a text of any size.

use std::io::{self, BufRead, Read};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::host::Bdf;

use super::messages::MESSAGES;
use super::page::Page;
use crate::output::Visible;

/// A longer line is taken for several, so that a text needs no more memory than this.
const LONGEST_LINE: u64 = 64 * 1024;

/// As much of a line as is shown again.
const LONGEST_QUOTE: usize = 400;

/// The name of a device: with its domain, or as QEMU's argument has it.
const DEVICE: &str = r"(?:\b[0-9a-f]{4,8}:|\bhost=)[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]\b";

/// A diagnosis that a text speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Found {
    /// Its code, which never changes.
    pub(super) code: &'static str,
    /// Its name in two or three words.
    pub(super) name: &'static str,
    /// How many lines say it.
    pub(super) lines: u64,
    /// The first of them, with nothing in it that a terminal would obey.
    pub(super) first: Option<String>,
    /// Who says it there.
    pub(super) by: Option<&'static str>,
    /// What these messages say beyond the page.
    pub(super) notes: Vec<&'static str>,
    /// The first device that such a line names.
    pub(super) device: Option<String>,
    /// What it means and what to do, in Markdown.
    pub(super) page: &'static str,
}

impl Found {
    /// The diagnosis itself, which no line has said yet.
    pub(super) fn page(page: Page) -> Self {
        Self {
            code: page.code,
            name: page.name,
            lines: 0,
            first: None,
            by: None,
            notes: Vec::new(),
            device: None,
            page: page.text,
        }
    }
}

/// What a pattern means.
#[derive(Debug, Clone, Copy)]
struct Meaning {
    page: Page,
    by: &'static str,
    note: Option<&'static str>,
}

/// A text on its way past the known messages.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    patterns: RegexSet,
    /// In the order of the patterns.
    meanings: Vec<Meaning>,
    device: Regex,
    /// In order of appearance.
    pub(super) found: Vec<Found>,
    /// How many lines have passed.
    pub(super) lines: u64,
}

impl Scan {
    pub(super) fn new() -> anyhow::Result<Self> {
        let pages = Page::all();
        let messages = MESSAGES.iter().filter_map(|message| {
            let meaning = Meaning {
                page: *pages.iter().find(|page| page.code == message.code)?,
                by: message.by,
                note: message.note,
            };
            Some((message.pattern.to_owned(), meaning))
        });
        // Findings of ours, and errors of the library that somebody has printed with their diagnosis.
        let ours = pages.iter().map(|page| {
            let meaning = Meaning {
                page: *page,
                by: "vfioctl",
                note: None,
            };
            (format!(r"\b{} {}\b", page.code, page.name), meaning)
        });
        let (patterns, meanings): (Vec<_>, _) = messages.chain(ours).unzip();
        Ok(Self {
            patterns: RegexSetBuilder::new(patterns)
                .unicode(false)
                .case_insensitive(true)
                .build()?,
            meanings,
            device: RegexBuilder::new(DEVICE)
                .unicode(false)
                .case_insensitive(true)
                .build()?,
            found: Vec::new(),
            lines: 0,
        })
    }

    /// Reads to the end.
    pub(super) fn read(&mut self, mut input: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        while input
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)?
            != 0
        {
            self.line(line.trim_ascii());
            line.clear();
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        self.lines += 1;
        let mut said: Vec<&str> = Vec::new();
        for pattern in &self.patterns.matches(line) {
            let Meaning { page, by, note } = self.meanings[pattern];
            let at = self.found.iter().position(|found| found.code == page.code);
            let at = at.unwrap_or_else(|| {
                self.found.push(Found::page(page));
                self.found.len() - 1
            });
            let found = &mut self.found[at];
            if !said.contains(&page.code) {
                said.push(page.code);
                found.lines += 1;
                found.first.get_or_insert_with(|| quote(line));
                found.by.get_or_insert(by);
            }
            found
                .notes
                .extend(note.filter(|note| !found.notes.contains(note)));
            found.device = found.device.take().or_else(|| device(&self.device, line));
        }
    }
}

/// The first device that a line names.
fn device(names: &Regex, line: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(names.find(line)?.as_bytes()).ok()?;
    let name = name.rsplit('=').next()?;
    let bdf: Bdf = name.parse().ok()?;
    Some(bdf.to_string())
}

/// The beginning of a line.
fn quote(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    match line.char_indices().nth(LONGEST_QUOTE) {
        Some((end, _)) => Visible(format_args!("{} ...", &line[..end])).to_string(),
        None => Visible(line).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use proptest::prelude::*;

    /// The patterns take longer to read than a text does.
    static FRESH: LazyLock<Scan> = LazyLock::new(|| Scan::new().unwrap());

    fn scan(text: &[u8]) -> Scan {
        let mut scan = FRESH.clone();
        scan.read(text).unwrap();
        scan
    }

    #[test]
    fn every_pattern_belongs_to_a_page_and_every_page_has_one() {
        for message in MESSAGES {
            assert!(Page::of(message.code).is_some(), "{}", message.code);
        }
        for page in Page::all() {
            let mut messages = MESSAGES.iter();
            assert!(
                messages.any(|message| message.code == page.code),
                "{}",
                page.code
            );
        }
    }

    #[test]
    fn what_a_page_quotes_is_recognised() {
        for page in Page::all() {
            let start = page.text.find("## How it looks").unwrap();
            let quoted: Vec<_> = page.text[start..]
                .split("## How to see it")
                .next()
                .unwrap()
                .lines()
                .filter(|line| line.starts_with("    "))
                .collect();
            assert!(!quoted.is_empty(), "{}", page.code);
            for line in quoted {
                let Scan { found, .. } = scan(line.as_bytes());
                // The container's failure is the frame around a cause on the next line.
                if line.ends_with("failed: ...") {
                    continue;
                }
                let codes: Vec<_> = found.iter().map(|found| found.code).collect();
                assert_eq!(codes, [page.code], "{line}");
            }
        }
    }

    #[test]
    fn a_diagnosis_is_told_once_with_its_first_line_and_its_device() {
        let text = b"noise\n\
            qemu: vfio: group 7 is not viable\n\
            -device vfio-pci,host=03:00.1: vfio 0000:03:00.1: group 7 is not viable\n\
            vfio: Cannot reset device 0001:00:1f.3, no available reset mechanism.\n";
        let Scan { found, lines, .. } = scan(text);
        assert_eq!(lines, 4);
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.code, found.lines, found.device.as_deref().unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                ("VFIO-02", 2, "0000:03:00.1"),
                ("VFIO-11", 1, "0001:00:1f.3")
            ]
        );
        assert_eq!(
            found[0].first.as_deref(),
            Some("qemu: vfio: group 7 is not viable")
        );
    }

    #[test]
    fn a_time_is_no_device() {
        let names = &FRESH.device;
        for (line, expected) in [
            ("2026-01-01 12:34:56.7 vfio", None),
            ("host=3f:1f.7,id=x", Some("0000:3f:1f.7")),
            ("vfio 10000:E1:00.0: no", Some("10000:e1:00.0")),
            ("0000:01:20.0", None),
            ("0000:01:00.8", None),
        ] {
            assert_eq!(
                device(names, line.as_bytes()).as_deref(),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn memory_that_is_refused_is_said_to_be_fatal_and_a_bar_is_not() {
        let said = |region| {
            let line = format!(
                "Region {region}: vfio_container_dma_map(0x5, 0x1, 0x2, 0x7) = -14 (Bad address)"
            );
            scan(line.as_bytes()).found.remove(0)
        };
        assert!(said("dimm1").notes[0].contains("fatal"));
        assert_eq!(said("0000:18:00.0 BAR 0 mmaps[0]").notes, [""; 0]);
    }

    #[test]
    fn the_two_refusals_of_a_node_get_different_advice() {
        let notes = |errno| {
            let line = format!("failed to open /dev/vfio/72: {errno}");
            scan(line.as_bytes()).found.remove(0).notes
        };
        assert!(notes("Permission denied")[0].contains("owner"));
        assert!(notes("Operation not permitted")[0].contains("container"));
    }

    #[test]
    fn a_terminal_obeys_nothing_in_a_quote() {
        let line = "group 1 is not viable \x1b[31m\u{202e}\u{9b}\x07 it's \"C:\\\"".as_bytes();
        assert_eq!(
            quote(line),
            r#"group 1 is not viable \u{1b}[31m\u{202e}\u{9b}\u{7} it's "C:\""#
        );
        assert_eq!(quote(&[b'x'; 1 << 16]).len(), LONGEST_QUOTE + " ...".len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(text: Vec<u8>) {
            let Scan { found, lines, .. } = scan(&text);
            prop_assert!(found.is_empty());
            prop_assert_eq!(lines, text.split_inclusive(|byte| *byte == b'\n').count() as u64);
        }

        #[test]
        fn what_stands_around_a_message_does_not_hide_it(before: Vec<u8>, after: Vec<u8>) {
            let text = [&before, b" vfio: group 1 is not viable\n".as_slice(), &after].concat();
            let Scan { found, .. } = scan(&text);
            prop_assert_eq!(found[0].code, "VFIO-02");
            prop_assert!(found[0].first.iter().all(|first| !first.contains(char::is_control)));
        }
    }
}

//! The Debian mirror that this machine uses, from its own apt sources.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Suite;

const APT: &str = "/etc/apt";
/// Where the package debian-archive-keyring puts Debian's keys.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where a suite comes from, and who signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) uri: String,
    pub(super) keyring: String,
}

/// The mirror of `suite` in the sources of this machine.
pub(super) fn of_this_machine(suite: Suite) -> Result<Source> {
    let entries: Vec<Entry> = files(Path::new(APT))
        .iter()
        .filter_map(|path| {
            let text = fs::read_to_string(path).ok()?;
            Some(match path.extension()?.to_str()? {
                "sources" => deb822(&text),
                _ => one_line(&text),
            })
        })
        .flatten()
        .collect();
    choose(&entries, suite).with_context(|| {
        format!(
            "find a Debian mirror: no source in {APT} names the suite {} with the component main: \
             add one (its line starts with \"deb\")",
            Suite::Bookworm.name()
        )
    })
}

/// A suite that no source names is on the mirror of bookworm, and signed by Debian as bookworm is.
fn choose(entries: &[Entry], suite: Suite) -> Option<Source> {
    [suite.name(), Suite::Bookworm.name()]
        .iter()
        .find_map(|name| entries.iter().find(|entry| entry.serves(name)))
        .map(|entry| Source {
            uri: entry.uri.clone(),
            keyring: entry.keyring.clone().unwrap_or_else(|| KEYRING.to_owned()),
        })
}

fn files(apt: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|it| it == "list" || it == "sources")
        })
        .collect();
    parts.sort();
    parts.insert(0, apt.join("sources.list"));
    parts
}

/// One source of binary packages.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    keyring: Option<String>,
}

impl Entry {
    fn serves(&self, suite: &str) -> bool {
        self.suites.iter().any(|it| it == suite)
            && self.components.iter().any(|it| it == "main")
            && !self.uri.starts_with("cdrom:")
    }
}

/// `deb [option=value …] URI SUITE COMPONENT…`, a line each.
fn one_line(text: &str) -> Vec<Entry> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Entry> {
    let line = line.split('#').next()?.trim();
    let rest = line.strip_prefix("deb")?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let keyring = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="))
        .and_then(keyring_file);
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Entry {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        keyring,
    })
}

/// Stanzas of `Field: value`, as in `sources.list(5)`.
fn deb822(text: &str) -> Vec<Entry> {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    text.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<Entry> {
    let words = |name: &str| -> Vec<String> {
        let value = field(text, name).unwrap_or_default();
        value.split_whitespace().map(str::to_owned).collect()
    };
    let disabled = ["no", "false", "off", "0", "without", "disable"];
    let enabled = field(text, "Enabled").unwrap_or_default().to_lowercase();
    if disabled.contains(&enabled.trim()) || !words("Types").contains(&"deb".to_owned()) {
        return None;
    }
    Some(Entry {
        uri: words("URIs").into_iter().next()?,
        suites: words("Suites"),
        components: words("Components"),
        keyring: field(text, "Signed-By").as_deref().and_then(keyring_file),
    })
}

/// The value of a field, with its continuation lines.
fn field(stanza: &str, name: &str) -> Option<String> {
    let mut lines = stanza.lines();
    let first = lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })?;
    let continuation = lines.take_while(|line| line.starts_with([' ', '\t']));
    Some(
        [first]
            .into_iter()
            .chain(continuation)
            .collect::<Vec<_>>()
            .join("\n"),
    )
}

/// A keyring's path. A key that stands in the source itself, or a fingerprint, is not one.
fn keyring_file(value: &str) -> Option<String> {
    let value = value.trim().split([',', ' ']).next()?;
    value.starts_with('/').then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD_PARTY: &str = "deb https://packages.example.org/apt tools-bookworm main\n";

    #[test]
    fn the_one_line_format() {
        let text = "# deb http://old.example/debian bookworm main\n\
            deb-src http://mirror.example/debian bookworm main\n\
            deb cdrom:[Debian 12]/ bookworm main\n\
            deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian \
            bookworm main contrib # a remark\n";
        let mut entries = one_line(THIRD_PARTY);
        entries.extend(one_line(text));
        assert_eq!(
            choose(&entries, Suite::Bookworm),
            Some(Source {
                uri: "http://mirror.example/debian".into(),
                keyring: "/usr/share/keyrings/k.gpg".into(),
            })
        );
    }

    #[test]
    fn the_deb822_format() {
        let text = "Types: deb\n# a remark\nURIs: http://mirror.example/debian\n\
            Suites: bookworm bookworm-updates\nComponents: main\n\
            Signed-By: /usr/share/keyrings/k.gpg\n\n\
            Types: deb\nURIs: http://mirror.example/debian-security\n\
            Suites: bookworm-security\nComponents: main\n";
        let entries = deb822(text);
        assert_eq!(entries.len(), 2);
        assert_eq!(
            choose(&entries, Suite::Bookworm),
            Some(Source {
                uri: "http://mirror.example/debian".into(),
                keyring: "/usr/share/keyrings/k.gpg".into(),
            })
        );
    }

    #[test]
    fn backports_of_their_own_win() {
        let text = "deb http://one.example/debian bookworm main\n\
            deb http://two.example/debian bookworm-backports main\n";
        let both = one_line(text);
        let uri = |entries| choose(entries, Suite::Backports).map(|source| source.uri);
        assert_eq!(uri(&both).as_deref(), Some("http://two.example/debian"));
        assert_eq!(
            uri(&both[..1]).as_deref(),
            Some("http://one.example/debian")
        );
    }

    #[test]
    fn newer_suites_are_on_the_mirror_of_bookworm() {
        let text = "deb http://one.example/debian bookworm main\n\
            deb http://two.example/debian forky main\n";
        let entries = one_line(text);
        let uri = |suite| choose(&entries, suite).map(|source| source.uri);
        assert_eq!(
            uri(Suite::Trixie).as_deref(),
            Some("http://one.example/debian")
        );
        assert_eq!(
            uri(Suite::Forky).as_deref(),
            Some("http://two.example/debian")
        );
    }

    #[test]
    fn what_is_not_a_source_of_bookworm() {
        let text = "Enabled: no\nTypes: deb\nURIs: http://off.example/debian\n\
            Suites: bookworm\nComponents: main\n\n\
            Types: deb-src\nURIs: http://src.example/debian\nSuites: bookworm\nComponents: main\n";
        assert_eq!(deb822(text), []);
        assert_eq!(choose(&one_line(THIRD_PARTY), Suite::Bookworm), None);
    }

    #[test]
    fn a_key_in_the_source_is_not_a_file() {
        let text = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n\
            Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQ==\n";
        assert_eq!(deb822(text)[0].keyring, None);
    }
}

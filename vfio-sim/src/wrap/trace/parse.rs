//! From text to a trace.

use std::fmt;
use std::str::FromStr;

use vfio_core::kernel::Errno;

use super::{About, Entry, Said, Trace, VERSION};

/// A text that is no trace, or one of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTrace {
    line: usize,
    why: &'static str,
}

impl fmt::Display for BadTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the trace: {}", self.line, self.why)
    }
}

impl std::error::Error for BadTrace {}

impl FromStr for Trace {
    type Err = BadTrace;

    fn from_str(text: &str) -> Result<Self, BadTrace> {
        let mut lines = (1..)
            .zip(text.lines())
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let mut header = |why| {
            let (line, text) = lines.next().ok_or(BadTrace { line: 0, why })?;
            Ok((text, BadTrace { line, why }))
        };
        let (version, bad) = header("not version 1 of a trace")?;
        if version != VERSION {
            return Err(bad);
        }
        let (text, bad) = header("no description of the machine")?;
        let machine = about(text).ok_or(bad)?;
        let entries = lines.map(|(line, text)| {
            let why = "not a call and its answer";
            entry(text).ok_or(BadTrace { line, why })
        });
        Ok(Self {
            machine,
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

fn about(line: &str) -> Option<About> {
    let words: Vec<_> = line.split(' ').collect();
    let [
        "machine",
        arch,
        release,
        "page",
        page_size,
        "memlock",
        memlock,
    ] = words[..]
    else {
        return None;
    };
    Some(About {
        arch: arch.to_owned(),
        release: release.to_owned(),
        page_size: page_size.parse().ok()?,
        memlock: match memlock {
            "none" => None,
            limit => Some(limit.parse().ok()?),
        },
    })
}

fn entry(line: &str) -> Option<Entry> {
    let (asked, answer) = line.split_once(" -> ")?;
    let (said, output) = match answer.split_once(' ') {
        Some((said, output)) => (said, bytes(output)?),
        None => (answer, Vec::new()),
    };
    Some(Entry {
        asked: asked.to_owned(),
        said: said_of(said)?,
        output,
    })
}

fn said_of(text: &str) -> Option<Said> {
    if let Some(tag) = text.strip_prefix('#') {
        return tag.parse().ok().map(Said::Fd);
    }
    if let Some(errno) = text.strip_prefix('E') {
        // What is no errno cannot be made one.
        let errno = errno
            .parse()
            .ok()
            .filter(|errno| (1..4096).contains(errno))?;
        return Some(Said::Failed(Errno::from_raw_os_error(errno)));
    }
    match text {
        "done" => Some(Said::Done),
        "pages" => Some(Said::Pages),
        "registers" => Some(Said::Registers),
        number => number.parse().ok().map(Said::Number),
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix('x')?.as_bytes();
    let pairs = digits.chunks(2).map(|pair| match pair {
        [_, _] if pair.iter().all(u8::is_ascii_hexdigit) => {
            u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()
        }
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vfio-trace 1\nmachine ppc64le 6.12.95 page 65536 memlock 8388608\n\
        open /dev/vfio/vfio -> #0\nread /a\\x20b -> done x00ff\nmmap 4096 -> pages\n\
        map_region 0 4096 at 0x0 r- align 0x1000 -> registers\nVFIO_SET_IOMMU 0 =3 -> E22\n\
        VFIO_CHECK_EXTENSION 0 =3 -> 1\n";

    #[test]
    fn a_text_is_read_as_it_is_written() {
        let trace: Trace = TEXT.parse().unwrap();
        assert_eq!(trace.entries[1].output, [0, 0xff]);
        assert_eq!(trace.entries[4].said, Said::Failed(Errno::INVAL));
        assert_eq!(trace.to_string(), TEXT);
        let commented = TEXT.replace("mmap", "# a comment\n\nmmap");
        assert_eq!(commented.parse(), Ok(trace));
    }

    #[test]
    fn what_is_no_trace_says_which_line() {
        for (from, to, line) in [
            ("trace 1", "trace 2", 1),
            ("page 65536", "page many", 2),
            ("-> #0", "-> #", 3),
            ("-> #0", "", 3),
            ("x00ff", "x00f", 4),
            ("x00ff", "x+1ff", 4),
            ("E22", "E0", 7),
            ("E22", "E-22", 7),
        ] {
            let bad = TEXT.replace(from, to).parse::<Trace>().unwrap_err();
            assert_eq!(bad.line, line, "{to}: {bad}");
        }
        "".parse::<Trace>().unwrap_err();
    }
}

//! From text to a trace.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use vfio_core::host::PciDevice;
use vfio_core::kernel::Errno;

use super::{About, Entry, MAGIC, Said, Trace, VERSION, ask};

/// A text that is no trace, or one of another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadTrace {
    line: usize,
    why: Cow<'static, str>,
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
            .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
            .peekable();
        let bad = |line, why: &'static str| BadTrace {
            line,
            why: why.into(),
        };
        let no_trace = |line| bad(line, "this is no trace");
        let (line, text) = lines.next().ok_or_else(|| no_trace(0))?;
        is_readable(text).map_err(|why| BadTrace { line, why })?;
        let (line, text) = lines.next().ok_or_else(|| no_trace(line))?;
        let machine = about(text).ok_or_else(|| bad(line, "no description of the machine"))?;
        let mut devices = Vec::new();
        while let Some((line, text)) = lines.next_if(|(_, text)| text.starts_with("device ")) {
            let device = device(text).ok_or_else(|| bad(line, "no description of a device"))?;
            devices.push(device);
        }
        let entries = lines
            .map(|(line, text)| entry(text).ok_or_else(|| bad(line, "not a call and its answer")));
        Ok(Self {
            machine,
            devices,
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

/// Whether the first line is that of a trace which can be read here; otherwise, why not.
fn is_readable(line: &str) -> Result<(), Cow<'static, str>> {
    let Some(version) = line
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.strip_prefix(' '))
    else {
        return Err("this is no trace".into());
    };
    if version.parse() == Ok(VERSION) {
        return Ok(());
    }
    Err(format!("it is of version {version}, and only version {VERSION} can be read").into())
}

/// `device 0000:00:04.0 group 2 id 1234:11e8 class 00ff00 driver vfio-pci`, with `-` for none.
fn device(line: &str) -> Option<PciDevice> {
    let (fixed, driver) = line.split_once(" driver ")?;
    let words: Vec<_> = fixed.split(' ').collect();
    let ["device", bdf, "group", group, "id", ids, "class", class] = words[..] else {
        return None;
    };
    let (vendor, device) = ids.split_once(':')?;
    Some(PciDevice {
        bdf: bdf.parse().ok()?,
        vendor: u16::from_str_radix(vendor, 16).ok()?,
        device: u16::from_str_radix(device, 16).ok()?,
        class: u32::from_str_radix(class, 16).ok()?,
        driver: (driver != "-").then(|| driver.to_owned()),
        group: match group {
            "-" => None,
            group => Some(group.parse().ok()?),
        },
        numa_node: None,
    })
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
        page_size: page_size
            .parse()
            .ok()
            .filter(|size: &usize| size.is_power_of_two() && *size <= 1 << 20)?,
        memlock: match memlock {
            "none" => None,
            limit => Some(limit.parse().ok()?),
        },
    })
}

fn entry(line: &str) -> Option<Entry> {
    let (asked, answer) = line.split_once(" -> ")?;
    ask::parse(asked)?;
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

/// Two digits are a byte; a number in brackets is so many bytes of zero.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    /// More is no argument, and nothing that is read at once.
    const MOST: usize = 1 << 20;

    let mut rest = text.strip_prefix('x')?;
    let mut bytes = Vec::new();
    while !rest.is_empty() {
        if let Some((zeros, after)) = rest.strip_prefix('[').and_then(|it| it.split_once(']')) {
            let len = zeros.parse::<usize>().ok()?.checked_add(bytes.len())?;
            bytes.resize(Some(len).filter(|len| *len <= MOST)?, 0);
            rest = after;
        } else {
            let (pair, after) = rest.split_at_checked(2)?;
            let is_hex = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            bytes.push(u8::from_str_radix(pair, 16).ok().filter(|_| is_hex)?);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "vfio-trace 2\nmachine ppc64le 6.12.95 page 65536 memlock 8388608\n\
        device 0000:00:04.0 group 2 id 1234:11e8 class 00ff00 driver vfio-pci\n\
        device 0000:00:05.0 group - id 1b36:0010 class 010802 driver -\n\
        open /dev/vfio/vfio -> #0\nread /a\\x20b -> done x00ff\nmmap 4096 -> pages\n\
        map_region 0 4096 at 0x0 r- align 0x1000 -> registers\nVFIO_SET_IOMMU 0 =3 -> E22\n\
        VFIO_CHECK_EXTENSION 0 =3 -> 1\n\
        VFIO_DEVICE_GET_INFO 1 x10[15] -> 0 x1000000003[12]01\nclose 1 -> done\n";

    #[test]
    fn a_text_is_read_as_it_is_written() {
        let trace: Trace = TEXT.parse().unwrap();
        assert_eq!(trace.devices.len(), 2);
        assert_eq!(trace.entries[1].output, [0, 0xff]);
        assert_eq!(trace.entries[4].said, Said::Failed(Errno::INVAL));
        assert_eq!(trace.to_string(), TEXT);
        let commented = TEXT.replace("mmap", "# a comment\n\nmmap");
        assert_eq!(commented.parse(), Ok(trace));
    }

    #[test]
    fn what_is_no_trace_says_which_line() {
        for (from, to, line) in [
            ("vfio-trace", "vfio trace", 1),
            ("page 65536", "page many", 2),
            ("page 65536", "page 0", 2),
            ("id 1234:11e8", "id 1234", 3),
            ("0000:00:04.0", "04.0", 3),
            ("group -", "group x", 4),
            ("-> #0", "-> #", 5),
            ("-> #0", "", 5),
            ("x00ff", "x00f", 6),
            ("x00ff", "x+1ff", 6),
            ("x00ff", "x\u{e9}0", 6),
            ("E22", "E0", 9),
            ("E22", "E-22", 9),
            ("=3 -> E22", "3 -> E22", 9),
            ("[12]", "[12", 11),
            ("[12]", "[9999999999]", 11),
            ("[12]", "[18446744073709551615]", 11),
        ] {
            let bad = TEXT.replace(from, to).parse::<Trace>().unwrap_err();
            assert_eq!(bad.line, line, "{to}: {bad}");
        }
        "".parse::<Trace>().unwrap_err();
    }

    #[test]
    fn another_version_is_refused_in_words() {
        for version in ["1", "3", "two"] {
            let text = TEXT.replace("vfio-trace 2", &format!("vfio-trace {version}"));
            let said = text.parse::<Trace>().unwrap_err().to_string();
            let expected = format!(
                "line 1 of the trace: it is of version {version}, and only version 2 can be read"
            );
            assert_eq!(said, expected);
        }
    }
}

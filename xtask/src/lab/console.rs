//! What comes out of a machine's serial console: a boot log, then COMMAND's bytes, then a report.
//!
//! Lines that begin with the run's token are for the lab; `init` writes them. Everything else
//! that comes between `TOKEN begin` and the report is COMMAND's, and is passed on as it arrives.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

/// How the machine says that it is done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// COMMAND ended with this status.
    Status(i32),
    /// The machine could not be set up for COMMAND.
    Failed(String),
}

pub(super) struct Console {
    token: String,
    running: bool,
    pending: Vec<u8>,
    tail: VecDeque<u8>,
}

impl Console {
    /// How much of the output is kept to explain what went wrong.
    const TAIL: usize = 64 * 1024;

    /// A console with a token that no command prints by chance.
    pub(super) fn new() -> Self {
        Self::with_token(format!("lab-{:016x}", RandomState::new().hash_one(())))
    }

    fn with_token(token: String) -> Self {
        Self {
            token,
            running: false,
            pending: Vec::new(),
            tail: VecDeque::new(),
        }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whether COMMAND has begun.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Takes bytes from the machine; passes on to `sink` those that are COMMAND's.
    pub(super) fn feed(&mut self, bytes: &[u8], sink: &mut dyn FnMut(&[u8])) -> Option<Report> {
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(Self::TAIL);
        self.tail.drain(..surplus);
        self.pending.extend(bytes);
        loop {
            let Some(start) = find(&self.pending, self.token.as_bytes()) else {
                let complete = self.pending.len() - self.begun();
                self.pass(complete, sink);
                return None;
            };
            self.pass(start, sink);
            let end = self.pending.iter().position(|&byte| byte == b'\n')?;
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[self.token.len()..]);
            match parse(line.trim()) {
                Some(Line::Begin) => {
                    self.running = true;
                    self.tail = self.pending.iter().copied().collect();
                }
                Some(Line::Report(report)) => return Some(report),
                None => {}
            }
        }
    }

    /// The last `count` lines that the machine wrote, since COMMAND's begin if it has begun.
    pub(super) fn tail(&self, count: usize) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(&self.token))
            .collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Why the kernel stopped, if it did.
    pub(super) fn panic(&self) -> Option<String> {
        const MARK: &str = "Kernel panic - not syncing: ";
        let tail = self.tail(usize::MAX);
        let (_, reason) = tail.split_once(MARK)?;
        Some(reason.lines().next().unwrap_or_default().to_owned())
    }

    /// How many bytes at the end may be the beginning of the token.
    fn begun(&self) -> usize {
        let token = self.token.as_bytes();
        (1..token.len())
            .rev()
            .find(|&length| self.pending.ends_with(&token[..length]))
            .unwrap_or(0)
    }

    fn pass(&mut self, count: usize, sink: &mut dyn FnMut(&[u8])) {
        if self.running && count > 0 {
            sink(&self.pending[..count]);
        }
        self.pending.drain(..count);
    }
}

enum Line {
    Begin,
    Report(Report),
}

fn parse(line: &str) -> Option<Line> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "begin" => Some(Line::Begin),
        "status" => Some(Line::Report(Report::Status(rest.parse().ok()?))),
        "failed" => Some(Line::Report(Report::Failed(rest.to_owned()))),
        _ => None,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chunks: &[&[u8]]) -> (Vec<u8>, Option<Report>, Console) {
        let mut console = Console::with_token("lab-7".to_owned());
        let mut output = Vec::new();
        let mut report = None;
        for chunk in chunks {
            report = console.feed(chunk, &mut |bytes| output.extend_from_slice(bytes));
        }
        (output, report, console)
    }

    #[test]
    fn only_the_output_of_the_command_is_passed_on() {
        let all = b"boot\r\nlab-7 begin\nhello\nworldlab-7 status 3\n";
        let whole = run(&[all]);
        assert_eq!(whole.0, b"hello\nworld");
        assert_eq!(whole.1, Some(Report::Status(3)));
    }

    #[test]
    fn chunks_may_end_anywhere() {
        let all = b"boot\nlab-7 begin\n\x00\xfflab-lab-\r\nlab-7 status 137\n";
        let chunks: Vec<&[u8]> = all.chunks(1).collect();
        let (output, report, _) = run(&chunks);
        assert_eq!(output, b"\x00\xfflab-lab-\r\n");
        assert_eq!(report, Some(Report::Status(137)));
    }

    #[test]
    fn output_is_passed_on_before_its_line_is_complete() {
        let (output, report, _) = run(&[b"lab-7 begin\n", b"50 %"]);
        assert_eq!(output, b"50 %");
        assert_eq!(report, None);
    }

    #[test]
    fn failure_of_the_machine() {
        let (output, report, console) = run(&[b"boot\nlab-7 failed bind it\n"]);
        assert!(output.is_empty() && !console.is_running());
        assert_eq!(report, Some(Report::Failed("bind it".to_owned())));
    }

    #[test]
    fn the_tail_of_a_command_has_no_boot_log() {
        let (_, _, console) = run(&[b"boot\nlab-7 begin\n"]);
        assert_eq!(console.tail(9), "");
        let (_, _, console) = run(&[b"boot\nlab-7 begin\none\n", b"two\n"]);
        assert_eq!(console.tail(9), "one\ntwo");
    }

    #[test]
    fn tail_and_panic() {
        let (_, _, console) = run(&[
            b"one\r\n\r\ntwo\r\n[ 1.0] Kernel panic - not syncing: No init found.\r\nCPU: 0\r\n",
        ]);
        assert_eq!(console.panic().as_deref(), Some("No init found."));
        assert_eq!(
            console.tail(2),
            "[ 1.0] Kernel panic - not syncing: No init found.\nCPU: 0"
        );
    }
}

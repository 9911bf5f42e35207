//! Runs apt-get, follows its progress, and puts its complaints into words.

use std::fmt::{Display, Formatter};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::cache::DISK_FULL;

/// An `apt-get` that knows only what the configuration file says.
pub(super) fn command(configuration: &Path) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg("--config-file")
        .arg(configuration)
        .arg("-qq");
    command
}

/// Runs `command` to its end and returns its output. `progress` hears of each percentage that
/// apt-get reports, where it was asked to do so on its standard output (`APT::Status-Fd=1`).
pub(super) fn run(command: &mut Command, mut progress: impl FnMut(f64)) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run apt-get: the lab's parts come from Debian packages")?;
    let stdout = child.stdout.take().context("apt-get has no output")?;
    let mut stderr = child.stderr.take().context("apt-get has no error output")?;
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).ok();
        String::from_utf8_lossy(&text).into_owned()
    });

    let mut output = String::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read the output of apt-get")?;
        if let Some(percent) = percentage(&line) {
            progress(percent);
        } else {
            output.push_str(&line);
            output.push('\n');
        }
    }
    let status = child.wait().context("wait for apt-get")?;
    let complaints = complaints.join().unwrap_or_default();
    // A warning of a download is a part that is missing: apt-get carries on without it.
    if !status.success() || complaints.lines().any(is_complaint) {
        return Err(Failure::new(&complaints).into());
    }
    Ok(output)
}

/// The overall percentage in a line such as `dlstatus:2:88.7278:Retrieving file 2 of 2`.
fn percentage(line: &str) -> Option<f64> {
    let mut fields = line.strip_prefix("dlstatus:")?.split(':');
    fields.nth(1)?.parse().ok()
}

fn is_complaint(line: &str) -> bool {
    line.starts_with("E:") || line.starts_with("W:")
}

/// Why apt-get failed.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    complaint: String,
    cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Disk,
    Mirror,
    Network,
    Unknown,
}

impl Failure {
    fn new(complaints: &str) -> Self {
        // The first complaint is the cause, the others are what follows from it.
        let complaint = complaints.lines().find(|line| is_complaint(line));
        Self {
            complaint: complaint.unwrap_or(complaints).trim().to_owned(),
            cause: Cause::of(complaints),
        }
    }
}

/// Whether the same may succeed in a moment. What the network is to blame for, apt-get has tried
/// several times already.
pub(super) fn may_pass(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Failure>()
        .is_none_or(|failure| matches!(failure.cause, Cause::Mirror | Cause::Unknown))
}

impl Cause {
    fn of(complaints: &str) -> Self {
        const SIGNS: [(Cause, &[&str]); 3] = [
            (Cause::Disk, &["No space left"]),
            (
                Cause::Mirror,
                &["unexpected size", "Hash Sum mismatch", "404", "not found"],
            ),
            (
                Cause::Network,
                &[
                    "resolv",
                    "onnect",
                    "unreachable",
                    "timed out",
                    "isn't valid",
                ],
            ),
        ];
        SIGNS
            .iter()
            .find(|(_, signs)| signs.iter().any(|sign| complaints.contains(sign)))
            .map_or(Self::Unknown, |(cause, _)| *cause)
    }

    fn next_step(self) -> &'static str {
        match self {
            Self::Disk => DISK_FULL,
            Self::Mirror => "the mirror seems to be in the middle of an update: try again later",
            Self::Network => {
                "check the network, and the mirror and the proxy in apt's configuration; \
                 what has arrived is kept"
            }
            Self::Unknown => "run the command again; what has arrived is kept",
        }
    }
}

impl std::error::Error for Failure {}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "apt-get says {:?}: {}",
            self.complaint,
            self.cause.next_step()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines() {
        let line = "dlstatus:2:88.7278:Retrieving file 2 of 2 (3s remaining)";
        assert_eq!(percentage(line), Some(88.7278));
        assert_eq!(percentage("dlstatus:1:100.0000:Done"), Some(100.0));
        assert_eq!(percentage("dlstatus:1"), None);
        assert_eq!(percentage("pmstatus:1:2:x"), None);
        assert_eq!(percentage("'http://mirror/x.deb' x.deb 1 SHA256:0"), None);
    }

    #[test]
    fn complaints_in_words() {
        let cause = |complaints| Failure::new(complaints).cause;
        let full = "E: Write error - write (28: No space left on device)\n";
        assert_eq!(cause(full), Cause::Disk);
        let update = "E: Failed to fetch http://m/P.xz  File has unexpected size (1 != 2).\n";
        assert_eq!(cause(update), Cause::Mirror);
        let network = "W: Failed to fetch http://m/InRelease  Temporary failure resolving 'm'\n\
                       E: Some index files failed to download.\n";
        assert_eq!(cause(network), Cause::Network);
        assert_eq!(
            Failure::new(network).to_string(),
            "apt-get says \"W: Failed to fetch http://m/InRelease  Temporary failure resolving \
             'm'\": check the network, and the mirror and the proxy in apt's configuration; \
             what has arrived is kept"
        );
    }
}

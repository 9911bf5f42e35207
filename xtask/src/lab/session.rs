//! A QEMU process from its start to its end.
//!
//! It is the only thing that a run makes outside of this process, and cannot outlive it: the
//! kernel kills it when the thread that started it ends, however that happens.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Usage;
use super::console::{Console, Report};

/// How long a machine may take.
pub(super) struct Limits {
    /// To COMMAND's begin.
    pub(super) boot: Duration,
    /// From there to its end.
    pub(super) command: Duration,
}

/// Runs QEMU until the machine reports. `begun` is called when COMMAND begins.
pub(super) fn run(
    qemu: &Command,
    console: &mut Console,
    limits: &Limits,
    begun: impl FnOnce(),
    sink: &mut dyn FnMut(&[u8]),
) -> Result<Report> {
    let mut begun = Some(begun);
    let mut process = Process::start(qemu)?;
    let mut deadline = Instant::now() + limits.boot;
    let mut silent = true;
    loop {
        match process.next(deadline) {
            Ok(bytes) => {
                silent = false;
                if let Some(report) = console.feed(&bytes, sink) {
                    process.stop()?;
                    return Ok(report);
                }
                if console.is_running() {
                    if let Some(begun) = begun.take() {
                        begun();
                        deadline = Instant::now() + limits.command;
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                process.stop()?;
                let (what, limit) = if console.is_running() {
                    ("COMMAND did not end", limits.command)
                } else {
                    ("the machine did not reach user space", limits.boot)
                };
                let what = panicked(console)
                    .unwrap_or_else(|| format!("{what} within {} s", limit.as_secs()));
                bail!("{what}{}", said(console, ""));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let (status, words) = process.wait()?;
                if silent && status.code().is_some_and(|code| code != 0) {
                    bail!(Usage(format!("QEMU does not start: {}", words.trim())));
                }
                let gone = if status.success() {
                    "the machine went off".to_owned()
                } else {
                    format!("QEMU ended ({status})")
                };
                let missed = if console.is_running() {
                    "COMMAND ended"
                } else {
                    "the machine reached user space"
                };
                let what = panicked(console).unwrap_or_else(|| format!("{gone} before {missed}"));
                bail!("{what}{}", said(console, &words));
            }
        }
    }
}

fn panicked(console: &Console) -> Option<String> {
    let reason = console.panic()?;
    Some(format!("the machine's kernel panicked: {reason}"))
}

/// What the machine said last, and what QEMU did.
fn said(console: &Console, words: &str) -> String {
    let lines = console.tail(25);
    let mut text = if lines.is_empty() {
        ": nothing came from its console".to_owned()
    } else {
        format!(": the end of its console:\n{lines}")
    };
    if !words.trim().is_empty() {
        text.push_str(&format!("\nand QEMU said:\n{}", words.trim()));
    }
    text
}

/// QEMU, in a process group of its own: the terminal's Ctrl-C is for this process.
struct Process {
    child: Child,
    /// The console's bytes. The channel ends with QEMU.
    output: Receiver<Vec<u8>>,
    words: Option<JoinHandle<String>>,
}

impl Process {
    fn start(qemu: &Command) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(qemu.get_program())
            .args(qemu.get_args())
            .envs(
                qemu.get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            )
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .context("start QEMU with setpriv (package util-linux)")?;
        let stdout = child.stdout.take().context("QEMU has no output")?;
        let mut stderr = child.stderr.take().context("QEMU has no error output")?;
        let (sender, output) = channel();
        thread::spawn(move || forward(stdout, &sender));
        let words = thread::spawn(move || {
            let mut words = Vec::new();
            // What came before an error is all there is.
            stderr.read_to_end(&mut words).ok();
            String::from_utf8_lossy(&words).into_owned()
        });
        Ok(Self {
            child,
            output,
            words: Some(words),
        })
    }

    /// More from the console, unless `deadline` has passed: also for a machine that never pauses.
    fn next(&self, deadline: Instant) -> Result<Vec<u8>, RecvTimeoutError> {
        let patience = deadline.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            return Err(RecvTimeoutError::Timeout);
        }
        self.output.recv_timeout(patience)
    }

    /// Waits for its end. Returns its status and what it said on its error output.
    fn wait(&mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait().context("wait for QEMU")?;
        let words = match self.words.take().map(JoinHandle::join) {
            Some(Ok(words)) => words,
            _ => return Err(anyhow!("read what QEMU said")),
        };
        Ok((status, words))
    }

    /// Ends it in good order, so that its disks are written; by force if that takes long.
    fn stop(mut self) -> Result<()> {
        const GRACE: Duration = Duration::from_secs(5);

        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if self.child.try_wait().context("wait for QEMU")?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        // It fails only where there is nobody left to kill.
        kill_process_group(Pid::from_child(&self.child), signal).ok();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its id may be another's once it has been waited for.
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
            self.child.wait().ok();
        }
    }
}

fn forward(mut from: impl Read, to: &Sender<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.send(buffer[..count].to_vec()).is_err() {
            break;
        }
    }
}

//! What a person sees while the machine works: steps with progress, and where the seconds went.
//!
//! Everything here goes to standard error; standard output belongs to the command that runs in
//! the lab. Steps may overlap, from several threads.

use std::fmt::Display;
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Waiting for the mirror.
    Download,
    /// Unpacking packages.
    Unpack,
    /// Compiling for a machine.
    Build,
    /// From the start of a machine to its user space.
    Boot,
}

impl Phase {
    pub(crate) const ALL: [Self; 4] = [Self::Download, Self::Unpack, Self::Build, Self::Boot];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Unpack => "unpack",
            Self::Build => "build",
            Self::Boot => "boot",
        }
    }
}

/// The one place that draws on the terminal.
pub(crate) struct Ui {
    bars: MultiProgress,
    interactive: bool,
    clocks: [Mutex<Clock>; Phase::ALL.len()],
}

impl Ui {
    pub(crate) fn new() -> Self {
        Self {
            bars: MultiProgress::new(),
            interactive: stderr().is_terminal(),
            clocks: Default::default(),
        }
    }

    /// One line that stays.
    pub(crate) fn note(&self, text: impl Display) {
        self.suspend(|| eprintln!("{text}"));
    }

    /// The line that a command ends with, on standard output: for people and for programs.
    #[allow(clippy::print_stdout)] // what a program reads belongs there
    pub(crate) fn last_line(&self, text: impl Display) {
        self.suspend(|| println!("{text}"));
    }

    /// Runs `draw` with the progress bars out of the way: for output that is not ours.
    pub(crate) fn suspend<R>(&self, draw: impl FnOnce() -> R) -> R {
        self.bars.suspend(draw)
    }

    /// A piece of work of unknown length. It is over when the step is dropped.
    pub(crate) fn step(&self, label: impl Into<String>) -> Step<'_> {
        self.start(label.into(), "{spinner} {prefix} {wide_msg:.dim}", None)
    }

    /// A download of `bytes` bytes.
    pub(crate) fn download(&self, label: impl Into<String>, bytes: u64) -> Step<'_> {
        let template = "{spinner} {prefix:28} [{bar:24}] \
                        {decimal_bytes:>10} of {decimal_total_bytes:10} {msg:.dim}";
        self.start(label.into(), template, Some(bytes))
    }

    fn start(&self, label: String, template: &str, length: Option<u64>) -> Step<'_> {
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = self.bars.add(
            ProgressBar::no_length()
                .with_style(style)
                .with_prefix(label.clone()),
        );
        if let Some(length) = length {
            bar.set_length(length);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        let started = Instant::now();
        Step {
            ui: self,
            bar,
            label,
            started,
            spoke: Mutex::new(started),
        }
    }

    /// Counts time as spent in `phase` until the guard is dropped.
    pub(crate) fn time(&self, phase: Phase) -> Timing<'_> {
        let clock = &self.clocks[phase as usize];
        lock(clock).start(Instant::now());
        Timing(clock)
    }

    /// The seconds during which each phase was under way. Phases overlap.
    pub(crate) fn seconds(&self) -> [(Phase, f64); Phase::ALL.len()] {
        Phase::ALL.map(|phase| {
            (
                phase,
                lock(&self.clocks[phase as usize]).total.as_secs_f64(),
            )
        })
    }
}

/// A piece of work under way.
pub(crate) struct Step<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    label: String,
    started: Instant,
    spoke: Mutex<Instant>,
}

impl Step<'_> {
    /// How often a long step says that it is alive where no bar can be drawn.
    const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

    /// What it is doing just now.
    pub(crate) fn message(&self, text: &str) {
        self.bar.set_message(text.to_owned());
        self.plainly(|| format!("{}: {text}", self.label));
    }

    /// How many bytes have arrived.
    pub(crate) fn position(&self, bytes: u64) {
        self.bar.set_position(bytes);
        self.plainly(|| {
            let total = self.bar.length().unwrap_or_default();
            format!(
                "{}: {} of {}",
                self.label,
                megabytes(bytes),
                megabytes(total)
            )
        });
    }

    /// It is over, and went well.
    pub(crate) fn done(self, summary: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        self.ui
            .note(format_args!("{}: {summary}, {seconds:.1} s", self.label));
    }

    fn plainly(&self, text: impl FnOnce() -> String) {
        if self.ui.interactive {
            return;
        }
        let mut spoke = lock(&self.spoke);
        if spoke.elapsed() >= Self::PLAIN_INTERVAL {
            *spoke = Instant::now();
            self.ui.note(text());
        }
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A size as people read it.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10)
}

/// The time during which at least one of several overlapping activities was under way.
#[derive(Default)]
struct Clock {
    active: usize,
    since: Option<Instant>,
    total: Duration,
}

impl Clock {
    fn start(&mut self, now: Instant) {
        self.active += 1;
        self.since.get_or_insert(now);
    }

    fn stop(&mut self, now: Instant) {
        self.active -= 1;
        if self.active == 0 {
            if let Some(since) = self.since.take() {
                self.total += now - since;
            }
        }
    }
}

/// Counts time until it is dropped.
pub(crate) struct Timing<'a>(&'a Mutex<Clock>);

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        lock(self.0).stop(Instant::now());
    }
}

/// What these locks protect stays meaningful when a holder panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_work_counts_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut clock = Clock::default();
        clock.start(at(0));
        clock.start(at(2));
        clock.stop(at(3));
        clock.stop(at(5));
        clock.start(at(10));
        clock.stop(at(11));
        assert_eq!(clock.total, Duration::from_secs(6));
    }

    #[test]
    fn sizes() {
        assert_eq!(megabytes(59_149_000), "59.1 MB");
        assert_eq!(megabytes(1_452), "0.0 MB");
    }
}

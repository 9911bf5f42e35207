//! What passed, what failed, what was skipped: counted, and said as it happens.

use std::fmt::Display;
use std::time::Instant;

use crate::ui::Ui;

/// What became of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    /// With what there is to say about it.
    Failed(String),
    /// With the reason.
    Skipped(String),
}

impl Outcome {
    fn of(result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => Self::Passed,
            Err(error) => Self::Failed(format!("{error:#}")),
        }
    }

    /// Of two outcomes of one case on two devices, the heavier counts.
    fn weight(&self) -> u8 {
        match self {
            Self::Skipped(_) => 0,
            Self::Passed => 1,
            Self::Failed(_) => 2,
        }
    }
}

/// The checks of one run.
pub(crate) struct Tally<'a> {
    pub(crate) ui: &'a Ui,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<(String, String)>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(ui: &'a Ui) -> Self {
        Self {
            ui,
            passed: 0,
            failed: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Runs a check and records it.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce(&Ui) -> anyhow::Result<()>) {
        let started = Instant::now();
        let step = self.ui.step(name);
        let result = check(self.ui);
        drop(step);
        self.record_timed(name, Outcome::of(result), Some(started));
    }

    /// Records what was checked already, beside others.
    pub(crate) fn record_result(&mut self, name: &str, result: anyhow::Result<()>) {
        self.record(name, Outcome::of(result));
    }

    /// Records one check.
    pub(crate) fn record(&mut self, name: &str, outcome: Outcome) {
        self.record_timed(name, outcome, None);
    }

    fn record_timed(&mut self, name: &str, outcome: Outcome, started: Option<Instant>) {
        let time = started.map_or(String::new(), |started| {
            format!("  {:.1} s", started.elapsed().as_secs_f64())
        });
        match outcome {
            Outcome::Passed => {
                self.passed += 1;
                self.ui.note(format_args!("  ok       {name}{time}"));
            }
            Outcome::Failed(why) => {
                self.ui.note(format_args!("  FAILED   {name}{time}: {why}"));
                self.failed.push(name.to_owned());
            }
            Outcome::Skipped(why) => {
                self.ui.note(format_args!("  skipped  {name}: {why}"));
                self.skipped.push((name.to_owned(), why));
            }
        }
    }

    /// Records every test of a Rust test runner's output, under `prefix`; fails the run where there is
    /// none, or where the runner failed without saying which.
    pub(crate) fn record_tests(&mut self, prefix: &str, output: &str, success: bool) {
        let tests = output.lines().filter_map(parse_test).collect();
        self.record_parsed(prefix, tests, output, success);
    }

    /// The same for a runner that runs its cases on several devices: a case is skipped only if no device
    /// could show it.
    pub(crate) fn record_claims(&mut self, prefix: &str, output: &str, success: bool) {
        let mut claims: Vec<(String, Outcome)> = Vec::new();
        for (name, outcome) in output.lines().filter_map(parse_test) {
            match claims.iter_mut().find(|(known, _)| *known == name) {
                None => claims.push((name, outcome)),
                Some((_, known)) => {
                    if outcome.weight() > known.weight() {
                        *known = outcome;
                    }
                }
            }
        }
        self.record_parsed(prefix, claims, output, success);
    }

    fn record_parsed(
        &mut self,
        prefix: &str,
        tests: Vec<(String, Outcome)>,
        output: &str,
        success: bool,
    ) {
        let all_passed = tests
            .iter()
            .all(|(_, outcome)| !matches!(outcome, Outcome::Failed(_)));
        if !success {
            self.ui.note(output.trim_end());
        }
        if tests.is_empty() {
            self.record(
                prefix,
                Outcome::Failed(format!("no test was run: {}", output.trim())),
            );
        } else if all_passed != success {
            let why = "the runner's own status and that of its tests do not agree";
            self.record(prefix, Outcome::Failed(why.to_owned()));
        }
        for (name, outcome) in tests {
            self.record(&format!("{prefix}: {name}"), outcome);
        }
    }

    /// Takes over what another one has recorded.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// Whether nothing failed.
    pub(crate) fn is_green(&self) -> bool {
        self.failed.is_empty()
    }

    /// Repeats what needs a second look; the last line counts.
    pub(crate) fn close(self) -> impl Display {
        for (name, why) in &self.skipped {
            self.ui.note(format_args!("skipped: {name}: {why}"));
        }
        for name in &self.failed {
            self.ui.note(format_args!("failed: {name}"));
        }
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }
}

/// `test NAME ... ok`, as Rust's test runners print it. The reason of an ignored test stands behind a comma
/// or in brackets.
fn parse_test(line: &str) -> Option<(String, Outcome)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let outcome = match result {
        "ok" => Outcome::Passed,
        "FAILED" => Outcome::Failed("see above".to_owned()),
        _ => {
            let reason = result.strip_prefix("ignored")?;
            Outcome::Skipped(reason.trim_matches([',', ' ', '(', ')']).to_owned())
        }
    };
    Some((name.trim_end().to_owned(), outcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_test_runners() {
        let parsed = parse_test;
        assert_eq!(
            parsed("test a::b ... ok"),
            Some(("a::b".into(), Outcome::Passed))
        );
        assert_eq!(
            parsed("test src/lib.rs - a (line 3) ... FAILED"),
            Some((
                "src/lib.rs - a (line 3)".into(),
                Outcome::Failed("see above".into())
            ))
        );
        assert_eq!(
            parsed("test a ... ignored, no MSI-X"),
            Some(("a".into(), Outcome::Skipped("no MSI-X".into())))
        );
        assert_eq!(
            parsed("test a   ... ignored (no MSI-X)"),
            Some(("a".into(), Outcome::Skipped("no MSI-X".into())))
        );
        assert_eq!(parsed("test result: ok. 3 passed"), None);
        assert_eq!(parsed("running 3 tests"), None);
    }

    #[test]
    fn a_claim_is_skipped_only_if_no_device_shows_it() {
        let ui = Ui::new();
        let mut tally = Tally::new(&ui);
        let output = "test a ... ok\ntest b ... ignored (no)\ntest c ... ok\n\
            test a ... ignored (no)\ntest b ... ignored (no)\ntest c ... FAILED\n";
        tally.record_claims("x", output, false);
        assert_eq!(tally.close().to_string(), "1 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_run_without_tests_and_a_silent_failure_are_failures() {
        let ui = Ui::new();
        for (output, success, expected) in [
            ("running 0 tests", true, "0 passed, 1 failed, 0 skipped"),
            ("test a ... ok", false, "1 passed, 1 failed, 0 skipped"),
            ("test a ... FAILED", false, "0 passed, 1 failed, 0 skipped"),
            (
                "test a ... ok\ntest b ... ignored, why",
                true,
                "1 passed, 0 failed, 1 skipped",
            ),
        ] {
            let mut tally = Tally::new(&ui);
            tally.record_tests("x", output, success);
            assert_eq!(tally.close().to_string(), expected, "{output}");
        }
    }
}

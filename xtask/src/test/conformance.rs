//! Every clause of the page of kernel behaviours, on each machine's kernel and on its simulation.

mod hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::at_once::at_once;
use super::machines::{boot, script};
use super::tally::Tally;
use crate::ui::Ui;
use crate::workspace;
use hosts::{HOSTS, Host};

/// Of so many clauses, one may be asked of the simulation alone.
const SIMULATED_SHARE: usize = 8;

/// Longer than all clauses take on a slow machine.
const LIMIT: Duration = Duration::from_secs(900);

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let mut best = BTreeMap::new();
    let mut rows = Vec::new();
    for (host, answers) in HOSTS.iter().zip(at_once(HOSTS, |host| host.ask(tally.ui))) {
        let name = host.name();
        let result = answers.and_then(|Answers { clauses, differ }| {
            rows.push(row(&name, &clauses));
            for (clause, outcome) in clauses {
                let best: &mut Outcome = best.entry(clause).or_default();
                *best = (*best).max(outcome);
            }
            ensure!(differ.is_empty(), "\n{}", differ.join("\n"));
            Ok(())
        });
        tally.record_result(&format!("conformance on {name}"), result);
    }
    tally.check("lies of the simulation are found", lies_are_found);
    tally.ui.note(format_args!(
        "{:<24} behaviours  run on both  agree  differ  simulation only\n{}",
        "",
        rows.join("\n")
    ));
    tally.check(
        "each clause is asked of a real kernel, or simulated for a reason",
        |ui| {
            let having = |wanted| best.iter().filter(move |(_, outcome)| **outcome == wanted);
            let nowhere: Vec<_> = having(Outcome::NotHere)
                .map(|(clause, _)| clause.as_str())
                .collect();
            ensure!(nowhere.is_empty(), "asked nowhere:\n{}", nowhere.join("\n"));
            let (all, simulated) = (best.len(), having(Outcome::Simulated).count());
            ui.note(format_args!(
                "{all} clauses, {simulated} of them on the simulation alone"
            ));
            ensure!(
                simulated * SIMULATED_SHARE <= all,
                "that is more than one in {SIMULATED_SHARE}"
            );
            Ok(())
        },
    );
    Ok(())
}

/// A wrong simulation is seen: what says so needs a release build.
fn lies_are_found(ui: &Ui) -> Result<()> {
    let mut command = workspace::cargo();
    command.args([
        "test",
        "--locked",
        "--release",
        "-q",
        "-p",
        "vfio-tests",
        "--test",
        "lies",
    ]);
    let (success, text) = workspace::output(&mut command)?;
    ensure!(success, "\n{text}");
    ui.note(text.lines().last().unwrap_or_default());
    Ok(())
}

/// What the kernel of a host has answered.
struct Answers {
    clauses: Vec<(String, Outcome)>,
    /// Those that differ, with what was said.
    differ: Vec<String>,
}

impl Host {
    /// What tells it from the others.
    fn name(&self) -> String {
        let parts = [self.machine, self.append, self.filter];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        parts.join(", ")
    }

    fn ask(&self, ui: &Ui) -> Result<Answers> {
        let text = format!(
            "{} && hardware-tests --conformance --as-machine {} '{}'",
            self.prepare, self.machine, self.filter
        );
        let mut request = script(self.machine, self.devices, &text)?;
        request.qemu_args = self.qemu_args.iter().map(ToString::to_string).collect();
        request.append = (!self.append.is_empty()).then(|| self.append.to_owned());
        request.timeout = LIMIT;
        let (status, output) = boot(&request, ui)?;
        let clauses: Vec<_> = output.lines().filter_map(parse).collect();
        let differ = differing(&output);
        // A word of somebody else in the middle of a line must not hide one.
        ensure!(
            (0..=1).contains(&status) && (status == 0) == differ.is_empty(),
            "status {status}:\n{output}"
        );
        let said = |word: &str, wanted| {
            let count = clauses.iter().filter(|(_, it)| *it == wanted).count();
            let line =
                |line: &str| Some(line.trim_end().strip_prefix(word)?.trim() == count.to_string());
            ensure!(
                output.lines().find_map(line) == Some(true),
                "{count} clauses {word}, and not as many are said:\n{output}"
            );
            Ok(())
        };
        said("agree", Outcome::Agree)?;
        said("not on this host", Outcome::NotHere)?;
        Ok(Answers { clauses, differ })
    }
}

/// A clause, and what came of it.
fn parse(line: &str) -> Option<(String, Outcome)> {
    let (clause, word) = line.trim_end().rsplit_once(" ... ")?;
    let outcome = match word {
        "agree" => Outcome::Agree,
        "simulated" => Outcome::Simulated,
        "DIFFER" => Outcome::Differ,
        "not here" => Outcome::NotHere,
        _ => return None,
    };
    Some((clause.to_owned(), outcome))
}

/// The clauses that differ, each with the lines behind it up to the next one.
fn differing(output: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in output.lines() {
        match parse(line) {
            Some((_, outcome)) => {
                is_open = outcome == Outcome::Differ;
                if is_open {
                    found.push(line.to_owned());
                }
            }
            None if is_open && !line.is_empty() => {
                if let Some(last) = found.last_mut() {
                    last.push_str("\n  ");
                    last.push_str(line);
                }
            }
            None => is_open = false,
        }
    }
    found
}

fn row(name: &str, clauses: &[(String, Outcome)]) -> String {
    let count = |wanted| clauses.iter().filter(|(_, it)| *it == wanted).count();
    let asked = clauses
        .iter()
        .filter(|(_, outcome)| *outcome != Outcome::NotHere);
    let behaviours: BTreeSet<_> = asked
        .flat_map(|(clause, _)| clause.split(' ').take_while(|word| is_number(word)))
        .collect();
    let (agree, differ) = (count(Outcome::Agree), count(Outcome::Differ));
    format!(
        "{name:<24} {:>10}  {:>11}  {agree:>5}  {differ:>6}  {:>15}",
        behaviours.len(),
        agree + differ,
        count(Outcome::Simulated)
    )
}

/// Whether a word is the name of a behaviour: `F85b`.
fn is_number(word: &str) -> bool {
    let mut letters = word.chars();
    letters
        .next()
        .is_some_and(|first| first.is_ascii_uppercase())
        && letters.next().is_some_and(|second| second.is_ascii_digit())
}

/// What came of a clause, the least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    #[default]
    NotHere,
    Simulated,
    Differ,
    Agree,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "A1 one ... agree\n  that took 3.0 s\nA2 F85b two ... DIFFER\nreal: x\nsimulated: y\n\
                          B3 three ... not here\nB4 four ... simulated\n\nagree 1\n";

    #[test]
    fn what_differs_is_told_with_what_was_said() {
        assert_eq!(
            differing(OUTPUT),
            ["A2 F85b two ... DIFFER\n  real: x\n  simulated: y"]
        );
    }

    #[test]
    fn a_row_counts() {
        let clauses: Vec<_> = OUTPUT.lines().filter_map(parse).collect();
        let row = row("x", &clauses);
        let numbers: Vec<_> = row.split_whitespace().collect();
        // A1, A2, F85b, B4; one that agrees, one that differs, one simulated.
        assert_eq!(numbers, ["x", "4", "2", "1", "1", "1"]);
    }
}

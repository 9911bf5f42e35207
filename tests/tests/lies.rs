//! A wrong simulation is seen: each lie that can be told is found by a clause or by random calls.
//!
//! An argument is a part of the names of lies: only those are told.

use std::process::ExitCode;

use vfio_tests::conformance::{Found, Lies, machines};

/// Of a hundred lies that can be told, so many must be found.
const GOAL: usize = 95;

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|it| !it.starts_with('-'));
    let lies = match Lies::tell(&machines(), filter.as_deref().unwrap_or_default()) {
        Ok(lies) => lies,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let count = |found| lies.of(found).count();
    let missed = count(Found::Missed);
    let found = count(Found::ByClause) + count(Found::ByRandomCalls);
    for (heading, found) in [("missed", Found::Missed), ("never told", Found::NeverTold)] {
        for lie in lies.of(found) {
            eprintln!("{heading}: {lie}");
        }
    }
    eprintln!(
        "{found} lies found ({} by clauses), {missed} missed, {} never told",
        count(Found::ByClause),
        count(Found::NeverTold)
    );
    match found * 100 >= (found + missed) * GOAL {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

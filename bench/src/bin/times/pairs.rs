//! Two that are timed in turns, so that what else the machine does, and what the one leaves behind, falls on both.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;

/// The times of ours and of the peer, so many, after a pair that is not counted: it brings in what the first time alone
/// costs. Which goes first changes with each pair.
pub fn measure(
    count: usize,
    mut ours: impl FnMut() -> Result<Duration>,
    mut peer: impl FnMut() -> Result<Duration>,
) -> Result<Vec<(Duration, Duration)>> {
    let mut pairs = Vec::new();
    for pair in 0..=count {
        pairs.push(if pair % 2 == 0 {
            let first = ours()?;
            (first, peer()?)
        } else {
            let first = peer()?;
            (ours()?, first)
        });
    }
    Ok(pairs.split_off(1))
}

/// How long `work` takes, and what it answers.
pub fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let answer = black_box(work());
    (start.elapsed(), answer)
}

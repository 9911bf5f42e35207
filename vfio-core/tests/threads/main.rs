//! Threads that share a domain, or a group: each test runs under many orders of events, which a scheduler chooses.
//!
//! Only with `RUSTFLAGS="--cfg shuttle"`: `cargo xtask test --suite threads`.
#![cfg(shuttle)]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot be set up must fail

mod domain;
mod groups;
mod watch;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// So many orders of events are tried in each of two ways.
const ORDERS: usize = 1_000;

/// Runs `test` again and again: events in any order; and in few pieces, which finds what needs a long delay.
fn check(test: fn()) {
    run(RandomScheduler::new(ORDERS), test);
    run(PctScheduler::new(3, ORDERS), test);
}

fn run(scheduler: impl Scheduler + 'static, test: fn()) {
    let mut config = Config::new();
    config.stack_size = 1 << 20; // the simulated kernel is no small thing without optimisation
    Runner::new(scheduler, config).run(test);
}

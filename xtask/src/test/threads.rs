//! What threads share, under many orders of events.
//!
//! The locks of `vfio-core` are then those of the scheduler `shuttle`, which runs one thread at a time and chooses
//! which, again and again. It sees whatever goes wrong between one call of a lock and the next; data races, which
//! ThreadSanitizer would see, are kept out by the compiler wherever there is no `unsafe`.

use anyhow::Result;

use super::tally::{Outcome, Tally};
use crate::workspace::{cargo, output, target};

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let step = tally.ui.step("threads");
    let mut command = cargo();
    command
        .args(["test", "--locked", "--no-fail-fast"])
        .args(["--package", "vfio-core", "--test", "threads"])
        // All that is built is built otherwise.
        .arg("--target-dir")
        .arg(target()?.join("shuttle"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "--cfg shuttle");
    let (success, text) = output(&mut command)?;
    drop(step);
    tally.record_tests("threads", &text, success);
    let why = "it needs a standard library that is built for it, which no stable toolchain has";
    tally.record("ThreadSanitizer", Outcome::Skipped(why.to_owned()));
    Ok(())
}

//! Waiting for a device, but not for ever.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Longer than any device of an emulated machine takes for anything.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Asks until there is an answer, but not longer than `most`; `None` if there was none.
pub(crate) fn poll<T>(
    most: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + most;
    loop {
        // The time first: an answer that came while this thread was not running counts.
        let late = Instant::now() >= deadline;
        let answer = ask()?;
        if answer.is_some() || late {
            return Ok(answer);
        }
        std::thread::yield_now();
    }
}

//! What the kernel refuses only for a moment.

use std::thread::sleep;
use std::time::Duration;

/// How often a call is made before its answer is taken for the truth.
pub(crate) const TRIES: u32 = 6;

/// The first pause; each is twice as long as the one before, 62 ms in all.
const PAUSE: Duration = Duration::from_millis(2);

/// Makes a call again, a little later, while it fails with what `passes`.
pub(crate) fn retry<T, E>(
    mut call: impl FnMut() -> Result<T, E>,
    passes: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match call() {
            Err(error) if passes(&error) => sleep(pause),
            answer => return answer,
        }
        pause *= 2;
    }
    call()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_waited_for_and_what_does_not_is_not() {
        let mut answers = vec![Ok(7), Err("later"), Err("later")];
        let mut next = || answers.pop().unwrap();
        assert_eq!(retry(&mut next, |error| *error == "later"), Ok(7));

        let mut calls = 0;
        let mut fail = || {
            calls += 1;
            Err::<(), _>("no")
        };
        assert_eq!(retry(&mut fail, |error| *error == "later"), Err("no"));
        assert_eq!(retry(&mut fail, |_| true), Err("no"));
        assert_eq!(calls, 1 + TRIES);
    }
}

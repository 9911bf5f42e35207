//! Several machines at once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};

/// So many machines run at once: QEMU emulates a processor with one thread.
const MACHINES: usize = 2;

/// Does something with each, and answers what came of it, in their order.
pub(super) fn at_once<T: Sync, A: Send>(
    all: &[T],
    ask: impl Fn(&T) -> Result<A> + Sync,
) -> Vec<Result<A>> {
    let waiting = Mutex::new(all.iter().enumerate());
    let next = || {
        waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };
    let answers = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..MACHINES {
            scope.spawn(|| {
                while let Some((n, one)) = next() {
                    let answer = ask(one);
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    answers.insert(n, answer);
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
    let take = |n| {
        answers
            .remove(&n)
            .unwrap_or_else(|| Err(anyhow!("nobody asked")))
    };
    (0..all.len()).map(take).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order() {
        let answers = at_once(&[3, 1, 2], |n| match n {
            1 => Err(anyhow!("one")),
            n => Ok(n * 10),
        });
        let answers: Vec<_> = answers.into_iter().map(Result::ok).collect();
        assert_eq!(answers, [Some(30), None, Some(20)]);
    }
}

//! Several threads at once.

use std::sync::Barrier;
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use vfio_core::ErrorKind;

use super::mappings::Room;
use super::memory::Memory;
use super::{Outcome, Subject};

const THREADS: u64 = 4;
const ROUNDS: u64 = 50;

/// Each thread has addresses of its own, and memory of its own.
pub(super) fn disjoint(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = &Room::new(domain, 2 * THREADS)?;
    let start = &Barrier::new(usize::try_from(THREADS)?);
    let work = |n: u64| -> Result<u64> {
        let memory = Memory::new(&subject.vfio, 2 * room.step)?;
        start.wait();
        let mut bytes = 0;
        for _ in 0..ROUNDS {
            let mine = room.steps(2 * n, 2)?;
            memory.map(domain, mine)?;
            bytes += domain.unmap(mine)?;
        }
        Ok(bytes)
    };
    let all: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || work(n))).collect();
        threads
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect()
    });
    for bytes in all {
        let Ok(bytes) = bytes else {
            bail!("a thread panicked");
        };
        ensure!(
            bytes? == ROUNDS * 2 * room.step,
            "not every byte was unmapped"
        );
    }
    ensure!(domain.unmap(room.all())? == 0, "something stayed mapped");
    Ok(Outcome::Passed)
}

/// They want the same addresses: in each round one of them gets them.
pub(super) fn one_winner(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain();
    let room = &Room::new(domain, 3)?;
    let memory = Memory::new(&subject.vfio, 3 * room.step)?;
    let barrier = &Barrier::new(usize::try_from(THREADS)?);
    for _ in 0..ROUNDS {
        let won: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|n| {
                    scope.spawn(move || {
                        // Ranges that differ, and that all share the step in the middle.
                        let mine = room.steps(n % 2, 2).context("a range");
                        barrier.wait();
                        mine.map(|mine| memory.map(domain, mine))
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(thread::ScopedJoinHandle::join)
                .collect()
        });
        let mut winners = 0;
        for one in won {
            let Ok(one) = one else {
                bail!("a thread panicked");
            };
            match one? {
                Ok(()) => winners += 1,
                Err(error) if error.kind() == ErrorKind::Overlap => {}
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(winners == 1, "{winners} threads got the same addresses");
        ensure!(
            domain.unmap(room.all())? == 2 * room.step,
            "one mapping is not one mapping"
        );
    }
    Ok(Outcome::Passed)
}

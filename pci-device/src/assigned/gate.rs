//! Whether a BAR answers, and who is in it.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::yield_now;

/// In a gate's state: accesses may come. Below it is how many are inside.
const OPEN: u32 = 1 << 31;

/// How often the state is looked at before the processor is given to others.
const LOOKS: u32 = 64;

/// The gate of a BAR: accesses from any thread pass it while it is open, without waiting. Whoever closes it waits until
/// those inside have left.
#[derive(Debug, Default)]
pub(super) struct Gate(AtomicU32);

/// An access that is inside.
pub(super) struct Pass<'a>(&'a Gate);

impl Gate {
    /// Lets an access in; `None` while the gate is closed.
    #[inline]
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        if !self.is_open() {
            return None; // so that whoever waits sees no newcomers
        }
        let state = self.0.fetch_add(1, Ordering::SeqCst);
        let pass = Pass(self);
        (state & OPEN != 0).then_some(pass) // what was not let in leaves with the drop
    }

    /// Whether accesses may come.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.0.load(Ordering::Relaxed) & OPEN != 0
    }

    /// Lets accesses in from now on.
    pub(super) fn open(&self) {
        self.0.fetch_or(OPEN, Ordering::SeqCst);
    }

    /// Lets none in any more, and waits until nobody is inside.
    ///
    /// Whoever is inside must not call this: it would wait for itself.
    pub(super) fn close(&self) {
        self.0.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0;
        while self.0.load(Ordering::SeqCst) != 0 {
            looks += 1;
            match looks % LOOKS {
                0 => yield_now(), // an access takes as long as the device does
                _ => spin_loop(),
            }
        }
    }
}

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread::scope;

    use super::*;

    #[test]
    fn nobody_is_let_in_while_it_is_closed() {
        let gate = Gate::default();
        assert!(gate.enter().is_none());
        gate.open();
        drop(gate.enter().unwrap());
        gate.close();
        assert!(gate.enter().is_none());
        assert_eq!(gate.0.load(Ordering::SeqCst), 0);
    }

    /// Whoever is inside stays long enough for one that does not wait to be seen: every round, not by luck.
    #[test]
    fn whoever_closes_it_waits_for_those_inside() {
        const ROUNDS: u32 = 50;
        const STAY: u32 = 200; // looks, each of which gives the processor to the one that closes
        for _ in 0..ROUNDS {
            let (gate, left) = (Gate::default(), AtomicBool::new(false));
            gate.open();
            let pass = gate.enter().unwrap();
            scope(|threads| {
                let closing = threads.spawn(|| {
                    gate.close();
                    left.load(Ordering::SeqCst)
                });
                while gate.is_open() {
                    yield_now();
                }
                for _ in 0..STAY {
                    assert!(gate.enter().is_none());
                    yield_now();
                }
                left.store(true, Ordering::SeqCst);
                drop(pass);
                assert!(
                    closing.join().unwrap(),
                    "it was closed while somebody was inside"
                );
            });
        }
    }

    #[test]
    fn what_was_closed_is_not_used_by_any_thread() {
        const ROUNDS: u32 = 100;
        let (gate, entered, in_use) = (Gate::default(), AtomicU32::new(0), AtomicU32::new(0));
        let stop = AtomicBool::new(false);
        scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        if let Some(pass) = gate.enter() {
                            in_use.fetch_add(1, Ordering::SeqCst);
                            entered.fetch_add(1, Ordering::SeqCst);
                            in_use.fetch_sub(1, Ordering::SeqCst);
                            drop(pass);
                        } else {
                            yield_now();
                        }
                    }
                });
            }
            let mut inside = 0;
            for _ in 0..ROUNDS {
                let before = entered.load(Ordering::SeqCst);
                gate.open();
                while entered.load(Ordering::SeqCst) == before {
                    yield_now(); // a round in which nobody came would show nothing
                }
                gate.close();
                inside += in_use.load(Ordering::SeqCst);
            }
            stop.store(true, Ordering::SeqCst);
            assert_eq!(inside, 0);
        });
    }
}

//! The lock of config space, and what is left to do when it is given back.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use super::{Inner, State};

impl Inner {
    /// Locks the state. Whoever gives it back places anew what has to be: nobody else may have got the lock meanwhile.
    pub(super) fn lock(&self) -> impl DerefMut<Target = State> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Locked {
            state,
            _settles: Settles(self),
        }
    }

    /// Something has changed that what is placed depends on. Whoever has the lock places it anew, or we do: one who is in a BAR,
    /// or is called by another device that is being placed, must not wait for those who may wait for them.
    #[cold]
    pub(super) fn unsettle(&self) {
        self.is_unsettled.store(true, Ordering::SeqCst);
        self.settle_again();
    }

    fn settle_again(&self) {
        while self.is_unsettled.load(Ordering::SeqCst) {
            let Ok(mut state) = self.state.try_lock() else {
                return;
            };
            self.is_unsettled.store(false, Ordering::SeqCst);
            self.settle(&mut state, |_| {});
        }
    }
}

/// The state, while it is locked. Its fields are dropped in this order.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    _settles: Settles<'a>,
}

struct Settles<'a>(&'a Inner);

impl Drop for Settles<'_> {
    fn drop(&mut self) {
        self.0.settle_again();
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

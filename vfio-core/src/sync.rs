//! The locks that threads share state under: those of the standard library; with `--cfg shuttle` those of a scheduler
//! that tries many orders of events, for the suite `threads` (`vfio-core/tests/threads`).

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};

#[cfg(shuttle)]
pub(crate) use {
    shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, Weak},
    std::sync::PoisonError,
};

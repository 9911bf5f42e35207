//! How often was what called?

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::call::{Call, Name, Outcome};
use super::watched::Watch;

/// Counts the calls that are made, whatever they answer.
#[derive(Debug, Default)]
pub struct Counting(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_name: BTreeMap<Name, u64>,
    ioctls: u64,
}

impl Counting {
    /// How often each call was made since the last [`take`](Self::take).
    pub fn counts(&self) -> BTreeMap<Name, u64> {
        self.lock().by_name.clone()
    }

    /// How often calls of that name were.
    pub fn of(&self, name: &str) -> u64 {
        self.lock().by_name.get(name).copied().unwrap_or(0)
    }

    /// How many ioctls there were, whatever they are called.
    pub fn ioctls(&self) -> u64 {
        self.lock().ioctls
    }

    /// Answers the counts and starts again.
    pub fn take(&self) -> BTreeMap<Name, u64> {
        std::mem::take(&mut *self.lock()).by_name
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Counting {
    fn after(&self, call: &Call<'_>, _: &Outcome<'_>) {
        let mut counts = self.lock();
        counts.ioctls += u64::from(call.is_ioctl());
        *counts.by_name.entry(call.name()).or_default() += 1;
    }
}

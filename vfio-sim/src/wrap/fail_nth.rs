//! One call fails, and perhaps every later one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::Answer;

use super::call::{Call, Name, Request};
use super::watched::Watch;

/// Lets one call fail, so that a test can let each call of a scenario fail in turn:
///
/// ```text
/// for n in 0.. {
///     failing.arm(n, Errno::IO.into(), Mode::Once);
///     scenario(&kernel);
///     if failing.failed().is_none() {
///         break; // the scenario had no more than n calls
///     }
/// }
/// ```
///
/// Calls that fail are not made. Until it is [armed](Self::arm) it only counts.
#[derive(Debug, Default)]
pub struct FailNth {
    counted: Counted,
    state: Mutex<State>,
}

/// Whether one call fails or all from there on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only the n-th.
    Once,
    /// The n-th and each one after it.
    AndAllLater,
}

/// Which calls are counted, and so can fail; ioctls are always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Opening nodes.
    pub open: bool,
    /// Reading and writing regions.
    pub access: bool,
    /// Mapping memory, regions, keeping memory from children, making it present and asking whether it is.
    pub mmap: bool,
    /// Giving mappings back.
    pub munmap: bool,
    /// Making eventfds.
    pub eventfd: bool,
    /// Reading files, directories and links of the host.
    pub host: bool,
}

impl Counted {
    /// Every call.
    pub const ALL: Self = Self {
        open: true,
        access: true,
        mmap: true,
        munmap: true,
        eventfd: true,
        host: true,
    };

    fn counts(self, request: &Request<'_>) -> bool {
        match request {
            Request::Ioctl { .. } | Request::IoctlFd { .. } => true,
            Request::Open { .. } => self.open,
            Request::Pread { .. } | Request::Pwrite { .. } => self.access,
            Request::Mmap { .. }
            | Request::MapRegion { .. }
            | Request::KeepFromChildren { .. }
            | Request::Populate { .. }
            | Request::Resident { .. } => self.mmap,
            Request::Munmap { .. } => self.munmap,
            Request::Eventfd => self.eventfd,
            Request::Read { .. }
            | Request::List { .. }
            | Request::ReadLink { .. }
            | Request::Node { .. }
            | Request::Write { .. } => self.host,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    armed: Option<Armed>,
    seen: Vec<Name>,
    failed: Option<Name>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    n: usize,
    answer: Answer,
    mode: Mode,
}

impl FailNth {
    /// Counts those calls; the [default](Self::default) is ioctls alone.
    pub fn counting(counted: Counted) -> Self {
        Self {
            counted,
            state: Mutex::default(),
        }
    }

    /// From now on, the call that `n` others come before answers that; counting starts again. An answer can be a
    /// positive number, as some calls of VFIO fail with (P1 to P4): see [`Watch::before`].
    pub fn arm(&self, n: usize, answer: Answer, mode: Mode) {
        *self.lock() = State {
            armed: Some(Armed { n, answer, mode }),
            ..State::default()
        };
    }

    /// From now on nothing fails; counting starts again.
    pub fn disarm(&self) {
        *self.lock() = State::default();
    }

    /// The calls that were counted since it was armed or disarmed, by name, in order, also those that failed.
    pub fn seen(&self) -> Vec<Name> {
        self.lock().seen.clone()
    }

    /// The first call that was made to fail since it was armed.
    pub fn failed(&self) -> Option<Name> {
        self.lock().failed.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for FailNth {
    fn before(&self, call: &Call<'_>) -> Result<(), Answer> {
        if !self.counted.counts(&call.request) {
            return Ok(());
        }
        let state = &mut *self.lock();
        let index = state.seen.len();
        let name = call.name();
        state.seen.push(name.clone());
        let due = state.armed.filter(|armed| match armed.mode {
            Mode::Once => armed.n == index,
            Mode::AndAllLater => armed.n <= index,
        });
        match due {
            None => Ok(()),
            Some(armed) => {
                state.failed.get_or_insert(name);
                Err(armed.answer)
            }
        }
    }
}

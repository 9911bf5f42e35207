//! The groups that are open: each can be opened once, and its devices share it.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use crate::error::Result;

use super::Membership;

/// The groups that are open, or being closed at this moment.
#[derive(Debug, Default)]
pub(crate) struct OpenGroups {
    by_id: Mutex<BTreeMap<u32, Weak<SharedGroup>>>,
    closed: Condvar,
}

impl OpenGroups {
    /// The group, which `open` opens if no device of it is open. Waits for one that is being closed: the
    /// kernel would say that it is busy.
    pub(crate) fn share(
        self: &Arc<Self>,
        id: u32,
        open: impl FnOnce() -> Result<Membership>,
    ) -> Result<Arc<SharedGroup>> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(known) = by_id.get(&id) {
            if let Some(open) = known.upgrade() {
                return Ok(open);
            }
            by_id = self
                .closed
                .wait(by_id)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let shared = Arc::new(SharedGroup {
            membership: open()?,
            _entry: Entry {
                id,
                groups: Arc::clone(self),
            },
        });
        by_id.insert(id, Arc::downgrade(&shared));
        Ok(shared)
    }
}

/// A group in its container, held by each open device of it. With the last it is closed.
#[derive(Debug)]
pub(crate) struct SharedGroup {
    membership: Membership, // closed before the entry goes, and with it the bar to opening it anew
    _entry: Entry,
}

impl SharedGroup {
    /// The group in its container.
    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }
}

/// A place among the open groups; given up when it is dropped.
#[derive(Debug)]
struct Entry {
    id: u32,
    groups: Arc<OpenGroups>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut by_id = self
            .groups
            .by_id
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        by_id.remove(&self.id);
        self.groups.closed.notify_all();
    }
}

//! The groups that are open: each can be opened once, and its devices share it.

use std::collections::BTreeMap;

use crate::address_space::AddressSpaceId;
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Attachment;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::Membership;

/// The groups that are open, or being opened or closed at this moment: of these nobody holds anything yet, or
/// anymore.
#[derive(Debug, Default)]
pub(crate) struct OpenGroups {
    by_id: Mutex<BTreeMap<u32, Weak<SharedGroup>>>,
    changed: Condvar,
}

impl OpenGroups {
    /// The group, if a device of it is open; otherwise what `attach` answers, and then the group is open, if it
    /// is what is used. Waits for a group that is being opened or closed: the kernel would say that it is busy.
    ///
    /// A group that is open in another address space than `wanted` is refused. `attach` is told which one to use.
    pub(crate) fn share(
        self: &Arc<Self>,
        id: u32,
        wanted: Option<AddressSpaceId>,
        attach: impl FnOnce(AddressSpaceId) -> Result<Attachment>,
    ) -> Result<Shared> {
        match self.open_or_enter(id) {
            Ok(open) => open.in_space(wanted).map(Shared::Group),
            Err(entry) => entry.open(wanted, attach),
        }
    }

    /// What `attach` answers; the group must not be open, whatever its address space.
    pub(crate) fn share_new(
        self: &Arc<Self>,
        id: u32,
        wanted: Option<AddressSpaceId>,
        attach: impl FnOnce(AddressSpaceId) -> Result<Attachment>,
    ) -> Result<Shared> {
        match self.open_or_enter(id) {
            Ok(_) => Err(busy(id, "a device of it is open in this process")),
            Err(entry) => entry.open(wanted, attach),
        }
    }

    /// The group, if it is open; otherwise a place for it, which bars others from opening it meanwhile.
    fn open_or_enter(self: &Arc<Self>, id: u32) -> std::result::Result<Arc<SharedGroup>, Entry> {
        let mut by_id = self.lock();
        while let Some(known) = by_id.get(&id) {
            if let Some(open) = known.upgrade() {
                return Ok(open);
            }
            by_id = self
                .changed
                .wait(by_id)
                .unwrap_or_else(PoisonError::into_inner);
        }
        by_id.insert(id, Weak::new());
        Err(Entry {
            id,
            groups: Arc::clone(self),
        })
    }

    /// Nobody may drop a group while this is held: the last one to do so needs it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Weak<SharedGroup>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a device of a group is reached.
pub(crate) enum Shared {
    /// Through the group, which its devices share.
    Group(Arc<SharedGroup>),
    /// In another way.
    Other(Attachment),
}

/// A group in its container, held by each open device of it. With the last it is closed.
#[derive(Debug)]
pub(crate) struct SharedGroup {
    membership: Membership, // closed before the entry goes, and with it the bar to opening it anew
    space: AddressSpaceId,
    entry: Entry,
}

impl SharedGroup {
    /// The group in its container.
    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Gives up one hold on the group; the last one closes it.
    pub(crate) fn close(self: Arc<Self>) -> Result<()> {
        match Arc::into_inner(self) {
            Some(last) => last.membership.close(),
            None => Ok(()),
        }
    }

    fn in_space(self: Arc<Self>, wanted: Option<AddressSpaceId>) -> Result<Arc<Self>> {
        if wanted.is_none_or(|wanted| wanted == self.space) {
            return Ok(self);
        }
        let why = "a device of it is open in another address space, and a group has but one";
        Err(busy(self.entry.id, why))
    }
}

fn busy(id: u32, why: &str) -> Error {
    Error::new(ErrorKind::Busy, "open", format!("group {id}"))
        .of_group(id)
        .because(why)
}

/// A place among the open groups; given up when it is dropped.
#[derive(Debug)]
struct Entry {
    id: u32,
    groups: Arc<OpenGroups>,
}

impl Entry {
    /// Opens what the place is for.
    fn open(
        self,
        wanted: Option<AddressSpaceId>,
        attach: impl FnOnce(AddressSpaceId) -> Result<Attachment>,
    ) -> Result<Shared> {
        let space = wanted.unwrap_or_else(AddressSpaceId::unique);
        let membership = match attach(space)? {
            Attachment::Group(membership) => membership,
            own @ Attachment::Own(..) => return Ok(Shared::Other(own)),
        };
        let (id, groups) = (self.id, Arc::clone(&self.groups));
        let shared = Arc::new(SharedGroup {
            membership,
            space,
            entry: self,
        });
        groups.lock().insert(id, Arc::downgrade(&shared));
        groups.changed.notify_all();
        Ok(Shared::Group(shared))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.groups.lock().remove(&self.id);
        self.groups.changed.notify_all();
    }
}

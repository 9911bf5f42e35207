//! Who calls: what a process may lock, and what it has locked.

use vfio_core::kernel::{Errno, Result};

use crate::iommu::Registered;
use crate::lie::put;

/// What a process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// `RLIMIT_MEMLOCK`, in bytes; `None` is no limit.
    pub memlock: Option<u64>,
    /// `CAP_IPC_LOCK`: the limit does not count.
    pub ipc_lock: bool,
    /// `CAP_SYS_RAWIO`: devices without an IOMMU may be had. Who has it is root here: files can be written.
    pub raw_io: bool,
}

impl Rights {
    /// Those of root.
    pub const ROOT: Self = Self {
        memlock: None,
        ipc_lock: true,
        raw_io: true,
    };

    /// Those of a user who may lock so many bytes.
    pub const fn user(memlock: u64) -> Self {
        Self {
            memlock: Some(memlock),
            ipc_lock: false,
            raw_io: false,
        }
    }

    /// What proc says of a process that has them, and has locked so many bytes.
    pub(crate) fn status(self, locked: u64) -> String {
        const CAP_IPC_LOCK: u32 = 14;
        const CAP_SYS_RAWIO: u32 = 17;

        let set =
            u64::from(self.ipc_lock) << CAP_IPC_LOCK | u64::from(self.raw_io) << CAP_SYS_RAWIO;
        let user = if self.raw_io { 0 } else { 1000 };
        format!(
            "Uid:\t{user}\t{user}\t{user}\t{user}\nGid:\t{user}\t{user}\t{user}\t{user}\nGroups:\t\nVmLck:\t{:8} kB\nCapEff:\t{set:016x}\n",
            locked / 1024
        )
    }

    /// What proc says of its limits.
    pub(crate) fn limits(self) -> String {
        let memlock = self
            .memlock
            .map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        format!(
            "Limit                     Soft Limit           Hard Limit           Units     \n\
             Max locked memory         {memlock:<20} {memlock:<20} bytes     \n"
        )
    }
}

/// A process by the order of its coming.
pub(crate) type ProcessId = usize;

/// Every process that there was.
#[derive(Debug, Clone)]
pub(crate) struct Processes(Vec<Process>);

#[derive(Debug, Clone)]
struct Process {
    rights: Rights,
    /// In bytes.
    locked: u64,
    /// For sPAPR.
    registered: Registered,
}

impl Process {
    fn new(rights: Rights) -> Self {
        Self {
            rights,
            locked: 0,
            registered: Registered::default(),
        }
    }
}

impl Processes {
    /// One process, with these rights.
    pub(crate) fn new(rights: Rights) -> Self {
        Self(vec![Process::new(rights)])
    }

    pub(crate) fn add(&mut self, rights: Rights) -> ProcessId {
        self.0.push(Process::new(rights));
        self.0.len() - 1
    }

    pub(crate) fn rights(&self, id: ProcessId) -> Rights {
        self.0.get(id).map_or(Rights::user(0), |it| it.rights)
    }

    pub(crate) fn set_rights(&mut self, id: ProcessId, rights: Rights) {
        if let Some(process) = self.0.get_mut(id) {
            process.rights = rights;
        }
    }

    /// The memory that it has registered for sPAPR.
    pub(crate) fn registered(&mut self, id: ProcessId) -> &mut Registered {
        &mut self.0[id].registered // ids are given out here, and no process is ever forgotten
    }

    /// How many bytes are accounted to it.
    pub(crate) fn locked(&self, id: ProcessId) -> u64 {
        self.0.get(id).map_or(0, |it| it.locked)
    }

    /// How many bytes more may be locked.
    pub(crate) fn lockable(&self, id: ProcessId) -> u64 {
        self.0.get(id).map_or(0, |it| {
            let limit = it.rights.memlock.filter(|_| !it.rights.ipc_lock);
            limit.unwrap_or(u64::MAX).saturating_sub(it.locked)
        })
    }

    /// Accounts so many bytes: `ENOMEM` over the limit.
    pub(crate) fn lock(&mut self, id: ProcessId, bytes: u64) -> Result<()> {
        if bytes > self.lockable(id) {
            return Err(Errno::NOMEM);
        }
        if let Some(process) = self.0.get_mut(id) {
            process.locked += bytes;
        }
        Ok(())
    }

    /// What processes have locked is what they had; answers whether it has changed in between.
    pub(crate) fn put_locked_back(&mut self, before: &Self) -> bool {
        let each = self.0.iter_mut().zip(&before.0);
        each.fold(false, |changed, (now, before)| {
            put(&mut now.locked, &before.locked) || changed
        })
    }

    /// The same of what they have registered.
    pub(crate) fn put_registered_back(&mut self, before: &Self) -> bool {
        let each = self.0.iter_mut().zip(&before.0);
        each.fold(false, |changed, (now, before)| {
            put(&mut now.registered, &before.registered) || changed
        })
    }

    pub(crate) fn unlock(&mut self, id: ProcessId, bytes: u64) {
        if let Some(process) = self.0.get_mut(id) {
            process.locked = process.locked.saturating_sub(bytes);
        }
    }
}

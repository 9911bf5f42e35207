//! How much memory may be locked, and how much a guest would need, as data.

use schemars::JsonSchema;
use serde::Serialize;
use vfio_core::kernel::Kernel;
use vfio_core::memlock;

use crate::answer::Answer;

/// Sizes in bytes.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MemlockRow {
    /// `RLIMIT_MEMLOCK` of this process; absent if there is no limit.
    pub(super) limit: Option<u64>,
    /// What it has locked.
    pub(super) locked: Option<u64>,
    /// Whether the limit is not for it (`CAP_IPC_LOCK`).
    pub(super) exempt: bool,
    /// The guest that was asked for.
    pub(super) guest_memory: Option<u64>,
    /// What a program locks for that guest, or one for none.
    pub(super) needed: u64,
    /// Whether that is allowed.
    pub(super) enough: Answer,
}

impl MemlockRow {
    pub(super) fn of(kernel: &dyn Kernel, guest_memory: Option<u64>) -> Self {
        let needed = memlock::for_guest(guest_memory);
        let account = memlock::Account::read(kernel);
        let (limit, locked) = (kernel.memlock_limit(), account.locked());
        let exempt = account.is_exempt();
        let allowed = match (limit, locked) {
            (None, _) => Some(true),
            _ if exempt => Some(true),
            (Some(limit), Some(locked)) => Some(locked.saturating_add(needed) <= limit),
            (Some(_), None) => None,
        };
        Self {
            limit,
            locked,
            exempt,
            guest_memory,
            needed,
            enough: Answer::of(allowed, "/proc/self/status does not say what is locked"),
        }
    }
}

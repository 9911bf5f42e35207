//! What this process has locked, as the kernel counts it, and what it may.

use crate::kernel::Kernel;

/// The `RLIMIT_MEMLOCK` that would be enough to lock so many bytes more, if the kernel will refuse that; `None` if it will
/// not, or if that cannot be told.
pub fn lacking(kernel: &dyn Kernel, more: u64) -> Option<u64> {
    let limit = kernel.memlock_limit()?;
    let account = Account::read(kernel);
    let locked = account.locked().filter(|_| !account.is_exempt())?;
    let enough = locked.saturating_add(more);
    (enough > limit).then_some(enough)
}

/// What a program needs that has no guest: enough for the tables and buffers of `vfioctl` and the hardware tests.
const SMALL: u64 = 64 << 20;

/// How many bytes a program locks for a guest of so much memory, or for none: the guest's memory, and room for tables and
/// buffers of its own.
pub fn for_guest(memory: Option<u64>) -> u64 {
    memory.unwrap_or(0).saturating_add(SMALL)
}

/// The kernel's account of this process, where it can be read.
#[derive(Debug)]
pub struct Account(String);

impl Account {
    /// What proc says of it.
    pub fn read(kernel: &dyn Kernel) -> Self {
        let status = kernel.read("/proc/self/status".as_ref());
        Self(String::from_utf8_lossy(&status.unwrap_or_default()).into_owned())
    }

    /// Whether the process has `CAP_IPC_LOCK`: then the limit is not for it.
    pub fn is_exempt(&self) -> bool {
        const CAP_IPC_LOCK: u32 = 14;

        self.value("CapEff:")
            .and_then(|set| u64::from_str_radix(set, 16).ok())
            .is_some_and(|set| set & 1 << CAP_IPC_LOCK != 0)
    }

    /// The bytes that count against `RLIMIT_MEMLOCK` for `mlock` and for type1 alike: what VFIO has pinned is among them.
    pub fn locked(&self) -> Option<u64> {
        let kilobytes: u64 = self.value("VmLck:")?.strip_suffix(" kB")?.parse().ok()?;
        kilobytes.checked_mul(1024)
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name).map(str::trim))
    }
}

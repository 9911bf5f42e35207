//! What this process may do: for a while, or for good.

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities,
};

/// Only so much memory may be locked, until this is dropped.
#[derive(Debug)]
pub(crate) struct Limited {
    limit: Rlimit,
    capabilities: CapabilitySets,
}

impl Limited {
    pub(crate) fn to(bytes: u64) -> Result<Self> {
        let before = Self::with_right(bytes)?;
        let mut fewer = before.capabilities;
        fewer.effective.remove(CapabilitySet::IPC_LOCK);
        set_capabilities(None, fewer).context("capset")?;
        Ok(before)
    }

    /// The limit counts for who has no right to lock more, which this process keeps.
    pub(crate) fn with_right(bytes: u64) -> Result<Self> {
        let before = Self {
            limit: getrlimit(Resource::Memlock),
            capabilities: capabilities(None).context("capget")?,
        };
        let limit = Rlimit {
            current: Some(bytes),
            // Whoever has the right to it may have more than it was given at first.
            maximum: before.limit.maximum.map(|most| most.max(bytes)),
        };
        setrlimit(Resource::Memlock, limit).context("setrlimit(RLIMIT_MEMLOCK)")?;
        Ok(before)
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        // What could be given up can be had again: it is permitted still.
        let _ = set_capabilities(None, self.capabilities);
        let _ = setrlimit(Resource::Memlock, self.limit);
    }
}

/// From now on this thread and the programs that it starts may lock so many bytes, and have no right to more.
pub(crate) fn limit_for_good(bytes: u64) -> Result<()> {
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    setrlimit(Resource::Memlock, limit).context("setrlimit(RLIMIT_MEMLOCK)")?;
    // Root would have it again in each program that it starts.
    remove_capability_from_bounding_set(CapabilitySet::IPC_LOCK)
        .context("prctl(PR_CAPBSET_DROP)")?;
    let mut fewer = capabilities(None).context("capget")?;
    fewer.effective.remove(CapabilitySet::IPC_LOCK);
    fewer.permitted.remove(CapabilitySet::IPC_LOCK);
    fewer.inheritable.remove(CapabilitySet::IPC_LOCK);
    set_capabilities(None, fewer).context("capset")
}

/// What this process has locked, as the kernel counts it, in bytes.
pub(crate) fn locked() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.map_or(Ok(0), |number| number.trim().parse::<u64>())? * 1024)
}

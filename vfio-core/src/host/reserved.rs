//! The addresses of a group that no program can map.

use crate::error::{Error, Result};
use crate::kernel::{Errno, Kernel};

use super::text::{hex, text};

/// A range of IOVAs that is not a program's, as `reserved_regions` of a group says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservedRegion {
    /// Its first address.
    pub first: u64,
    /// Its last address.
    pub last: u64,
    /// Why: `direct` (the firmware wants it mapped one to one, and keeps the device from being assigned),
    /// `direct-relaxable` (it does not), `msi`, `reserved`.
    pub kind: String,
}

/// The file that says it.
pub(crate) fn reserved_file(group: u32) -> String {
    format!("/sys/kernel/iommu_groups/{group}/reserved_regions")
}

/// The reserved regions of a group. None on POWER, where the kernel has no such file.
///
/// # Errors
/// What the kernel answered.
pub fn reserved_regions(kernel: &dyn Kernel, group: u32) -> Result<Vec<ReservedRegion>> {
    let file = reserved_file(group);
    let lines = match text(kernel, &file) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        lines => lines.map_err(|errno| Error::kernel("read", file, errno).of_group(group))?,
    };
    Ok(lines.lines().filter_map(region).collect())
}

/// `0x00000000fee00000 0x00000000feefffff msi`
fn region(line: &str) -> Option<ReservedRegion> {
    let mut words = line.split_whitespace();
    Some(ReservedRegion {
        first: hex(words.next()?)?,
        last: hex(words.next()?)?,
        kind: words.next()?.to_owned(),
    })
}

//! The memory that is mapped, the same for both.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use vm_memory::{
    Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
    MemoryRegionAddress,
};

/// In bytes.
pub const SIZE: usize = 512 << 20;
/// Where it is in the guest: behind everything that x86 has below.
pub const START: u64 = 4 << 30;

const PAGE: usize = 4096;

/// What kind of memory.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Touched before; otherwise no page is there.
    present: bool,
    /// Of transparent huge pages; otherwise none of it is.
    huge: bool,
}

impl Kind {
    pub fn parse(state: &str, pages: &str) -> Result<Self> {
        let (present, huge) = match (state, pages) {
            ("cold", "small") => (false, false),
            ("cold", "huge") => (false, true),
            ("present", "small") => (true, false),
            ("present", "huge") => (true, true),
            _ => bail!("{state} {pages} is not cold|present small|huge"),
        };
        Ok(Self { present, huge })
    }

    /// So many pairs say what its median is: what is there is mapped fast, and what else the machine does weighs more.
    pub fn pairs(self) -> usize {
        match self.present {
            true => 41,
            false => 9,
        }
    }

    /// New memory of this kind.
    pub fn make(self) -> Result<GuestMemoryMmap> {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(START), SIZE)])?;
        let advice = if self.huge {
            libc::MADV_HUGEPAGE
        } else {
            libc::MADV_NOHUGEPAGE
        };
        // SAFETY: advice on how this memory is to be made, which changes no byte of it.
        let answer = unsafe { libc::madvise(address(&memory)?.cast(), SIZE, advice) };
        ensure!(answer == 0, "this kernel has no huge pages to advise on");
        if self.present {
            for at in (START..).step_by(PAGE).take(SIZE / PAGE) {
                memory.write_obj(1u8, GuestAddress(at))?;
            }
        }
        Ok(memory)
    }

    /// Whether memory that is mapped came to be of the pages that were asked for: with other ones, other things are
    /// compared than are said.
    pub fn check(self) -> Result<()> {
        let text = fs::read_to_string("/proc/self/smaps_rollup")?;
        let huge = text.lines().find_map(|line| {
            let amount = line.strip_prefix("AnonHugePages:")?;
            amount.trim().strip_suffix(" kB")?.parse::<usize>().ok()
        });
        let huge = huge.context("read /proc/self/smaps_rollup")? << 10;
        // A heap, and what the memory has before its first whole huge page, are of either kind.
        ensure!(
            (huge > SIZE / 16 * 15) == self.huge && (huge < SIZE / 16) != self.huge,
            "{huge:#x} bytes are of huge pages"
        );
        Ok(())
    }
}

/// Where memory begins in this process.
pub fn address(memory: &GuestMemoryMmap) -> Result<*mut u8> {
    let region = memory.iter().next().context("no memory")?;
    Ok(region.get_host_address(MemoryRegionAddress(0))?)
}

//! Guest memory of many sections, of which one goes and comes.

use anyhow::{Context, Result};
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};

use super::ours::Ours;
use super::{SIZE, START};

/// Where the memory is said to be.
const MEMORY: usize = 0x7000_0000_0000;

pub fn measure(ours: &Ours, pairs: u64, sections: u64) -> Result<()> {
    let space = AddressSpace::new();
    let _ = space.follow(ours.domain())?;
    let memory = HostRange::new(MEMORY, (sections * SIZE) as usize).context("memory")?;
    // SAFETY: nothing is mapped: no call reaches a kernel.
    let block = unsafe { Block::new(memory, ()) };
    let section = |n: u64| {
        let range = IovaRange::new(Iova(START + 2 * SIZE * n), SIZE).context("a range")?;
        anyhow::Ok(Section::ram(range, &block, (SIZE * n) as usize)?)
    };
    let mut all = space.edit();
    for n in 0..sections {
        all = all.insert(section(n)?);
    }
    let _ = all.commit()?;
    for pair in 0..pairs {
        let one = section(pair * 7919 % sections)?;
        let _ = space.edit().remove(one.range()).commit()?;
        let _ = space.edit().insert(one).commit()?;
    }
    Ok(())
}

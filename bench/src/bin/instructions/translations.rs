//! An IOMMU of a guest, in which many pages are mapped, of which any one goes and comes.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, GuestIommu, Request, Section, Translation};

use super::START;
use super::ours::Ours;

const PAGE: u64 = 4096;
/// Where the memory is said to be.
const MEMORY: usize = 0x7000_0000_0000;
const RAM: u64 = 4 << 30;

pub fn measure(ours: &Ours, pairs: u64, live: u64) -> Result<()> {
    let space = Arc::new(AddressSpace::new());
    let iommu = GuestIommu::of(&space);
    iommu.follow(ours.domain(), [])?;
    let memory = HostRange::new(MEMORY, RAM as usize).context("memory")?;
    // SAFETY: nothing is mapped: no call reaches a kernel.
    let block = unsafe { Block::new(memory, ()) };
    let ram = IovaRange::new(Iova(0), RAM).context("RAM")?;
    let _ = space
        .edit()
        .insert(Section::ram(ram, &block, 0)?)
        .commit()?;
    let translation = |n: u64| {
        Some(Translation {
            range: IovaRange::new(Iova(START + 2 * PAGE * n), PAGE)?,
            to: Iova(PAGE * (n * 31 % (RAM / PAGE))),
            access: Access::ReadWrite,
        })
    };
    let all: Option<Vec<_>> = (0..live).map(translation).collect();
    let all = all.context("no such addresses")?;
    ensure!(!all.is_empty(), "nothing is mapped");
    let map: Vec<_> = all.iter().map(|it| Request::Map(*it)).collect();
    iommu.apply(&map)?;
    for pair in 0..pairs {
        let n = (pair * 7919 % live) as usize;
        iommu.apply(&[Request::Unmap(all[n].range)])?;
        iommu.apply(&[map[n]])?;
    }
    Ok(())
}

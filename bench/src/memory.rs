//! The memory of a guest, in sections that follow each other, mapped by both.

use anyhow::{Context, Result};
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::iommu::Domain;
use vfio_ioctls::VfioContainer;
use vm_memory::{GuestAddress, GuestMemoryMmap};

use crate::count::ioctls;

const SECTIONS: usize = 64;
const SIZE: usize = 4096;
const START: u64 = 1 << 20;

/// Where the n-th one is in the guest.
fn place(n: usize) -> u64 {
    START + (n * SIZE) as u64
}

pub fn ours(domain: &Domain) -> Result<u64> {
    let memory = vec![0u8; (SECTIONS + 1) * SIZE];
    let start = (memory.as_ptr() as usize).next_multiple_of(SIZE);
    let range = HostRange::new(start, SECTIONS * SIZE).context("memory")?;
    // SAFETY: inside of the vector, which the block owns and nobody refers to.
    let block = unsafe { Block::new(range, memory) };
    let space = AddressSpace::new();
    let _ = space.follow(domain)?;
    let mut edit = space.edit();
    for n in 0..SECTIONS {
        let range = IovaRange::new(Iova(place(n)), SIZE as u64).context("a range")?;
        edit = edit.insert(Section::ram(range, &block, n * SIZE)?.leaving_with(0));
    }
    let (count, committed) = ioctls(|| edit.commit());
    let _ = committed?;
    Ok(count)
}

pub fn peers(container: &VfioContainer) -> Result<u64> {
    let ranges: Vec<_> = (0..SECTIONS)
        .map(|n| (GuestAddress(place(n)), SIZE))
        .collect();
    let memory = GuestMemoryMmap::<()>::from_ranges(&ranges)?;
    // SAFETY: the memory is there until it was unmapped below, and nobody refers to it.
    let (count, mapped) = ioctls(|| unsafe { container.vfio_map_guest_memory(&memory) });
    mapped?;
    container.vfio_unmap_guest_memory(&memory)?;
    Ok(count)
}

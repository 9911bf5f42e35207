//! What giving a device windows and a guest's memory costs on POWER, in ioctls: `windows DEVICE`.
//!
//! Prints a line a measurement: its name, ours, what one who registers and maps page by page would need, with tabs between
//! them.

#[path = "../count.rs"]
mod count;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iommu_spapr::guest::{Bridge, DefaultWindow};
use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::iommu::{WindowPages, WindowRequest};
use vfio_core::{Device, Vfio};

use count::ioctls;

const MIB: usize = 1 << 20;
/// The guest's blocks of RAM, in bytes; there are gaps between them.
const BLOCKS: [usize; 3] = [64 * MIB, 128 * MIB, 32 * MIB];
const LIOBN: u32 = 0x8000_0000;

fn main() -> Result<()> {
    let name = std::env::args().nth(1).context("which device?")?;
    let vfio = Vfio::new()?;
    let device = vfio.open(name.parse()?)?;
    whole(&vfio, &device)?;
    list(&device)
}

/// All of a guest's memory, one to one, in a window of its own.
fn whole(vfio: &Vfio, device: &Device) -> Result<()> {
    let domain = device.domain();
    let page = vfio.kernel().page_size();
    let space = AddressSpace::new();
    let (ours, made) = ioctls(|| {
        let pages = WindowPages::Carried(page as u64);
        let window = domain.create_window(&WindowRequest::of(1 << 30, pages))?;
        let mut edit = space.edit();
        let mut at = window.range.first().0;
        for len in BLOCKS {
            let range = IovaRange::new(Iova(at), len as u64).context("a range")?;
            edit = edit.insert(Section::ram(range, &ram(len)?, 0)?);
            at = range.last().0 + 1 + MIB as u64;
        }
        let _ = edit.commit()?;
        let _ = space.follow(domain)?;
        anyhow::Ok(window)
    });
    let window = made?;
    drop(space);
    domain.remove_window(window.range.first())?;
    let pages: usize = BLOCKS.iter().map(|len| len / page).sum();
    line(
        "to register and map 3 blocks of RAM in a window",
        ours,
        2 * pages as u64,
    );
    Ok(())
}

/// A guest's list of TCEs that lead to pages which follow each other.
fn list(device: &Device) -> Result<()> {
    const TCES: u64 = 512;
    let space = Arc::new(AddressSpace::new());
    let len = TCES * 4096;
    let range = IovaRange::new(Iova(0), len).context("RAM")?;
    let _ = space
        .edit()
        .insert(Section::ram(range, &ram(len as usize)?, 0)?)
        .commit()?;
    let default = DefaultWindow {
        liobn: LIOBN,
        range: IovaRange::new(Iova(0), 1 << 28).context("a window")?,
        page_shift: 12,
    };
    let bridge = Bridge::new(&space, default, None)?;
    bridge.follow(device.domain())?;
    let tces: Vec<_> = (0..TCES).map(|n| n * 4096 + 3).collect();
    let (ours, put) = ioctls(|| bridge.put_list(LIOBN, 1 << 20, &tces));
    put?;
    ensure!(ours > 0, "calls pass the counter by");
    line(
        "for a list of 512 TCEs of pages that follow each other",
        ours,
        TCES,
    );
    Ok(())
}

fn line(what: &str, ours: u64, page_by_page: u64) {
    println!("ioctls {what}\t{ours}\t{page_by_page}");
}

/// Memory that stays until the program ends.
fn ram(len: usize) -> Result<Block> {
    let layout = std::alloc::Layout::from_size_align(len, 1 << 16)?;
    // SAFETY: it has a size.
    let addr = unsafe { std::alloc::alloc_zeroed(layout) };
    ensure!(!addr.is_null(), "no memory");
    let range = HostRange::new(addr as usize, len).context("memory")?;
    // SAFETY: it is never freed, and nobody has a reference to it.
    Ok(unsafe { Block::new(range, ()) })
}

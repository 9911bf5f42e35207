//! Which pages a device may have written.

use anyhow::{Context, Result, ensure};
use vfio_core::ErrorKind;
use vfio_core::address::{Access, DmaMask};
use vfio_core::iommu::DirtyBitmap;

use super::mappings::{Room, expect};
use super::memory::Memory;
use super::{Outcome, Subject};
use crate::devices::{BUFFER_SIZE, Dma};

/// What a device wrote is dirty, what nothing reaches is not, and that as long as somebody asks. More than that may be
/// dirty: behind `vfio-pci` everything that is mapped is (B34).
pub(super) fn told(subject: &Subject) -> Result<Outcome> {
    let device = subject.open()?;
    let domain = device.domain().clone();
    let dirty = match domain.dirty_pages() {
        Ok(dirty) => dirty,
        Err(error) if error.kind() == ErrorKind::Unsupported => {
            return Ok(Outcome::NotHere("no track is kept of dirty pages here"));
        }
        Err(error) => return Err(error.into()),
    };
    expect(ErrorKind::Busy, domain.dirty_pages(), "a second one")?;

    // Mappings side by side and apart, each read from inside it to inside another.
    let room = Room::new(&domain, 200)?;
    let memory = Memory::new(&subject.vfio, 100 * room.step)?;
    let mapped = [(1, 100), (101, 1), (110, 2), (130, 70)];
    for (first, count) in mapped {
        memory.map(&domain, room.steps(first, count)?)?;
    }
    for (first, count) in [(0, 200), (50, 61), (101, 10), (199, 1), (112, 18)] {
        let mut read = DirtyBitmap::new(room.steps(first, count)?, dirty.page_size())?;
        for _ in 0..2 {
            dirty.read_into(&mut read)?;
        }
        let mut reached = DirtyBitmap::new(read.range(), read.page_size())?;
        for (first, count) in mapped {
            reached.mark(room.steps(first, count)?);
        }
        let mut both = reached.clone();
        both.merge(&read)?;
        ensure!(
            both == reached,
            "of {}, no more than {:?} is reached, and {:?} is dirty",
            read.range(),
            reached.dirty_ranges().collect::<Vec<_>>(),
            read.dirty_ranges().collect::<Vec<_>>()
        );
    }
    domain.unmap(room.all())?;
    let mut read = DirtyBitmap::new(room.all(), dirty.page_size())?;
    dirty.read_into(&mut read)?;
    ensure!(read.count() == 0, "what is mapped no more is dirty");

    if let Some(mut driver) = subject.drive(&device)? {
        let low = DmaMask::bits(32);
        let buffer = domain.buffer(BUFFER_SIZE, low, Access::ReadWrite)?;
        let mut read = DirtyBitmap::new(buffer.range(), dirty.page_size())?;
        ensure!(driver.writes(&buffer)? == Dma::Arrived, "no DMA arrived");
        dirty.read_into(&mut read)?;
        ensure!(
            read.is_dirty(buffer.iova()),
            "what the device wrote is not dirty"
        );
    }
    dirty.stop()?;
    let dirty = domain.dirty_pages().context("once more")?;
    device.close()?;
    expect(ErrorKind::Gone, dirty.read_into(&mut read), "a read")?;
    expect(ErrorKind::Gone, domain.dirty_pages(), "another start")?;
    Ok(Outcome::Passed)
}

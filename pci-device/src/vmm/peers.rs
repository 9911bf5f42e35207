//! Mapped BARs as sections of an address space: for transfers from device to device.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::warn;
use vfio_core::address::{Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Section};
use vfio_core::host::Bdf;
use vfio_core::{Error, ErrorKind, Result};

use super::slots::{MappedSlice, MemorySlots};

/// The address space that the IOMMU of a guest's devices follows: what is mapped of a BAR is a section of it, so that other
/// devices reach it where the guest sees it.
///
/// Not every kernel can map a BAR for every IOMMU. That is said in the log, once a device, and is no error: the guest's own
/// accesses do not need it.
#[derive(Debug)]
pub struct PeerSections {
    space: Arc<AddressSpace>,
    /// The devices of which it was said that others cannot reach them.
    told: Mutex<BTreeSet<Bdf>>,
}

impl PeerSections {
    /// In this address space, whose other sections are the VMM's matter.
    pub fn of(space: &Arc<AddressSpace>) -> Self {
        Self {
            space: Arc::clone(space),
            told: Mutex::default(),
        }
    }

    fn tell(&self, device: Bdf, error: &Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(device) {
            warn!(%device, %error, "other devices do not reach what is mapped of its BARs");
        }
    }
}

impl MemorySlots for PeerSections {
    fn insert(&self, slice: &MappedSlice) -> Result<()> {
        let range = range(slice)?;
        let block = Block::of_device(&slice.memory).ok_or_else(|| {
            error(slice).because("these are registers of a simulated device, which have no address")
        })?;
        let section = Section::peer(range, &block, 0)?;
        let committed = self.space.edit().insert(section).commit()?;
        if let Some((_, error)) = committed.unreachable.first() {
            self.tell(slice.device, error);
        }
        Ok(())
    }

    fn remove(&self, slice: &MappedSlice) -> Result<()> {
        let edit = self.space.edit().remove(range(slice)?);
        edit.commit().map(drop)
    }
}

/// Where the guest's devices are to see it.
fn range(slice: &MappedSlice) -> Result<IovaRange> {
    let size = slice.guest.end.saturating_sub(slice.guest.start);
    IovaRange::new(Iova(slice.guest.start), size)
        .ok_or_else(|| error(slice).because(format!("{:#x?} is no range", slice.guest)))
}

fn error(slice: &MappedSlice) -> Error {
    Error::new(ErrorKind::Invalid, "map", "a BAR for other devices").of_device(slice.device)
}

//! Guest memory of `vm-memory` in an address space.
#![allow(unsafe_code)] // Its promise about memory is handed to the core.

use std::sync::Arc;

use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, Committed, Section};
use vfio_core::{Error, ErrorKind, Result};
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    Address, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, MmapRegion,
};

/// The regions of a guest's memory, as sections of an [`AddressSpace`].
///
/// Others may have sections in the space too. When this is dropped, its regions stay there: they go with the space, or
/// by an update to memory without regions before.
#[derive(Debug)]
pub struct GuestRam<B = ()> {
    space: Arc<AddressSpace>,
    /// Those in the space, the lowest first.
    regions: Vec<Region<B>>,
}

/// What is compared of a region, to tell whether it is the same.
#[derive(Debug)]
struct Region<B> {
    range: IovaRange,
    mapping: Arc<MmapRegion<B>>,
    is_rom: bool,
}

impl<B: Bitmap + Send + Sync + 'static> GuestRam<B> {
    /// No memory yet, in a space.
    pub fn new(space: Arc<AddressSpace>) -> Self {
        Self {
            space,
            regions: Vec::new(),
        }
    }

    /// From now on devices reach `memory`, all of which they read and write, in every domain that follows the space.
    ///
    /// It is one [change](vfio_core::guest::Edit::commit). A region stays as it is if it has the same addresses in the
    /// guest and is the same mapping of this process (the very [`MmapRegion`], not one of the same memory). Another one
    /// that takes its place is mapped in its stead; [`Committed::interrupted`] then names the addresses.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a region is not mapped in this process, or not made of whole pages of the IOMMU.
    /// Otherwise those of [`Edit::commit`](vfio_core::guest::Edit::commit). Then devices reach what they reached
    /// before, and the next update starts from that; after [`ErrorKind::Torn`] not before the space was
    /// [repaired](AddressSpace::repair).
    pub fn update(&mut self, memory: &GuestMemoryMmap<B>) -> Result<Committed> {
        self.update_with_rom(memory, |_| false)
    }

    /// The same, but that devices can only read the regions of which `is_rom` says so. A region of which it said
    /// otherwise before is mapped anew.
    ///
    /// # Errors
    /// As for [`update`](Self::update).
    pub fn update_with_rom(
        &mut self,
        memory: &GuestMemoryMmap<B>,
        is_rom: impl Fn(&GuestRegionMmap<B>) -> bool,
    ) -> Result<Committed> {
        let new = memory.iter().map(|it| Region::new(it, is_rom(it)));
        let new = new.collect::<Result<Vec<_>>>()?;
        let mut edit = self.space.edit();
        for gone in self.regions.iter().filter(|it| !it.is_among(&new)) {
            edit = edit.remove(gone.range);
        }
        for come in new.iter().filter(|it| !it.is_among(&self.regions)) {
            edit = edit.insert(come.section()?);
        }
        let committed = edit.commit()?;
        self.regions = new;
        Ok(committed)
    }
}

impl<B: Bitmap + Send + Sync + 'static> Region<B> {
    fn new(region: &GuestRegionMmap<B>, is_rom: bool) -> Result<Self> {
        let first = Iova(region.start_addr().raw_value());
        let range = IovaRange::new(first, region.len());
        Ok(Self {
            range: range.ok_or_else(|| invalid(first, "it is empty"))?,
            mapping: region.get_mmap(),
            is_rom,
        })
    }

    fn section(&self) -> Result<Section> {
        let first = self.range.first();
        let memory = match self.mapping.as_ptr().addr() {
            0 => None, // of Xen
            addr => HostRange::new(addr, self.mapping.size()),
        };
        let memory = memory.ok_or_else(|| invalid(first, "it is not mapped in this process"))?;
        // SAFETY: an `MmapRegion` is mapped at one place from when it is made until it is dropped, and the owner keeps
        // it: nobody can take it out of an `Arc` that is shared. What made one of memory that is not its own
        // (`build_raw`) has promised as much, or reading it by the safe methods of `vm-memory` would not be sound. (If
        // its file is cut short, pages of it are nobody's but the device's, for which they are pinned.) And `vm-memory`
        // lends no reference to what a guest may change at any time, for which a device is no other: its methods copy,
        // or access by volatile and atomic operations; whoever makes a reference of a pointer from it needs `unsafe`.
        let block = unsafe { Block::new(memory, Arc::clone(&self.mapping)) };
        match self.is_rom {
            true => Section::rom(self.range, &block, 0),
            false => Section::ram(self.range, &block, 0),
        }
    }

    /// Whether it is one of some, the lowest of which come first.
    fn is_among(&self, others: &[Self]) -> bool {
        let found = others.binary_search_by_key(&self.range.first(), |it| it.range.first());
        let found = found.ok().and_then(|at| others.get(at));
        found.is_some_and(|it| it.is_rom == self.is_rom && Arc::ptr_eq(&it.mapping, &self.mapping))
    }
}

fn invalid(first: Iova, why: &str) -> Error {
    let object = format!("the region of guest memory at {first}");
    Error::new(ErrorKind::Invalid, "map", object).because(why)
}

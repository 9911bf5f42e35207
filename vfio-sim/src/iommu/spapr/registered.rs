//! Memory that is registered: pinned once for a process, however many of its containers use it. Linux keeps these
//! blocks with the address space of a process (`mm_iommu_*`).

/// The blocks of a process.
#[derive(Debug, Default, Clone)]
pub(crate) struct Registered(Vec<Block>);

/// A pinned block.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    vaddr: u64,
    size: u64,
    /// The largest page of an IOMMU that it carries, in bytes (D49b).
    pub(super) largest_page: u64,
    /// How often it was registered, and not unregistered since.
    holders: u32,
    /// How many TCEs point into it.
    pub(super) users: u64,
}

impl Registered {
    /// Whether exactly this block is pinned already; then it is counted once more.
    pub(super) fn get(&mut self, vaddr: u64, size: u64) -> bool {
        match self.exactly(vaddr, size) {
            Some(block) => {
                block.holders += 1;
                true
            }
            None => false,
        }
    }

    /// Whether a byte of this is in a block.
    pub(super) fn overlaps(&self, vaddr: u64, size: u64) -> bool {
        let overlaps = |it: &Block| vaddr < it.vaddr + it.size && it.vaddr < vaddr + size;
        self.0.iter().any(overlaps)
    }

    /// A block that was pinned, of pages of so many bytes.
    pub(super) fn add(&mut self, vaddr: u64, size: u64, page: u64) {
        self.0.push(Block {
            vaddr,
            size,
            largest_page: page.min(1 << (vaddr | size).trailing_zeros().min(63)),
            holders: 1,
            users: 0,
        });
    }

    /// Gives up one hold on a block.
    pub(super) fn put(&mut self, vaddr: u64, size: u64) -> Put {
        let Some(block) = self.exactly(vaddr, size) else {
            return Put::Held;
        };
        if block.holders > 1 {
            block.holders -= 1;
            return Put::Held;
        }
        if block.users > 0 {
            return Put::InUse;
        }
        self.0.retain(|it| (it.vaddr, it.size) != (vaddr, size));
        Put::Unpinned
    }

    /// The block that holds a whole IOMMU page.
    pub(super) fn holding(&mut self, vaddr: u64, page: u64) -> Option<&mut Block> {
        let last = vaddr.checked_add(page - 1)?;
        self.0
            .iter_mut()
            .find(|block| block.vaddr <= vaddr && last <= block.vaddr + (block.size - 1))
    }

    /// A TCE no longer points there.
    pub(super) fn leave(&mut self, vaddr: u64) {
        if let Some(block) = self.holding(vaddr, 1) {
            block.users = block.users.saturating_sub(1);
        }
    }

    fn exactly(&mut self, vaddr: u64, size: u64) -> Option<&mut Block> {
        self.0
            .iter_mut()
            .find(|block| (block.vaddr, block.size) == (vaddr, size))
    }
}

/// What became of a block of which a hold was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// Somebody else holds it.
    Held,
    /// It was the last hold.
    Unpinned,
    /// It was the last hold, but a TCE points there: it stays pinned for good (H3).
    InUse,
}

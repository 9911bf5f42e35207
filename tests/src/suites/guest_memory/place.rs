//! Addresses that several domains have free.

use anyhow::{Result, bail};
use vfio_core::ErrorKind;
use vfio_core::address::{DmaMask, IovaRange};
use vfio_core::iommu::{Domain, Reservation};

/// So many places are tried.
const TRIES: usize = 16;

/// So many bytes of addresses in whole pages, the same in all of these domains, reserved until this is dropped.
pub(super) struct Place {
    /// One for each domain.
    reserved: Vec<Reservation>,
    pub(super) range: IovaRange,
    /// What mappings there must be multiples of in every domain, in bytes.
    pub(super) page: u64,
}

impl Place {
    /// As the first of the domains chooses it. Two handles of one domain are one.
    pub(super) fn new(domains: &[&Domain], size: u64, mask: DmaMask) -> Result<Self> {
        let Some((first, others)) = domains.split_first() else {
            bail!("no domain");
        };
        let mut held = Vec::new();
        for _ in 0..TRIES {
            let chosen = first.alloc(size, mask)?;
            let start = chosen.range().first();
            let others = others.iter().filter(|it| it != &first);
            let theirs = others.map(|it| it.alloc_at(start, size));
            match theirs.collect::<vfio_core::Result<Vec<_>>>() {
                Ok(mut reserved) => {
                    let (range, page) = (chosen.range(), chosen.page_size());
                    reserved.push(chosen);
                    let pages = reserved.iter().map(Reservation::page_size);
                    let page = pages.fold(page, u64::max);
                    return Ok(Self {
                        reserved,
                        range,
                        page,
                    });
                }
                Err(error) if error.kind() == ErrorKind::Overlap => held.push(chosen),
                Err(error) => return Err(error.into()),
            }
        }
        bail!("{size:#x} bytes are free in no place of {TRIES}");
    }

    /// Lets others have the addresses.
    pub(super) fn release(&mut self) {
        self.reserved.clear();
    }
}

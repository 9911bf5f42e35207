//! The firmware's calls about windows (dynamic DMA windows, DDW).

use vfio_core::address::{Iova, IovaRange, PageSizes};
use vfio_core::iommu::Domain;

use super::bridge::{Bridge, State};
use super::hcalls::no_window;
use super::refused::{Refused, parameter};
use super::table::Table;

/// What the firmware calls page sizes by: base 2 logarithms, and a bit of the answer of `ibm,query-pe-dma-window`.
const PAGE_SIZES: [(u32, u32); 9] = [
    (12, 0x001),
    (16, 0x002),
    (24, 0x004),
    (25, 0x008),
    (26, 0x010),
    (27, 0x020),
    (28, 0x040),
    (34, 0x080),
    (21, 0x100),
];

/// What windows the guest can create now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// How many.
    pub windows: u32,
    /// How many pages of 4 KiB the largest has.
    pub largest_block: u32,
    /// Its page sizes, in bytes.
    pub page_sizes: PageSizes,
}

impl Available {
    /// The page sizes as the firmware's call says them: a bit each.
    pub fn page_size_bits(&self) -> u32 {
        let there = PAGE_SIZES.iter();
        let there = there.filter(|(shift, _)| self.page_sizes.has(1 << shift));
        there.map(|(_, bit)| bit).sum()
    }
}

/// A window that was created for the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// What the guest calls it by.
    pub liobn: u32,
    /// Where it starts, in bus addresses.
    pub start: Iova,
}

impl Bridge {
    /// `ibm,query-pe-dma-window`: what the guest can create.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: this bridge has no windows that could be created. [`Refused::Host`].
    pub fn query(&self) -> Result<Available, Refused> {
        let state = &mut *self.state();
        state.forget_those_that_are_over();
        self.available(state)
    }

    /// `ibm,create-pe-dma-window`: creates a window of 2^`window_shift` bytes with pages of 2^`page_shift`, in the hosts of all
    /// devices that are behind the bridge or in none. Its table is empty.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: there are no such pages, or the window would be smaller than one, or larger than
    /// [`DynamicWindows::largest`](super::DynamicWindows::largest). [`Refused::Resource`]: the guest has one already, or a
    /// host has none left. [`Refused::Host`]: a host could not.
    pub fn create(&self, page_shift: u32, window_shift: u32) -> Result<Created, Refused> {
        let state = &mut *self.state();
        state.forget_those_that_are_over();
        let available = self.available(state)?;
        let dynamic = self.dynamic.ok_or_else(none_at_all)?;
        let size = |shift| 1u64.checked_shl(shift).unwrap_or(0);
        let (page_size, size) = (size(page_shift), size(window_shift));
        if !available.page_sizes.has(page_size) || size < page_size || size > dynamic.largest {
            return Err(parameter(format!(
                "there is no window of 2^{window_shift} bytes with pages of 2^{page_shift}: there are pages of {}, and at \
                 most {:#x} bytes",
                available.page_sizes, dynamic.largest
            )));
        }
        if available.windows == 0 {
            return Err(Refused::Resource("there is no window left".to_owned()));
        }
        let no_memory = || Refused::Resource("there is no memory for its table".to_owned());
        let range = IovaRange::new(dynamic.start, size).ok_or_else(no_memory)?;
        let table = Table::new(dynamic.liobn, range, page_shift).ok_or_else(no_memory)?;
        let made = state
            .following()
            .try_for_each(|it| it.make_room(dynamic.liobn, range, page_size));
        if let Err(error) = made {
            let error = match state.remove_created(|liobn| liobn == dynamic.liobn) {
                Ok(()) => error,
                Err(left) => error.because_also(format!("one that was made is left: {left}")),
            };
            return Err(error.into());
        }
        state.tables.push(table);
        Ok(Created {
            liobn: dynamic.liobn,
            start: dynamic.start,
        })
    }

    /// `ibm,remove-pe-dma-window`: removes a window, with all that is mapped in it. The default one can be removed, too: the
    /// hosts keep theirs for when the guest starts anew, since not every host could make it again.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: there is no such window. [`Refused::Host`]: it is there still, if perhaps without some of what
    /// was mapped.
    pub fn remove(&self, liobn: u32) -> Result<(), Refused> {
        let state = &mut *self.state();
        state.forget_those_that_are_over();
        let at = state.tables.iter().position(|table| table.liobn == liobn);
        let at = at.ok_or_else(|| no_window(liobn))?;
        let Some(table) = state.tables.get_mut(at) else {
            return Err(no_window(liobn));
        };
        self.take_back_table(table)?;
        let all = self
            .iommu
            .apply(&[vfio_core::guest::Request::Unmap(table.range)]);
        all.map_err(|unmade| unmade.error)?;
        table.clear();
        if liobn != self.default.liobn {
            state.remove_created(|it| it == liobn)?;
        }
        state.tables.remove(at);
        Ok(())
    }

    fn available(&self, state: &mut State) -> Result<Available, Refused> {
        let dynamic = self.dynamic.ok_or_else(none_at_all)?;
        let is_free = state.tables.iter().all(|it| it.liobn != dynamic.liobn);
        if is_free {
            // Those that could not be removed when they were to be.
            let _ = state.remove_created(|liobn| liobn == dynamic.liobn);
        }
        let (mut windows, mut page_sizes) = (u32::from(is_free), dynamic.page_sizes);
        for member in state.following() {
            let (free, sizes) = of_host(&member.domain)?;
            windows = windows.min(free);
            page_sizes = PageSizes(page_sizes.0 & sizes.0);
        }
        let pages = dynamic.largest >> 12;
        Ok(Available {
            windows,
            largest_block: u32::try_from(pages).unwrap_or(u32::MAX),
            page_sizes,
        })
    }
}

/// How many windows a host has left, and with which pages. One that has no windows can map anywhere.
fn of_host(domain: &Domain) -> Result<(u32, PageSizes), Refused> {
    let there = domain.capabilities()?;
    let smallest = there.page_sizes.smallest().unwrap_or(1);
    Ok(match there.windows {
        Some(limits) => {
            let made = u32::try_from(there.apertures.len()).unwrap_or(u32::MAX);
            (limits.count.min(2).saturating_sub(made), limits.page_sizes)
        }
        None => (1, PageSizes(u64::MAX << smallest.trailing_zeros())),
    })
}

#[cold]
fn none_at_all() -> Refused {
    parameter("this bridge has no windows that a guest could create")
}

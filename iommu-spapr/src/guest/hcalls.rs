//! The hypercalls about TCEs.

use vfio_core::address::Iova;
use vfio_core::guest::Unmade;

use super::bridge::{Bridge, State};
use super::refused::{Refused, parameter};
use super::table::Table;

/// The most TCEs of a list: a page of 4 KiB.
const MOST: usize = 512;

impl Bridge {
    /// `H_PUT_TCE`: writes the TCE of the page at the bus address `ioba` of the window `liobn`. Its lowest bits say what
    /// devices may do (1: read, 2: write), the others where in the guest the page is. One that is there is replaced: devices
    /// do not reach either for a moment.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: there is no such window, `ioba` is not the start of a page in it, or the TCE does not lead
    /// to one; nothing has changed. [`Refused::Host`]: the host could not; then the TCE is 0, or the one before if that
    /// could not be unmapped.
    #[inline]
    pub fn put(&self, liobn: u32, ioba: u64, tce: u64) -> Result<(), Refused> {
        let state = &mut *self.state();
        let table = state.table(liobn)?;
        let at = table
            .index(ioba, 1)
            .ok_or_else(|| outside(table, ioba, 1))?;
        if !table.is_aligned(tce) {
            return Err(misaligned(table, tce));
        }
        if table.kernel.is_some() {
            return self.put_beside_kvm(table, (at, 1), |_| tce);
        }
        let (goes, comes) = table.change(at, tce);
        let result = match (goes, comes) {
            (None, None) => Ok(()),
            (Some(one), None) | (None, Some(one)) => self.iommu.apply(&[one]),
            (Some(goes), Some(comes)) => self.iommu.apply(&[goes, comes]),
        };
        match result {
            Ok(()) => {
                table.set(at, tce);
                Ok(())
            }
            Err(unmade) => {
                table.is_in_doubt = true;
                if unmade.made == 1 {
                    table.set(at, 0);
                }
                Err(unmade.error.into())
            }
        }
    }

    /// `H_PUT_TCE_INDIRECT`: writes the TCEs of as many pages, at most 512, from `ioba` on. What follows each other in the
    /// guest's memory is mapped at once. In the guest's memory the list is of big-endian numbers, whatever the guest, and
    /// starts at a multiple of 4 KiB: where it does not, the answer is `H_PARAMETER`.
    ///
    /// # Errors
    /// Those of [`put`](Self::put). If the host could not map one, those of this call are 0 from there on.
    pub fn put_list(&self, liobn: u32, ioba: u64, tces: &[u64]) -> Result<(), Refused> {
        let new = |n: usize| tces.get(n).copied().unwrap_or_default();
        if tces.len() > MOST {
            return Err(parameter(format!("a list has at most {MOST} TCEs")));
        }
        self.write(liobn, ioba, tces.len(), new)
    }

    /// `H_STUFF_TCE`: writes the same TCE, which lets devices do nothing, for so many pages from `ioba` on. (The specification
    /// says 512 at most; KVM takes any number, and there are guests that clear a window at once.)
    ///
    /// # Errors
    /// Those of [`put`](Self::put). [`Refused::Parameter`] also: it would let devices do something.
    pub fn stuff(&self, liobn: u32, ioba: u64, tce: u64, count: usize) -> Result<(), Refused> {
        if tce & 0b11 != 0 {
            return Err(parameter(format!(
                "the TCE {tce:#x} is stuffed, and would let devices reach something"
            )));
        }
        self.write(liobn, ioba, count, |_| tce)
    }

    /// `H_GET_TCE`: what the guest has written for the page at `ioba`.
    ///
    /// # Errors
    /// [`Refused::Parameter`]: there is no such window, or `ioba` is not the start of a page in it.
    pub fn get(&self, liobn: u32, ioba: u64) -> Result<u64, Refused> {
        let state = &mut *self.state();
        let table = state.table(liobn)?;
        let at = table.index(ioba, 1);
        let at = at.ok_or_else(|| outside(table, ioba, 1))?;
        match &table.kernel {
            Some(kernel) => Ok(kernel.get(Iova(ioba))?.0),
            None => Ok(table.get(at)),
        }
    }

    fn write(
        &self,
        liobn: u32,
        ioba: u64,
        count: usize,
        new: impl Fn(usize) -> u64,
    ) -> Result<(), Refused> {
        let state = &mut *self.state();
        let table = state.table(liobn)?;
        let at = table.index(ioba, count);
        let at = at.ok_or_else(|| outside(table, ioba, count))?;
        if let Some(wrong) = (0..count).map(&new).find(|tce| !table.is_aligned(*tce)) {
            return Err(misaligned(table, wrong));
        }
        if table.kernel.is_some() {
            return self.put_beside_kvm(table, (at, count), new);
        }
        let requests = table.changes(at, count, &new);
        let result = self.iommu.apply(&requests);
        let made = match &result {
            Ok(()) => requests.len(),
            Err(Unmade { made, .. }) => *made,
        };
        for request in requests.iter().take(made) {
            table.done(request);
        }
        match result {
            // What leads nowhere was asked of nobody.
            Ok(()) => {
                (0..count).for_each(|n| table.set(at + n, new(n)));
                Ok(())
            }
            Err(unmade) => {
                table.is_in_doubt = true;
                Err(unmade.error.into())
            }
        }
    }
}

impl State {
    #[inline]
    pub(super) fn table(&mut self, liobn: u32) -> Result<&mut Table, Refused> {
        let mut tables = self.tables.iter_mut();
        let table = tables.find(|table| table.liobn == liobn);
        table.ok_or_else(|| no_window(liobn))
    }
}

#[cold]
pub(super) fn no_window(liobn: u32) -> Refused {
    parameter(format!("there is no window {liobn:#x}"))
}

#[cold]
fn outside(table: &Table, ioba: u64, count: usize) -> Refused {
    parameter(format!(
        "{count} pages of {:#x} bytes from {ioba:#x} on are not in the window {:#x} of {}",
        table.page_size(),
        table.liobn,
        table.range
    ))
}

#[cold]
fn misaligned(table: &Table, tce: u64) -> Refused {
    parameter(format!(
        "the TCE {tce:#x} leads to no page of {:#x} bytes",
        table.page_size()
    ))
}

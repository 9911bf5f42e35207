//! The MSI-X table at another place, so that it shares no page of the host with registers.

use vfio_core::{Error, ErrorKind, Result};

use super::msix::Place;
use super::{BARS, Bar, BarKind, BarShape, Bars, PageSize};

/// The smallest BAR that is made for a table, in bytes: smaller ones only make guests with large pages share them.
const SMALLEST: u64 = 4096;

impl Bars {
    /// The same device as a guest is to see it, with MSI-X table and pending bits in another BAR: one that the device does
    /// not have, or else behind the end of one that it has, which becomes as much larger as it must. Pages of the
    /// hardware's table are mapped then, if the kernel says that they may be.
    ///
    /// For hosts with large pages: with 64 KiB, a table amid 64 KiB of registers would have all of them trapped. The
    /// guest has to be shown another MSI-X capability, too: [`Bars::msix`] says what it has to be.
    ///
    /// ```
    /// use pci_device::bar::{Bars, Described, Msix, PageSize, Place, SliceKind};
    ///
    /// let mut described: [Described; 6] = Default::default();
    /// described[0].size = 0x1_0000;
    /// described[0].mappable = true;
    /// described[0].capabilities.msix_mappable = true;
    /// let msix = Msix {
    ///     vectors: 64,
    ///     table: Place { bar: 0, offset: 0x2000 },
    ///     pending: Place { bar: 0, offset: 0x3000 },
    /// };
    /// let bars = Bars::new(&described, 0, Some(msix))?;
    ///
    /// let page = PageSize::new(0x1_0000).unwrap();
    /// let mapped = |bars: &Bars| {
    ///     let slices = bars.bars[0].as_ref().unwrap().shape.slices(page);
    ///     slices.iter().filter(|it| it.kind == SliceKind::Mapped).count()
    /// };
    /// assert_eq!(mapped(&bars), 0);
    /// assert_eq!(mapped(&bars.with_msix_in(1, page)?), 1);
    /// # Ok::<(), vfio_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: the device has no MSI-X; no BAR has that number; it is the upper half of another one, has
    /// ports, or cannot become as large as it must.
    pub fn with_msix_in(&self, number: u8, page: PageSize) -> Result<Self> {
        let refused = |why: &str| {
            Error::new(
                ErrorKind::Invalid,
                "move",
                format!("the MSI-X table to BAR {number}"),
            )
            .because(why)
        };
        let mut msix = self.msix.ok_or_else(|| refused("the device has none"))?;
        let mut moved = self.clone();
        for bar in moved.bars.iter_mut().flatten() {
            (bar.shape.table, bar.shape.pending) = (None, None);
        }
        let at = usize::from(number);
        let below = at.checked_sub(1).and_then(|below| self.bars.get(below));
        let below = below.and_then(Option::as_ref);
        if below.is_some_and(|it| it.kind.has_two_registers()) {
            return Err(refused("it is the upper half of the one before"));
        }
        let slot = moved.bars.get_mut(at);
        let slot = slot.ok_or_else(|| refused(&format!("a device has {BARS} BARs, from 0 on")))?;
        let bar = slot.get_or_insert_with(|| Bar {
            kind: BarKind::Memory {
                wide: false,
                prefetchable: false,
            },
            shape: BarShape::default(),
        });
        if bar.kind.is_io() {
            return Err(refused("it has ports"));
        }
        let (table, pending) = (msix.table_range(), msix.pending_range());
        let table = table.end - table.start;
        let (_, largest) = bar.kind.sizes();
        let start = page.up(bar.shape.size);
        let end = start.and_then(|start| {
            let end = start.checked_add(table + (pending.end - pending.start));
            end?.checked_next_power_of_two()
        });
        let offset = |at: u64| u32::try_from(at).ok();
        let places =
            start.and_then(|start| Some((offset(start)?, offset(start.checked_add(table)?)?)));
        let (Some(end), Some((table, pending))) = (end.filter(|end| *end <= largest), places)
        else {
            return Err(refused("it cannot become so large"));
        };
        bar.shape.size = end.max(SMALLEST);
        let bar = number;
        msix.table = Place { bar, offset: table };
        msix.pending = Place {
            bar,
            offset: pending,
        };
        moved.put(msix)?;
        Ok(moved)
    }
}

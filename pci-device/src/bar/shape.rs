//! The BARs of a device: from what VFIO and config space say, and neither is trusted.

use vfio_core::device::{Device, RegionCapabilities, RegionIndex};
use vfio_core::{Error, ErrorKind, Result};

use super::msix::{Msix, malformed};
use super::pages::overlap;
use super::{BARS, BarKind, BarShape};
use crate::config::ConfigSpace;

/// A ROM is no smaller, in bytes: its register has no lower address bits.
const SMALLEST_ROM: u64 = 1 << 11;
/// Nor larger: its register has 32 bits.
const LARGEST_ROM: u64 = 1 << 31;

/// A BAR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// What it is.
    pub kind: BarKind,
    /// How large, and what can be mapped of it.
    pub shape: BarShape,
}

/// The BARs of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bars {
    /// Each by its number; `None` where there is none, and where the upper half of the one before is.
    pub bars: [Option<Bar>; BARS],
    /// The size of the expansion ROM in bytes; 0 for none.
    pub rom: u64,
    /// Where the guest sees MSI-X, if the device has it.
    pub msix: Option<Msix>,
}

/// What a kernel says of a BAR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// Its register in config space, as VFIO shows it.
    pub register: u32,
    /// The size of its region in bytes; 0 for no BAR.
    pub size: u64,
    /// Whether VFIO lets any of it be mapped.
    pub mappable: bool,
    /// What VFIO says beside.
    pub capabilities: RegionCapabilities,
}

impl Bars {
    /// Those of a device. Asks for each region, and reads the registers in config space.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`]: what device and kernel say makes no sense, as for [`new`](Self::new). What the kernel
    /// answered.
    pub fn of(device: &Device) -> Result<Self> {
        let config = ConfigSpace::of(device)?;
        let mut described: [Described; BARS] = Default::default();
        for (number, one) in (0_u8..).zip(&mut described) {
            let region = device.region(RegionIndex::Bar(number))?;
            *one = Described {
                register: config.bar(number)?,
                size: region.size(),
                mappable: region.is_mappable(),
                capabilities: region.capabilities()?,
            };
        }
        let rom = device.region(RegionIndex::Rom)?.size();
        let msix = Msix::read(&config).map_err(|error| error.of_device(device.bdf()))?;
        Self::new(&described, rom, msix).map_err(|error| error.of_device(device.bdf()))
    }

    /// Those that a kernel describes so.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`]: a BAR has a size that its register cannot say, or is where the upper half of another one is; the
    /// MSI-X table or the pending bits are not inside of a BAR in memory space, or overlap.
    pub fn new(described: &[Described; BARS], rom: u64, msix: Option<Msix>) -> Result<Self> {
        let mut bars = Self {
            rom,
            ..Self::default()
        };
        let mut is_upper = false;
        for (number, (slot, one)) in bars.bars.iter_mut().zip(described).enumerate() {
            if is_upper && one.size > 0 {
                return Err(nonsense(
                    number,
                    "it is the upper half of the one before".into(),
                ));
            }
            *slot = bar(number, one)?;
            is_upper = slot.as_ref().is_some_and(|it| it.kind.has_two_registers());
        }
        if is_upper {
            let why = "it has 64 bits, and no register is left for the upper half";
            return Err(nonsense(BARS - 1, why.into()));
        }
        if let Some(msix) = msix {
            bars.put(msix)?;
            bars.refuse_table(msix, described);
        }
        Ok(bars)
    }

    /// The size that the ROM's register says, in bytes: a power of two; 0 for none.
    pub fn rom_size(&self) -> u64 {
        match self.rom {
            0 => 0,
            size => size.clamp(SMALLEST_ROM, LARGEST_ROM).next_power_of_two(),
        }
    }

    /// Puts the table and the pending bits where they are.
    pub(super) fn put(&mut self, msix: Msix) -> Result<()> {
        let (table, pending) = (msix.table_range(), msix.pending_range());
        if msix.table.bar == msix.pending.bar && overlap(&table, &pending) {
            return Err(malformed(format!(
                "table ({table:#x?}) and pending bits ({pending:#x?}) overlap in BAR {}",
                msix.table.bar
            )));
        }
        let parts = [
            ("the table", msix.table.bar, &table),
            ("the pending bits", msix.pending.bar, &pending),
        ];
        for (what, number, range) in parts {
            let bar = self.bars.get(usize::from(number)).and_then(Option::as_ref);
            let size = match bar {
                Some(bar) if !bar.kind.is_io() => bar.shape.size,
                _ => 0,
            };
            if range.end > size {
                return Err(malformed(format!(
                    "{what} ({range:#x?}) is not inside of BAR {number}, which has {size:#x} bytes of memory"
                )));
            }
        }
        if let Some(bar) = self.bar_mut(msix.table.bar) {
            bar.shape.table = Some(table);
        }
        if let Some(bar) = self.bar_mut(msix.pending.bar) {
            bar.shape.pending = Some(pending);
        }
        self.msix = Some(msix);
        Ok(())
    }

    /// Where the kernel does not say that the hardware's table may be mapped, it may not.
    fn refuse_table(&mut self, msix: Msix, described: &[Described; BARS]) {
        let one = described.get(usize::from(msix.table.bar));
        let may = one.is_some_and(|one| one.capabilities.msix_mappable);
        if let Some(bar) = self.bar_mut(msix.table.bar) {
            bar.shape.refused = (!may).then(|| msix.table_range());
        }
    }

    pub(crate) fn bar_mut(&mut self, number: u8) -> Option<&mut Bar> {
        self.bars.get_mut(usize::from(number))?.as_mut()
    }
}

/// A BAR that is described so, if it is one.
fn bar(number: usize, one: &Described) -> Result<Option<Bar>> {
    if one.size == 0 {
        return Ok(None);
    }
    let kind = BarKind::of_register(one.register);
    let (smallest, largest) = kind.sizes();
    if !one.size.is_power_of_two() || one.size < smallest || one.size > largest {
        return Err(nonsense(
            number,
            format!(
                "it has {:#x} bytes, which no register of its kind can say",
                one.size
            ),
        ));
    }
    let areas = one.capabilities.sparse.as_ref().map(|areas| {
        let range = |offset: u64, size| offset..offset.saturating_add(size);
        areas.iter().map(|it| range(it.offset, it.size)).collect()
    });
    let shape = BarShape {
        areas,
        ..BarShape::of_region(one.size, one.mappable)
    };
    Ok(Some(Bar { kind, shape }))
}

/// What is said of a BAR makes no sense.
fn nonsense(number: usize, why: String) -> Error {
    Error::new(ErrorKind::Kernel, "describe", format!("BAR {number}")).because(why)
}

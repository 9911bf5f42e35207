//! Reading and writing regions (F78, F79).

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi;

use crate::iommu::{AccessKind, Instead};
use crate::machine::{Bar, BarKind, Device};
use crate::world::World;

use super::bus::Run;
use super::{REGION_SHIFT, State, config};

/// How much of a ROM is an image.
const ROM_IMAGE: u64 = 512;

/// How somebody comes to registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Through the device's fd, in accesses of up to so many bytes: the kernel keeps the MSI-X table for itself.
    Call {
        /// In bytes.
        widest: usize,
    },
    /// By a mapping, which shows the hardware's table.
    Mapping,
}

/// The largest access of a processor, in bytes.
const WIDEST: usize = 8;

/// The bytes that the kernel moves.
pub(crate) enum Transfer<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl Transfer<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Read(bytes) => bytes.len(),
            Self::Write(bytes) => bytes.len(),
        }
    }

    /// The same, cut off after so many bytes.
    pub(super) fn cut(self, most: usize) -> Self {
        match self {
            Self::Read(bytes) => {
                let most = most.min(bytes.len());
                Self::Read(&mut bytes[..most])
            }
            Self::Write(bytes) => Self::Write(&bytes[..most.min(bytes.len())]),
        }
    }
}

impl World {
    /// Moves bytes to or from a region; `place` is in the device's fd.
    pub(crate) fn transfer(
        &mut self,
        bdf: &str,
        place: u64,
        transfer: Transfer<'_>,
    ) -> Result<usize> {
        if transfer.len() == 0 {
            return Ok(0);
        }
        let index = u32::try_from(place >> REGION_SHIFT).map_err(|_| Errno::INVAL)?;
        let offset = place & ((1 << REGION_SHIFT) - 1);
        let widest = self.machine.profile().widest_access();
        if index <= uapi::PCI_VGA_REGION_INDEX {
            self.state(bdf).resume();
        }
        match index {
            0..6 => self.bar_transfer(bdf, index, offset, transfer, widest),
            uapi::PCI_ROM_REGION_INDEX => self.state(bdf).rom_transfer(offset, transfer),
            uapi::PCI_CONFIG_REGION_INDEX => self.config_transfer(bdf, offset, transfer),
            _ => Err(Errno::INVAL),
        }
    }

    fn config_transfer(&mut self, bdf: &str, offset: u64, transfer: Transfer<'_>) -> Result<usize> {
        let len = transfer.len();
        let kind = match transfer {
            Transfer::Read(_) => AccessKind::ReadConfig,
            Transfer::Write(_) => AccessKind::WriteConfig,
        };
        let stops = self.stops(bdf, kind, offset, len);
        let blocks = self.blocks_config(bdf);
        let state = self.state(bdf);
        let at = usize::try_from(offset).map_err(|_| Errno::FAULT)?;
        if at
            .checked_add(len)
            .is_none_or(|end| end > state.config.len())
        {
            return Err(Errno::FAULT);
        }
        if blocks && !(at..at + len).all(config::is_vfios) {
            return Err(Errno::NODEV); // D58c
        }
        match (transfer, stops) {
            (transfer, Some(_)) => state.config.without_hardware(at, transfer),
            (Transfer::Read(bytes), None) => state.config.read(at, bytes),
            (Transfer::Write(bytes), None) => {
                let was_quiet = state.config.keeps_line_quiet();
                let effects = state.config.write(at, bytes);
                if effects.reset {
                    state.reset_function();
                }
                if effects.command {
                    state.line_was_switched(was_quiet);
                }
                state.show_memory()?;
            }
        }
        Ok(len)
    }

    /// In accesses of up to `widest` bytes.
    pub(super) fn bar_transfer(
        &mut self,
        bdf: &str,
        index: u32,
        offset: u64,
        transfer: Transfer<'_>,
        widest: usize,
    ) -> Result<usize> {
        let state = self.state(bdf);
        let bar = state.bar(index).ok_or(Errno::INVAL)?;
        if offset >= bar.size {
            return Err(Errno::INVAL);
        }
        let left = usize::try_from(bar.size - offset).unwrap_or(usize::MAX);
        let transfer = transfer.cut(left);
        let len = transfer.len();
        // The MSI-X table is the kernel's, and answers always.
        let is_answered = state.decodes_memory() || state.is_inside_msix_table(index, offset, len);
        if bar.is_memory_space() && !is_answered {
            return Err(Errno::IO);
        }
        match bar.kind {
            BarKind::Memory { .. } => {
                let kind = load_or_store(&transfer, bar);
                let stops = self.stops(bdf, kind, offset, len);
                match (transfer, stops) {
                    (Transfer::Read(bytes), Some(instead)) => bytes.fill(instead.byte()),
                    (Transfer::Write(_), Some(_)) => {}
                    (transfer, None) => {
                        let memory = self.state(bdf).memory_of(index)?;
                        return memory.transfer(offset, transfer);
                    }
                }
                Ok(len)
            }
            _ => {
                self.registers(bdf, (index, offset), transfer, Way::Call { widest });
                Ok(len)
            }
        }
    }

    /// The device sees accesses as large as their place and the way to it allow.
    pub(super) fn registers(
        &mut self,
        bdf: &str,
        (index, offset): (u32, u64),
        mut transfer: Transfer<'_>,
        way: Way,
    ) {
        let widest = match way {
            Way::Call { widest } => widest,
            Way::Mapping => WIDEST,
        };
        let len = transfer.len();
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let size = access_size(at, (len - done).min(widest));
            let is_table = self.state(bdf).is_msix_table(index, at, size);
            let bar = self.state(bdf).bar(index);
            let kind = bar.map(|bar| load_or_store(&transfer, bar));
            let is_vfios = is_table && way != Way::Mapping; // which nobody asks the hardware for
            let kind = kind.filter(|_| !is_vfios);
            let stops = kind.and_then(|kind| self.stops(bdf, kind, at, size));
            match &mut transfer {
                Transfer::Read(bytes) if stops.is_some() => {
                    bytes[done..done + size].fill(stops.map_or(0xff, Instead::byte));
                }
                Transfer::Write(_) if stops.is_some() => {}
                Transfer::Read(bytes) if is_table && way == Way::Mapping => {
                    let bytes = &mut bytes[done..done + size];
                    bytes.copy_from_slice(self.state(bdf).table_at(at, size));
                }
                Transfer::Write(bytes) if is_table && way == Way::Mapping => {
                    let bytes = &bytes[done..done + size];
                    self.state(bdf).table_at(at, size).copy_from_slice(bytes);
                }
                Transfer::Read(bytes) => {
                    let bytes = &mut bytes[done..done + size];
                    bytes.fill(0xff);
                    if !is_table {
                        self.run(bdf, Run::Read(index, at, bytes));
                    }
                }
                Transfer::Write(bytes) if !is_table => {
                    self.run(bdf, Run::Write(index, at, &bytes[done..done + size]));
                }
                Transfer::Write(_) => {}
            }
            done += size;
        }
    }
}

fn load_or_store(transfer: &Transfer<'_>, bar: Bar) -> AccessKind {
    let io = !bar.is_memory_space();
    match transfer {
        Transfer::Read(_) => AccessKind::Load { io },
        Transfer::Write(_) => AccessKind::Store { io },
    }
}

/// The MSI-X table after a reset: every vector is masked, and has no message.
pub(super) fn masked_table(device: &Device) -> Vec<u8> {
    const MASKED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let vectors = device.interrupts.msix.map_or(0, |msix| msix.vectors);
    MASKED.repeat(usize::try_from(vectors).unwrap_or(0))
}

/// The largest power of two up to eight that is aligned at `at` and not more than `left`.
fn access_size(at: u64, left: usize) -> usize {
    [8, 4, 2]
        .into_iter()
        .find(|&size| at % size as u64 == 0 && size <= left)
        .unwrap_or(1)
}

impl State {
    /// The ROM is empty: an image with nothing but a signature. Behind it are ones.
    fn rom_transfer(&self, offset: u64, transfer: Transfer<'_>) -> Result<usize> {
        let Transfer::Read(bytes) = transfer else {
            return Err(Errno::INVAL);
        };
        if offset >= self.description.rom {
            return Err(Errno::INVAL);
        }
        if !self.decodes_memory() {
            return Err(Errno::NOMEM); // the kernel looks for an image, and finds none
        }
        let left = usize::try_from(self.description.rom - offset).unwrap_or(usize::MAX);
        let most = bytes.len().min(left);
        for (byte, at) in bytes.iter_mut().take(most).zip(offset..) {
            *byte = match at {
                0 => 0x55,
                1 => 0xaa,
                2..ROM_IMAGE => 0,
                _ => 0xff,
            };
        }
        Ok(most)
    }

    /// A part of the MSI-X table, by where it is in its BAR.
    fn table_at(&mut self, at: u64, size: usize) -> &mut [u8] {
        let first = self
            .description
            .interrupts
            .msix
            .map_or(0, |msix| msix.table);
        let at = usize::try_from(at - u64::from(first)).unwrap_or(usize::MAX);
        let part = self
            .table
            .get_mut(at..)
            .and_then(|rest| rest.get_mut(..size));
        part.unwrap_or_default()
    }

    /// Whether all of an access is to the MSI-X table.
    fn is_inside_msix_table(&self, index: u32, at: u64, len: usize) -> bool {
        let part = |at| self.is_msix_table(index, at, 1);
        len > 0 && part(at) && part(at + (len as u64 - 1))
    }

    /// Whether an access is to the MSI-X table, which the kernel keeps for itself.
    pub(super) fn is_msix_table(&self, index: u32, at: u64, size: usize) -> bool {
        self.description.interrupts.msix.is_some_and(|msix| {
            let first = u64::from(msix.table);
            let end = first + 16 * u64::from(msix.vectors);
            u32::from(msix.bar) == index && at < end && first < at + size as u64
        })
    }
}

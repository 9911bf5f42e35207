//! A device that a guest has.

mod bar_space;
mod config_access;
mod gate;
mod locked;
mod msix_table;
mod notifications;
mod placing;
mod reporter;
mod reset;
mod rom;
mod setup;
mod slice;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use vfio_core::device::{Device, MappedRegister, Region, RegionMap};
use vfio_core::{Register, Result};

use crate::bar::{BARS, BarRegister, Bars};
use crate::quirk::{Hooked, Quirk};
use crate::virtual_config::VirtualConfig;
use crate::vmm::Event;
use bar_space::{BarSpace, ONES};
use gate::Pass;
use msix_table::MsixTable;
use placing::Placed;
use reporter::Reporter;

pub use notifications::{Notification, Notifications};
pub use reset::{ResetMethod, reset_guest};
pub use rom::RomSource;
pub use setup::{Settings, Vmm};

/// A device of VFIO as a guest sees it.
///
/// It is a handle: clones speak of the same device. Guest accesses are infallible, and may come from any thread at any time;
/// where hardware would answer ones, they read ones, and what a guest cannot be told goes to the
/// [`Observer`](crate::vmm::Observer).
///
/// With the last handle, everything that the guest had of it leaves the guest: slices first, then traps.
#[derive(Clone)]
pub struct AssignedDevice(Arc<Inner>);

impl fmt::Debug for AssignedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.0.device.bdf();
        f.debug_tuple("AssignedDevice").field(&device).finish()
    }
}

struct Inner {
    device: Device,
    config: Region,
    bars: Bars,
    /// The BARs by their numbers, and the ROM behind them.
    spaces: [Option<BarSpace>; BARS + 1],
    quirks: Vec<Arc<dyn Quirk>>,
    hooks: Vec<Hooked>,
    msix: Option<Arc<MsixTable>>,
    state: Mutex<State>,
    /// Something that is placed depends on what has changed since it was placed.
    is_unsettled: AtomicBool,
    /// Whether somebody has the kernel's notifications.
    is_notified: Arc<AtomicBool>,
    vmm: Vmm,
    reporter: Reporter,
}

/// What a guest's writes to config space change.
struct State {
    config: VirtualConfig,
    placed: Placed,
    /// By how many it is stopped, who reset it or have taken it from the guest: then nothing of it is anywhere.
    stopped: u32,
}

/// Where a BAR, or the ROM, is among the spaces.
#[inline]
fn index(bar: BarRegister) -> usize {
    match bar {
        BarRegister::Bar(number) if usize::from(number) >= BARS => usize::MAX,
        BarRegister::Bar(number) => number.into(),
        BarRegister::Rom => BARS,
    }
}

/// All of a region, but no more than so many bytes, in one call.
fn read_whole(region: &Region, most: u64) -> Result<Vec<u8>> {
    let size = region.size().min(most);
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    region.read_bytes(0, &mut bytes)?;
    Ok(bytes)
}

impl AssignedDevice {
    /// Reads a BAR, or the ROM, for the guest, at an offset in bytes: what a [`Trap`](crate::vmm::Trap) is for. Registers cost
    /// one `pread` each, no lock and no allocation.
    ///
    /// While the guest has switched its memory (or ports) off, while the device sleeps, while the BAR moves, behind its end,
    /// and if the device does not answer, there are ones.
    #[inline]
    pub fn read(&self, bar: BarRegister, offset: u64, bytes: &mut [u8]) {
        let Some(space) = self.0.space(bar) else {
            return bytes.fill(ONES);
        };
        if let Some(hook) = self.0.hook(bar, offset, bytes.len()) {
            return self.read_hooked(space, hook, offset, bytes);
        }
        if let Err(error) = space.read(offset, bytes) {
            bytes.fill(ONES);
            self.0.access_failed(bar, error);
        }
        if space.was_touched() {
            self.0.unsettle();
        }
    }

    /// Writes a BAR for the guest, at an offset in bytes. Where reads answer ones, what is written is lost.
    #[inline]
    pub fn write(&self, bar: BarRegister, offset: u64, bytes: &[u8]) {
        let Some(space) = self.0.space(bar) else {
            return;
        };
        if let Some(hook) = self.0.hook(bar, offset, bytes.len()) {
            return self.write_hooked(space, hook, offset, bytes);
        }
        if let Err(error) = space.write(offset, bytes) {
            self.0.access_failed(bar, error);
        }
        if space.was_touched() {
            self.0.unsettle();
        }
    }

    /// The mapped part of a BAR that an offset is in, for many accesses; `None` if that is not mapped, or the BAR does not
    /// answer.
    ///
    /// As long as this lives the BAR stays where it is, and the device awake: a guest's write that would change that waits, and
    /// has what the device's other methods need. So the same thread must call nothing of the device meanwhile but
    /// [`read`](Self::read) and [`write`](Self::write).
    pub fn mapped(&self, bar: BarRegister, offset: u64) -> Option<MappedAccess<'_>> {
        let space = self.0.space(bar)?;
        let (pass, map, start) = space.enter(offset)?;
        Some(MappedAccess {
            map,
            start,
            _pass: pass,
        })
    }

    /// Something else has come to the guest's address space, or has gone: what depends on that is placed anew. Called before
    /// something comes, for addresses that [`Traps::is_free`](crate::vmm::Traps::is_free) no longer calls free.
    ///
    /// It may be called from everywhere, also while another device is being placed, and waits for nobody: if some thread is
    /// about to change something of this device, that one places it anew, before its guest's write returns. Until then the rest
    /// of a small BAR's page, which has nothing, may be where something else is to be.
    pub fn address_space_changed(&self) {
        self.0.unsettle();
    }

    /// Takes the device from the guest, for good: slices and traps leave, it does no DMA any more, and everything reads as ones.
    /// Dropping the last handle does the same; a VMM whose bus holds its devices, which hold the bus, calls this.
    pub fn release(&self) {
        self.0.stop(&mut self.0.lock());
    }

    /// The device itself.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// Its BARs as the guest sees them.
    pub fn bars(&self) -> &Bars {
        &self.0.bars
    }

    /// An access that is only partly the quirk's is nobody's: the device must not see its part, either.
    fn read_hooked(&self, space: &BarSpace, hook: &Hooked, offset: u64, bytes: &mut [u8]) {
        bytes.fill(ONES);
        if space.gate().is_open() && hook.holds(offset, bytes.len()) {
            hook.quirk.read(self, hook.bar, offset, bytes);
        }
    }

    fn write_hooked(&self, space: &BarSpace, hook: &Hooked, offset: u64, bytes: &[u8]) {
        if space.gate().is_open() && hook.holds(offset, bytes.len()) {
            hook.quirk.write(self, hook.bar, offset, bytes);
        }
    }
}

/// Accesses to a mapped part of a BAR. Offsets are in the BAR, in bytes.
#[must_use]
pub struct MappedAccess<'a> {
    map: &'a RegionMap,
    start: u64,
    _pass: Pass<'a>,
}

impl MappedAccess<'_> {
    /// Reads a register.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](vfio_core::ErrorKind::Invalid): outside of the part, or misaligned.
    #[inline]
    pub fn read<T: Register>(&self, offset: u64) -> Result<T> {
        self.map.read(self.place(offset))
    }

    /// Writes a register.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    #[inline]
    pub fn write<T: Register>(&self, offset: u64, value: T) -> Result<()> {
        self.map.write(self.place(offset), value)
    }

    /// A register, for many accesses: an access then costs what the register does.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn register<T: Register>(&self, offset: u64) -> Result<MappedRegister<'_, T>> {
        self.map.register(self.place(offset))
    }

    /// In the mapping; what is before its start is as much outside as what is behind its end.
    fn place(&self, offset: u64) -> usize {
        let offset = offset.checked_sub(self.start);
        offset
            .and_then(|offset| usize::try_from(offset).ok())
            .unwrap_or(usize::MAX)
    }
}

impl Inner {
    /// A BAR, or the ROM, if there is one.
    #[inline]
    fn space(&self, bar: BarRegister) -> Option<&BarSpace> {
        self.spaces.get(index(bar))?.as_ref()
    }

    fn report(&self, event: Event) {
        self.reporter.report(event);
    }

    /// The quirk that an access reaches.
    #[inline]
    fn hook(&self, bar: BarRegister, offset: u64, len: usize) -> Option<&Hooked> {
        let mut hooks = self.hooks.iter();
        hooks.find(|it| BarRegister::Bar(it.bar) == bar && it.reaches(offset, len))
    }

    #[cold]
    fn access_failed(&self, bar: BarRegister, error: vfio_core::Error) {
        self.report(match bar {
            BarRegister::Rom => Event::NoRom(error),
            BarRegister::Bar(_) => Event::AccessFailed(bar, error),
        });
    }
}

/// Nothing of it stays in the guest, and the device does nothing any more.
impl Drop for Inner {
    fn drop(&mut self) {
        self.stop(&mut self.lock());
    }
}

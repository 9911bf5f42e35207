//! How a device of VFIO becomes a guest's.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use vfio_core::device::{Device, Region, RegionIndex};
use vfio_core::{Error, ErrorKind, Result, host};

use super::bar_space::BarSpace;
use super::msix_table::MsixTable;
use super::reporter::Reporter;
use super::rom::{Rom, RomSource};
use super::{AssignedDevice, Inner, State, read_whole};
use crate::bar::{BARS, Bars, PageSize};
use crate::config::{Command, DEVICE, VENDOR};
use crate::quirk::{self, Hooked, Quirk, Subject};
use crate::virtual_config::raw::Raw;
use crate::virtual_config::{PowerState, Seat, VirtualConfig};
use crate::vmm::{Event, Interrupts, IoSpace, Log, MemorySlots, Observer, Traps, Undelivered};

/// What the VMM gives.
#[derive(Debug, Clone)]
pub struct Vmm {
    /// Its bus.
    pub traps: Arc<dyn Traps>,
    /// Who lets the guest, and its other devices, reach what is mapped; nobody, and everything is trapped.
    pub slots: Vec<Arc<dyn MemorySlots>>,
    /// Where the guest finds ports.
    pub io_space: IoSpace,
    /// Who delivers interrupts.
    pub interrupts: Arc<dyn Interrupts>,
    /// Who is told what a guest cannot be told.
    pub observer: Arc<dyn Observer>,
}

impl Vmm {
    /// A VMM with a bus, and nothing more: everything is trapped, no interrupts are delivered, events go to the log, and
    /// there are no ports.
    pub fn with_bus(traps: Arc<dyn Traps>) -> Self {
        Self {
            traps,
            slots: Vec::new(),
            io_space: IoSpace::None,
            interrupts: Arc::new(Undelivered),
            observer: Arc::new(Log),
        }
    }
}

/// What can be chosen about a device.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it sits in the guest, and what the guest sees of its config space.
    pub seat: Seat,
    /// What the guest finds as its ROM.
    pub rom: RomSource,
    /// The BAR that the MSI-X table is moved to, on hosts with large pages ([`Bars::with_msix_in`]).
    pub msix_in: Option<u8>,
    /// BARs of more bytes than this are mapped when the guest's processors first touch them, and not before. Until then other
    /// devices do not reach them, either.
    pub map_at_once: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seat: Seat::default(),
            rom: RomSource::Device,
            msix_in: None,
            map_at_once: u64::MAX,
        }
    }
}

impl AssignedDevice {
    /// Gives a device to a guest. Nothing of it is anywhere before the guest (or its firmware) places it, by the registers of
    /// its config space.
    ///
    /// # Errors
    /// [`ErrorKind::Kernel`]: what the device or the kernel says of it makes no sense, or the device does not answer
    /// (VFIO-12). [`ErrorKind::Invalid`]: the MSI-X table cannot be moved there. What the kernel answered.
    pub fn new(device: &Device, vmm: Vmm, settings: &Settings) -> Result<Self> {
        let config = device.region(RegionIndex::Config)?;
        let page = page_size(device)?;
        let raw = raw_config(device, &config)?;
        let bars = bars(device, page, settings)?;
        let quirks = quirks(device, &raw, &bars)?;
        let hooks = hooks(&quirks);
        let bars = intercepted(bars, &hooks);

        let reporter = Reporter::new(device.bdf(), Arc::clone(&vmm.observer));
        let virtual_config = VirtualConfig::new(&raw, &bars, &settings.seat);
        if !virtual_config.faults().is_empty() {
            reporter.report(Event::Malformed(virtual_config.faults().join("; ")));
        }
        for number in host::unassigned_ports(&**device.kernel(), device.bdf()) {
            reporter.report(Event::Unassigned(number));
        }
        let table = bars
            .msix
            .map(|msix| Arc::new(MsixTable::new(msix.vectors, Arc::clone(&vmm.interrupts))));
        let spaces = spaces(device, &bars, table.as_ref(), page, settings)?;
        let inner = Inner {
            device: device.clone(),
            config,
            bars,
            spaces,
            quirks,
            hooks,
            msix: table,
            state: Mutex::new(State {
                config: virtual_config,
                placed: super::Placed::default(),
                stopped: 0,
            }),
            is_unsettled: AtomicBool::new(false),
            is_notified: Arc::default(),
            vmm,
            reporter,
        };
        // As the guest sees it, whoever had it before.
        let register = inner.lock().config.power_register();
        inner.set_power(register, PowerState::D0);
        inner.set_command(Command::empty());
        Ok(Self(Arc::new(inner)))
    }
}

fn page_size(device: &Device) -> Result<PageSize> {
    let bytes = device.kernel().page_size() as u64;
    PageSize::new(bytes).ok_or_else(|| {
        Error::new(ErrorKind::Kernel, "use", format!("pages of {bytes} bytes"))
            .of_device(device.bdf())
    })
}

/// All of config space, as VFIO shows it.
fn raw_config(device: &Device, config: &Region) -> Result<Vec<u8>> {
    /// The most that there is, in bytes.
    const MOST: u64 = 4096;
    let raw = read_whole(config, MOST)?;
    if raw.iter().take(4).all(|byte| *byte == 0xff) {
        return Err(Error::new(ErrorKind::Kernel, "read", "config space")
            .of_device(device.bdf())
            .because(format!(
                "the device does not answer: a reset or a sleep that it did not come back from (VFIO-12); ask vfioctl doctor {}",
                device.bdf()
            )));
    }
    Ok(raw)
}

/// The quirks that it needs.
fn quirks(device: &Device, raw: &[u8], bars: &Bars) -> Result<Vec<Arc<dyn Quirk>>> {
    let raw = Raw(raw);
    let subject = Subject {
        device,
        class: raw.class(),
        bars,
    };
    let mut quirks: Vec<Arc<dyn Quirk>> = Vec::new();
    for registered in quirk::of(raw.word(VENDOR), raw.word(DEVICE)) {
        quirks.extend((registered.make)(&subject)?.map(Arc::from));
    }
    Ok(quirks)
}

/// The BARs as the guest is to see them.
fn bars(device: &Device, page: PageSize, settings: &Settings) -> Result<Bars> {
    let mut bars = Bars::of(device)?;
    if let Some(number) = settings.msix_in {
        bars = bars.with_msix_in(number, page)?;
    }
    match &settings.rom {
        RomSource::Device => {}
        RomSource::Hidden => bars.rom = 0,
        RomSource::Image(image) => bars.rom = image.len() as u64,
    }
    Ok(bars)
}

fn hooks(quirks: &[Arc<dyn Quirk>]) -> Vec<Hooked> {
    let of = |quirk: &Arc<dyn Quirk>| {
        let quirk = Arc::clone(quirk);
        let parts = quirk.intercepts();
        parts.into_iter().map(move |(bar, range)| Hooked {
            bar,
            range,
            quirk: Arc::clone(&quirk),
        })
    };
    quirks.iter().flat_map(of).collect()
}

/// The same BARs, with no page mapped that is a quirk's.
fn intercepted(mut bars: Bars, hooks: &[Hooked]) -> Bars {
    for hook in hooks {
        if let Some(bar) = bars.bar_mut(hook.bar) {
            bar.shape.intercepted.push(hook.range.clone());
        }
    }
    bars
}

fn spaces(
    device: &Device,
    bars: &Bars,
    table: Option<&Arc<MsixTable>>,
    page: PageSize,
    settings: &Settings,
) -> Result<[Option<BarSpace>; BARS + 1]> {
    let mut spaces: [Option<BarSpace>; BARS + 1] = Default::default();
    for (number, (space, bar)) in (0_u8..).zip(spaces.iter_mut().zip(&bars.bars)) {
        let Some(bar) = bar else { continue };
        let region = Arc::new(device.region(RegionIndex::Bar(number))?);
        *space = Some(BarSpace::of_bar(
            bar,
            &region,
            table,
            page,
            settings.map_at_once,
        ));
    }
    if bars.rom > 0 {
        let rom = match &settings.rom {
            RomSource::Image(image) => Rom::of_image(Arc::clone(image)),
            _ => Rom::of_region(Arc::new(device.region(RegionIndex::Rom)?)),
        };
        spaces[BARS] = Some(BarSpace::of_one(bars.rom_size(), rom));
    }
    Ok(spaces)
}

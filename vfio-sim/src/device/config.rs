//! Config space: what the device has, what VFIO invents, what can be written (F79).

use crate::machine::config_space::capability;
use crate::machine::{Bar, BarKind, Device, Machine};

use super::access::Transfer;

const SIZE: usize = 256;
const EXTENDED_SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CLASS: usize = 0x09;
const CACHE_LINE: usize = 0x0c;
const HEADER_TYPE: usize = 0x0e;
const BARS: usize = 0x10;
const ROM: usize = 0x30;
const CAPABILITIES: usize = 0x34;
const LINE: usize = 0x3c;
const PIN: usize = 0x3d;

const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
/// What can be written of the command register.
const COMMAND_BITS: u16 =
    COMMAND_IO | COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | COMMAND_INTX_DISABLE;

/// In the status register: the interrupt line is asserted; there is a list of capabilities.
const STATUS_INTERRUPT: u16 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const MULTI_FUNCTION: u8 = 1 << 7;

const POWER_MANAGEMENT: u8 = 0x01;
const MSI: u8 = 0x05;
const EXPRESS: u8 = 0x10;
const MSIX: u8 = 0x11;

/// Device capabilities: it has a function level reset.
const EXPRESS_FUNCTION_RESET: u32 = 1 << 28;
/// Power management control: the state, D0 to D3hot.
const POWER_STATE: u8 = 0x3;
/// MSI control: it is on; how many vectors of it, as a logarithm.
const MSI_ENABLE: u16 = 1 << 0;
const MSI_VECTORS: u16 = 0x70;
/// The part of MSI control that VFIO keeps for the program.
const MSI_VIRTUAL: u16 = 0xff;
/// Device control: resets the function when it is written; reads as 0.
const CONTROL_FUNCTION_RESET: u16 = 1 << 15;

/// The config space of a device.
#[derive(Debug, Clone)]
pub(super) struct Config {
    bytes: Vec<u8>,
    /// The bits that a write changes.
    writable: Vec<u8>,
    /// What it is after a reset.
    initial: Vec<u8>,
    /// Where the control register of the PCI Express capability is.
    express_control: Option<usize>,
    /// Whether the function can be reset that way.
    function_reset: bool,
    /// Where the control register of power management is.
    power_control: Option<usize>,
    /// Where the control register of MSI is.
    msi_control: Option<usize>,
    /// How many MSI vectors are on, as a logarithm; `None` while MSI is off.
    msi_on: Option<u16>,
    /// Where the control register of MSI-X is.
    msix_control: Option<usize>,
    has_io_space: bool,
    /// Whether the device can be put into D3hot.
    can_sleep: bool,
}

/// What a write has caused.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Effects {
    /// The function is to be reset.
    pub(super) reset: bool,
    /// The command register may have changed.
    pub(super) command: bool,
}

impl Config {
    pub(super) fn of(device: &Device, machine: &Machine) -> Self {
        let size = match device.express && device.extended_config {
            true => EXTENDED_SIZE,
            false => SIZE,
        };
        let mut config = Self {
            bytes: vec![0; size],
            writable: (0..size).map(in_no_capability).collect(),
            initial: Vec::new(),
            express_control: None,
            function_reset: device.has_function_level_reset(),
            power_control: None,
            msi_control: None,
            msi_on: None,
            msix_control: None,
            has_io_space: machine.io_space,
            can_sleep: machine.lets_devices_sleep(),
        };
        config.header(device, machine);
        config.bars(device);
        config.capabilities(device);
        for (at, value) in &device.config {
            config.put(usize::from(*at), &value.to_le_bytes());
        }
        config.hide_bars(device);
        config.forget_unlisted();
        config.initial = config.bytes.clone();
        config
    }

    /// What the list does not lead to is no capability, for the kernel as for anybody (`vfio_cap_init`).
    fn forget_unlisted(&mut self) {
        let Self { bytes, .. } = &*self;
        let listed = |id, control: Option<usize>, offset| {
            let is_there = |at: &usize| capability(bytes, id).map(|at| at + offset) == Some(*at);
            control.filter(is_there)
        };
        let express = listed(EXPRESS, self.express_control, 8);
        let power = listed(POWER_MANAGEMENT, self.power_control, 4);
        let msi = listed(MSI, self.msi_control, 2);
        let msix = listed(MSIX, self.msix_control, 2);
        (self.express_control, self.power_control) = (express, power);
        (self.msi_control, self.msix_control) = (msi, msix);
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn allow(&mut self, at: usize, bits: &[u8]) {
        if let Some(place) = self.writable.get_mut(at..at + bits.len()) {
            place.copy_from_slice(bits);
        }
    }

    fn header(&mut self, device: &Device, machine: &Machine) {
        self.put(0, &device.vendor.to_le_bytes());
        self.put(2, &device.device.to_le_bytes());
        self.put(CLASS, &device.class.to_le_bytes()[..3]);
        if has_neighbours(device, machine) {
            self.put(HEADER_TYPE, &[MULTI_FUNCTION]);
        }
        self.put(LINE, &[if device.interrupts.line { 11 } else { 0 }]);
        self.put(PIN, &[u8::from(device.interrupts.line)]);
        self.allow(LINE, &[0xff]);
        self.allow(CACHE_LINE, &[0xff]);
        // The kernel enables what a driver needs when it opens a device (`pci_enable_device`).
        let bars = || (0..device.bars.len()).filter_map(|n| device.bar(n));
        let mut command = 0;
        if bars().any(|bar| bar.is_memory_space()) {
            command |= COMMAND_MEMORY;
        }
        if self.has_io_space && bars().any(|bar| !bar.is_memory_space()) {
            command |= COMMAND_IO;
        }
        self.put(COMMAND, &command.to_le_bytes());
        self.allow(COMMAND, &COMMAND_BITS.to_le_bytes());
    }

    /// A BAR keeps as many address bits as its size leaves.
    fn bars(&mut self, device: &Device) {
        const IO_SPACE: u32 = 1;
        const WIDE: u32 = 1 << 2;
        const PREFETCHABLE: u32 = 1 << 3;

        for n in 0..device.bars.len() {
            let Some(bar) = device.bar(n) else {
                continue;
            };
            let at = BARS + 4 * n;
            let kind_bits = match bar.kind {
                BarKind::Io if !self.has_io_space => continue,
                BarKind::Io => IO_SPACE,
                BarKind::Memory { wide: true } => WIDE | PREFETCHABLE,
                BarKind::Memory { wide: false } => PREFETCHABLE,
                BarKind::Registers { wide: true } => WIDE,
                BarKind::Registers { wide: false } => 0,
            };
            let address_bits = !(bar.size - 1);
            self.put(at, &kind_bits.to_le_bytes());
            let low = u32::try_from(address_bits & 0xffff_ffff).unwrap_or(0);
            self.allow(at, &low.to_le_bytes());
            if bar.is_wide() {
                self.allow(at + 4, &address_bits.to_le_bytes()[4..]);
            }
        }
        if device.rom > 0 {
            let bits = u32::try_from(!(device.rom - 1) & 0xffff_ffff).unwrap_or(0) | 1;
            self.allow(ROM, &bits.to_le_bytes());
        }
    }

    /// What is no BAR for the host reads as 0, whatever the hardware has there.
    fn hide_bars(&mut self, device: &Device) {
        let mut is_upper = false;
        for n in 0..device.bars.len() {
            let seen = |bar: &Bar| self.has_io_space || bar.is_memory_space();
            let bar = device.bar(n).filter(seen);
            if bar.is_none() && !is_upper {
                self.put(BARS + 4 * n, &[0; 4]);
            }
            is_upper = bar.is_some_and(Bar::is_wide);
        }
    }

    /// Each has its place, as QEMU's devices have them.
    fn capabilities(&mut self, device: &Device) {
        let mut list = List {
            config: self,
            link: CAPABILITIES,
        };
        if let Some(msix) = device.interrupts.msix {
            let at = list.add(MSIX, 0x40, 12);
            let last = u16::try_from(msix.vectors.saturating_sub(1)).unwrap_or(0x7ff);
            list.config.put(at + 2, &last.to_le_bytes());
            let place = |offset: u32| (offset | u32::from(msix.bar)).to_le_bytes();
            list.config.put(at + 4, &place(msix.table));
            list.config.put(at + 8, &place(msix.pending));
            list.config.msix_control = Some(at + 2);
        }
        if device.interrupts.msi > 0 {
            const WIDE: u16 = 1 << 7;
            let vectors = device.interrupts.msi.trailing_zeros();
            let control = WIDE | u16::try_from(vectors << 1).unwrap_or(0);
            let place = if device.interrupts.msix.is_some() {
                0x50
            } else {
                0x40
            };
            let at = list.add(MSI, place, 14);
            list.config.put(at + 2, &control.to_le_bytes());
            list.config.allow(at + 2, &MSI_VIRTUAL.to_le_bytes());
            list.config.allow(at + 4, &[0xff; 10]); // address and data are virtual
            list.config.msi_control = Some(at + 2);
        }
        if device.express {
            const ENDPOINT_VERSION_2: u16 = 2;
            let at = list.add(EXPRESS, 0x80, express_len(device));
            list.config.put(at + 2, &ENDPOINT_VERSION_2.to_le_bytes());
            if device.has_function_level_reset() {
                list.config
                    .put(at + 4, &EXPRESS_FUNCTION_RESET.to_le_bytes());
            }
            // Phantom functions are not the guest's.
            const PHANTOM: u16 = 1 << 9;
            list.config.allow(at + 8, &(!PHANTOM).to_le_bytes());
            list.config.express_control = Some(at + 8);
        }
        if device.power_management {
            const VERSION_3: u16 = 3;
            const NO_SOFT_RESET: u8 = 1 << 3;
            let at = list.add(POWER_MANAGEMENT, 0x60, 8);
            list.config.put(at + 2, &VERSION_3.to_le_bytes());
            list.config.put(at + 4, &[NO_SOFT_RESET]);
            list.config.allow(at + 4, &[POWER_STATE]);
            list.config.power_control = Some(at + 4);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn has_io_space(&self) -> bool {
        self.has_io_space
    }

    /// Everything is as before the device was used: no bus master, among other things.
    pub(super) fn restore(&mut self) {
        self.bytes.clone_from(&self.initial);
        self.msi_on = None;
    }

    /// The kernel wakes the function up before it resets it.
    pub(super) fn wake(&mut self) {
        self.set_power_state(0);
    }

    /// Reads, inside of its size.
    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) {
        if let Some(from) = self.bytes.get(at..at + bytes.len()) {
            bytes.copy_from_slice(from);
        }
    }

    /// Reads or writes while the hardware does not answer: VFIO has a part of it, the rest reads as ones.
    pub(super) fn without_hardware(&mut self, at: usize, transfer: Transfer<'_>) {
        match transfer {
            Transfer::Read(bytes) => {
                self.read(at, bytes);
                let lost = bytes.iter_mut().zip(at..).filter(|(_, at)| !is_vfios(*at));
                lost.for_each(|(byte, _)| *byte = 0xff);
            }
            Transfer::Write(bytes) => {
                let kept = bytes.iter().zip(at..).filter(|(_, at)| is_vfios(*at));
                for (byte, at) in kept {
                    self.write(at, &[*byte]);
                }
            }
        }
    }

    /// The device was reset from outside: the kernel has restored its BARs, VFIO has what is its own, and the rest is as it
    /// was before the device was used.
    pub(super) fn after_reset(&mut self) {
        for (at, (byte, initial)) in self.bytes.iter_mut().zip(&self.initial).enumerate() {
            if !is_vfios(at) {
                *byte = *initial;
            }
        }
    }

    /// Writes what can be written, inside of its size.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Effects {
        let state = self.power_state();
        let places = self.bytes.iter_mut().zip(&self.writable).skip(at);
        for ((place, writable), byte) in places.zip(bytes) {
            *place = *place & !writable | byte & writable;
        }
        let touches = |register: usize| at < register + 2 && register < at + bytes.len();
        let mut effects = Effects {
            command: touches(COMMAND),
            reset: false,
        };
        if let Some(control) = self.express_control {
            let value = self.word(control);
            if value & CONTROL_FUNCTION_RESET != 0 {
                self.put(control, &(value & !CONTROL_FUNCTION_RESET).to_le_bytes());
                effects.reset = touches(control) && self.function_reset;
            }
        }
        if self.msi_control.is_some_and(touches) {
            self.limit_msi();
        }
        if !self.has_power_state(self.power_state()) {
            self.set_power_state(state);
        }
        effects
    }

    /// D0 to D3hot, as a number.
    fn power_state(&self) -> u16 {
        let control = self.power_control.map_or(0, |at| self.word(at));
        control & u16::from(POWER_STATE)
    }

    fn set_power_state(&mut self, state: u16) {
        if let Some(at) = self.power_control {
            let rest = self.word(at) & !u16::from(POWER_STATE);
            self.put(at, &(rest | state).to_le_bytes());
        }
    }

    /// D1 and D2 are there where the capability says so, D3hot where the kernel lets devices sleep.
    fn has_power_state(&self, state: u16) -> bool {
        const D1: u16 = 1 << 9;
        const D2: u16 = 1 << 10;
        let can = self.power_control.map_or(0, |at| self.word(at - 2));
        match state {
            1 => can & D1 != 0,
            2 => can & D2 != 0,
            3 => self.can_sleep,
            _ => true,
        }
    }

    /// MSI is off, or so many vectors of it are on: then a driver may write that it is, and how many.
    pub(super) fn show_msi(&mut self, vectors: Option<u32>) {
        let rounded_up = |vectors: u32| vectors.next_power_of_two().trailing_zeros();
        self.msi_on = vectors.and_then(|vectors| u16::try_from(rounded_up(vectors)).ok());
    }

    /// A driver cannot enable more of MSI than the kernel has.
    fn limit_msi(&mut self) {
        let Some(at) = self.msi_control else {
            return;
        };
        let value = self.word(at);
        let value = match self.msi_on {
            None => value & !(MSI_ENABLE | MSI_VECTORS),
            Some(most) => value & !MSI_VECTORS | (value & MSI_VECTORS).min(most << 4),
        };
        self.put(at, &value.to_le_bytes());
    }

    /// MSI-X is enabled by the kernel, and reads so.
    pub(super) fn show_msix(&mut self, enabled: bool) {
        const ENABLE: u16 = 1 << 15;
        if let Some(control) = self.msix_control {
            let rest = self.word(control) & !ENABLE;
            let value = if enabled { rest | ENABLE } else { rest };
            self.put(control, &value.to_le_bytes());
        }
    }

    /// Whether the device asserts its line, whatever keeps it quiet.
    pub(super) fn show_line(&mut self, asserted: bool) {
        let rest = self.word(STATUS) & !STATUS_INTERRUPT;
        let value = if asserted {
            rest | STATUS_INTERRUPT
        } else {
            rest
        };
        self.put(STATUS, &value.to_le_bytes());
    }

    fn word(&self, at: usize) -> u16 {
        let byte = |at| self.bytes.get(at).copied().unwrap_or(0);
        u16::from_le_bytes([byte(at), byte(at + 1)])
    }

    /// Not in D3hot, where a device has config space alone.
    pub(super) fn decodes_memory(&self) -> bool {
        let sleeps = self.power_state() == u16::from(POWER_STATE);
        self.word(COMMAND) & COMMAND_MEMORY != 0 && !sleeps
    }

    pub(super) fn is_master(&self) -> bool {
        self.word(COMMAND) & COMMAND_MASTER != 0
    }

    pub(super) fn keeps_line_quiet(&self) -> bool {
        self.word(COMMAND) & COMMAND_INTX_DISABLE != 0
    }
}

/// Whether VFIO has a byte itself: ids, BARs, where the capabilities begin, and which line there is.
pub(super) fn is_vfios(at: usize) -> bool {
    matches!(at, 0..4 | BARS..0x28 | ROM..0x35 | LINE..0x3e)
}

/// The list of capabilities, while it is made.
struct List<'a> {
    config: &'a mut Config,
    /// Where the place of the next one goes.
    link: usize,
}

impl List<'_> {
    /// Adds a capability there, of so many bytes; answers where it is.
    fn add(&mut self, id: u8, at: u8, len: usize) -> usize {
        self.config.put(self.link, &[at]);
        let at = usize::from(at);
        self.config.put(at, &[id]);
        self.config.allow(at, &vec![0; len]);
        self.config.put(STATUS, &STATUS_CAPABILITIES.to_le_bytes());
        self.link = at + 1;
        at
    }
}

/// What no capability has goes to the hardware, and QEMU's keeps it.
fn in_no_capability(at: usize) -> u8 {
    const HEADER: usize = 0x40;
    if at < HEADER { 0 } else { 0xff }
}

/// How long the capability of PCI Express is, by its version and whether there is a link.
fn express_len(device: &Device) -> usize {
    let mut told = device.config.iter().rev();
    let told = told.find(|(place, _)| *place == 0x80);
    let flags = told.map_or(2, |(_, value)| value >> 16);
    let has_no_link = flags >> 4 & 0xf == 9;
    match (flags & 0xf, has_no_link) {
        (1, true) => 0x0c,
        (1, false) => 0x14,
        (_, true) => 0x2c,
        (_, false) => 0x3c,
    }
}

/// Whether other functions of the machine are in the same slot.
fn has_neighbours(device: &Device, machine: &Machine) -> bool {
    let slot = |bdf: &str| bdf.rsplit_once('.').map(|(slot, _)| slot.to_owned());
    let devices = machine.groups.iter().flat_map(|group| &group.devices);
    devices
        .filter(|other| other.bdf != device.bdf)
        .any(|other| slot(&other.bdf) == slot(&device.bdf))
}

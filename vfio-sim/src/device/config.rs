//! Config space: what the device has, what VFIO invents, what can be written (F79).

use crate::machine::{BarKind, Device, Machine};

const SIZE: usize = 256;
const EXTENDED_SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CLASS: usize = 0x09;
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

/// In the status register: there is a list of capabilities.
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
/// Device control: resets the function when it is written; reads as 0.
const CONTROL_FUNCTION_RESET: u16 = 1 << 15;

/// The config space of a device.
#[derive(Debug)]
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
        let size = if device.express { EXTENDED_SIZE } else { SIZE };
        let mut config = Self {
            bytes: vec![0; size],
            writable: vec![0; size],
            initial: Vec::new(),
            express_control: None,
            function_reset: device.function_reset,
            power_control: None,
            msi_control: None,
            msi_on: None,
            msix_control: None,
            has_io_space: machine.io_space,
        };
        config.header(device, machine);
        config.bars(device);
        config.capabilities(device);
        for (at, value) in &device.config {
            config.put(usize::from(*at), &value.to_le_bytes());
        }
        config.initial = config.bytes.clone();
        config
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
        self.put(STATUS, &STATUS_CAPABILITIES.to_le_bytes());
        self.put(CLASS, &device.class.to_le_bytes()[..3]);
        if has_neighbours(device, machine) {
            self.put(HEADER_TYPE, &[MULTI_FUNCTION]);
        }
        self.put(LINE, &[if device.interrupts.line { 11 } else { 0 }]);
        self.put(PIN, &[u8::from(device.interrupts.line)]);
        self.allow(LINE, &[0xff]);
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
                BarKind::Memory => WIDE | PREFETCHABLE,
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

    /// Each has its place, as QEMU's devices have them.
    fn capabilities(&mut self, device: &Device) {
        let mut list = List {
            config: self,
            link: CAPABILITIES,
        };
        if let Some(msix) = device.interrupts.msix {
            let at = list.add(MSIX, 0x40);
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
            let at = list.add(MSI, place);
            list.config.put(at + 2, &control.to_le_bytes());
            let own = MSI_ENABLE | MSI_VECTORS;
            list.config.allow(at + 2, &own.to_le_bytes());
            list.config.allow(at + 4, &[0xff; 10]); // address and data are virtual
            list.config.msi_control = Some(at + 2);
        }
        if device.express {
            const ENDPOINT_VERSION_2: u16 = 2;
            let at = list.add(EXPRESS, 0x80);
            list.config.put(at + 2, &ENDPOINT_VERSION_2.to_le_bytes());
            if device.function_reset {
                list.config
                    .put(at + 4, &EXPRESS_FUNCTION_RESET.to_le_bytes());
            }
            // Phantom functions are not the guest's.
            const PHANTOM: u16 = 1 << 9;
            list.config.allow(at + 8, &(!PHANTOM).to_le_bytes());
            list.config.express_control = Some(at + 8);

            const VERSION_3: u16 = 3;
            const NO_SOFT_RESET: u8 = 1 << 3;
            let at = list.add(POWER_MANAGEMENT, 0x60);
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
        if let Some(at) = self.power_control {
            let value = self.word(at) & !u16::from(POWER_STATE);
            self.put(at, &value.to_le_bytes());
        }
    }

    /// Reads, inside of its size.
    pub(super) fn read(&self, at: usize, bytes: &mut [u8]) {
        if let Some(from) = self.bytes.get(at..at + bytes.len()) {
            bytes.copy_from_slice(from);
        }
    }

    /// Writes what can be written, inside of its size.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) -> Effects {
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
        self.limit_msi();
        effects
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

    fn word(&self, at: usize) -> u16 {
        let byte = |at| self.bytes.get(at).copied().unwrap_or(0);
        u16::from_le_bytes([byte(at), byte(at + 1)])
    }

    /// Not in D3hot, where a device has config space alone.
    pub(super) fn decodes_memory(&self) -> bool {
        let state = self.power_control.map_or(0, |at| self.word(at));
        let sleeps = state & u16::from(POWER_STATE) == u16::from(POWER_STATE);
        self.word(COMMAND) & COMMAND_MEMORY != 0 && !sleeps
    }

    pub(super) fn is_master(&self) -> bool {
        self.word(COMMAND) & COMMAND_MASTER != 0
    }

    pub(super) fn keeps_line_quiet(&self) -> bool {
        self.word(COMMAND) & COMMAND_INTX_DISABLE != 0
    }
}

/// The list of capabilities, while it is made.
struct List<'a> {
    config: &'a mut Config,
    /// Where the place of the next one goes.
    link: usize,
}

impl List<'_> {
    /// Adds a capability there; answers where it is.
    fn add(&mut self, id: u8, at: u8) -> usize {
        self.config.put(self.link, &[at]);
        let at = usize::from(at);
        self.config.put(at, &[id]);
        self.link = at + 1;
        at
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

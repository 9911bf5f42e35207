//! What a guest sees of a device's config space: each bit is the device's, is the VMM's, or is hidden.
//!
//! Nothing here asks a device: [`VirtualConfig`] says what has to be asked, and what a write has changed.

mod bits;
mod effect;
mod extended;
mod header;
pub(crate) mod raw;
mod seat;
mod standard;

use crate::bar::{BARS, BarRegister, BarRegisters, Bars, Change};
use crate::config::{COMMAND, Command};

use bits::Bits;
use raw::Raw;
use standard::Registers;

pub use bits::{DeviceWrite, Read};
pub use effect::{Effect, MsiState, PowerState};
pub use seat::{Identity, Place, Seat, Shown};

/// The first 256 bytes, which every device has, and all that there can be.
const CONVENTIONAL: u16 = 0x100;
const EXTENDED: u16 = 0x1000;
/// The header ends here.
const HEADER: u16 = 0x40;
/// The most bytes that an access has.
pub(crate) const WIDTH: usize = 4;

/// The config space of a device in a guest.
///
/// ```
/// use pci_device::Command;
/// use pci_device::bar::Bars;
/// use pci_device::virtual_config::{Effect, Seat, VirtualConfig};
///
/// let mut raw = [0; 256]; // as VFIO shows it
/// raw[..4].copy_from_slice(&[0x34, 0x12, 0xe8, 0x11]);
/// let mut config = VirtualConfig::new(&raw, &Bars::default(), &Seat::default());
/// assert_eq!(config.read(0, 4).value, 0x11e8_1234);
/// assert_eq!(config.read(0, 4).device, 0); // the device need not be asked
/// assert_eq!(config.read(4, 4).device, 0xffef_0000); // but for its status
///
/// // The guest's driver lets the device do DMA. It has no memory that could be switched on.
/// let written = config.write(4, 2, 0x0006);
/// let (from, to) = (Command::empty(), Command::BUS_MASTER);
/// assert_eq!(written.effects, [Effect::Command { from, to }]);
/// assert_eq!(config.write(4, 2, 0x0006).effects, []); // as it was
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualConfig {
    bits: Bits,
    bars: BarRegisters,
    bars_after_reset: BarRegisters,
    registers: Registers,
    faults: Vec<String>,
}

/// What a write comes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use]
pub struct Written {
    /// What of it is the device's.
    pub device: Vec<DeviceWrite>,
    /// What has changed, each thing once.
    pub effects: Vec<Effect>,
}

/// What effects are seen by.
struct Snapshot {
    command: Command,
    places: [Option<u64>; BARS + 1],
    msi: Option<MsiState>,
    msix: Option<(bool, bool)>,
    power: PowerState,
}

impl VirtualConfig {
    /// That of a device whose config space VFIO shows as `raw`, with these BARs. Any bytes give a config space that is safe:
    /// what is malformed is left out.
    pub fn new(raw: &[u8], bars: &Bars, seat: &Seat) -> Self {
        let raw = Raw(raw);
        let is_extended = seat.place != Place::Conventional && raw.len() > CONVENTIONAL.into();
        let len = if is_extended { EXTENDED } else { CONVENTIONAL };
        let mut bits = Bits::hidden(len);
        // Vendors keep registers where no capability is.
        bits.pass(HEADER..len);
        header::lay_out(&mut bits, raw, bars, seat);
        let mut faults = Vec::new();
        let registers = standard::lay_out(&mut bits, raw, bars, seat, &mut faults);
        match registers.is_express {
            true => extended::lay_out(&mut bits, raw, seat.shown, &mut faults),
            false => bits.hide(CONVENTIONAL..len),
        }
        let bar_registers = BarRegisters::new(bars);
        let mut config = Self {
            bits,
            bars_after_reset: bar_registers.clone(),
            bars: bar_registers,
            registers,
            faults,
        };
        config.show_bars();
        config
    }

    /// What of the device's lists is malformed, and was left out.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// How many bytes it has: 256 or 4096.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> u16 {
        self.bits.len()
    }

    /// Reads 1 to 4 bytes at any offset. Behind the end there are ones.
    pub fn read(&self, offset: u16, len: usize) -> Read {
        self.bits.read(offset, len)
    }

    /// Writes 1 to 4 bytes at any offset; behind the end they are lost. Of more, the first four are written.
    pub fn write(&mut self, offset: u16, len: usize, value: u32) -> Written {
        let len = len.min(WIDTH);
        if len == 0 {
            return Written::default();
        }
        let before = self.snapshot();
        let device = self.bits.write(offset, len, value);
        self.write_bars(offset, len, value);
        if let Some(power) = self.registers.power {
            power.check(before.power, &mut self.bits);
        }
        let mut effects = self.compare(&before);
        let byte = |at: u16| {
            let lane = usize::from(at.checked_sub(offset)?);
            let [a, b, c, d] = value.to_le_bytes();
            [a, b, c, d].get(..len)?.get(lane).copied()
        };
        let sets_off = |(at, bit): &(u16, u8)| byte(*at).is_some_and(|value| value & bit != 0);
        if self.registers.resets.iter().any(sets_off) {
            effects.push(Effect::FunctionReset);
        }
        Written { device, effects }
    }

    /// Everything of the VMM's is as after power-on. What of the device's registers is the device's must be reset with the
    /// device.
    pub fn reset(&mut self) -> Vec<Effect> {
        let before = self.snapshot();
        self.bits.reset();
        self.bars = self.bars_after_reset.clone();
        self.show_bars();
        self.compare(&before)
    }

    /// The command register.
    pub fn command(&self) -> Command {
        let bits = self.bits.value(COMMAND, 2);
        Command::from_bits_retain(u16::try_from(bits).unwrap_or(0))
    }

    /// The registers of the BARs and of the ROM.
    pub fn registers(&self) -> &BarRegisters {
        &self.bars
    }

    /// How awake the device is; one without power management always is.
    pub fn power(&self) -> PowerState {
        let power = self.registers.power;
        power.map_or(PowerState::D0, |power| power.state(&self.bits))
    }

    /// Where the register is that says so, in bytes.
    pub fn power_register(&self) -> Option<u16> {
        self.registers.power.map(standard::Power::register)
    }

    /// The MSI capability, if there is one.
    pub fn msi(&self) -> Option<MsiState> {
        self.registers.msi.map(|msi| msi.state(&self.bits))
    }

    /// Whether the device has a function level reset, also if the guest is not shown it.
    pub fn has_function_reset(&self) -> bool {
        self.registers.has_function_reset
    }

    /// What registers of the device's own had when this was made, which a reset does not bring back: the kernel saves config
    /// space and restores it (`pci_try_reset_function`). Each by its place in bytes.
    pub fn before_use(&self) -> &[(u16, u16)] {
        &self.registers.before_use
    }

    /// Whether the device forgets everything when it wakes up.
    pub fn wakes_up_reset(&self) -> bool {
        self.registers.power.is_some_and(|power| power.resets)
    }

    fn snapshot(&self) -> Snapshot {
        let msix = self.registers.msix;
        Snapshot {
            command: self.command(),
            places: self.bars.places(Command::all()),
            msi: self.msi(),
            msix: msix.map(|control| standard::msix_state(&self.bits, control)),
            power: self.power(),
        }
    }

    /// What is not as it was.
    fn compare(&self, before: &Snapshot) -> Vec<Effect> {
        let after = self.snapshot();
        let mut effects = Vec::new();
        if before.command != after.command {
            effects.push(Effect::Command {
                from: before.command,
                to: after.command,
            });
        }
        let places = before.places.into_iter().zip(after.places);
        let moved = BarRegister::all().zip(places);
        for (what, (from, to)) in moved.filter(|(_, (from, to))| from != to) {
            effects.push(Effect::Bar(Change { what, from, to }));
        }
        if let Some(msi) = after.msi.filter(|msi| before.msi != Some(*msi)) {
            effects.push(Effect::Msi(msi));
        }
        if let Some((enabled, masked)) = after.msix.filter(|msix| before.msix != Some(*msix)) {
            effects.push(Effect::MsixControl { enabled, masked });
        }
        if before.power != after.power {
            let wakes_up = before.power == PowerState::D3Hot && after.power == PowerState::D0;
            effects.push(Effect::Power {
                from: before.power,
                to: after.power,
                resets: wakes_up && self.wakes_up_reset(),
            });
        }
        effects
    }

    /// Writes of these bytes what is of the registers of BARs.
    fn write_bars(&mut self, offset: u16, len: usize, value: u32) {
        let end = usize::from(offset) + len;
        for register in BarRegister::all() {
            let at = usize::from(register.offset());
            let start = usize::from(offset);
            if start >= at + 4 || end <= at {
                continue;
            }
            // The bytes of the write, where the register has them.
            let mask = u32::MAX >> (8 * (WIDTH - len));
            let moved = |bits: u32| match start.checked_sub(at) {
                Some(behind) => bits << (8 * behind),
                None => bits >> (8 * (at - start)),
            };
            self.bars.write(register, moved(value), moved(mask));
            self.show_bar(register);
        }
    }

    fn show_bars(&mut self) {
        for register in BarRegister::all() {
            self.show_bar(register);
        }
    }

    /// What the guest reads of a register.
    fn show_bar(&mut self, register: BarRegister) {
        let value = self.bars.read(register);
        self.bits.set(register.offset(), value.to_le_bytes());
    }
}

/// Where a capability ends of which nobody says how long it is: where the next one in space begins, or the list's space ends.
fn next_place(places: impl Iterator<Item = u16>, at: u16, end: u16) -> u16 {
    places.filter(|other| *other > at).min().unwrap_or(end)
}

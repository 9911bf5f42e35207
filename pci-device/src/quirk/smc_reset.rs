//! Graphics cards of AMD that do not answer any more after a reset of their bus: they are reset by their own controller (SMC).
//!
//! Bonaire and Hawaii have no reset that the kernel knows. The sequence is that of Linux's driver (`radeon_pci_config_reset`
//! in drivers/gpu/drm/radeon/radeon_device.c, `ci_reset_smc` in ci_smc.c there), and QEMU's; it works while the controller's
//! firmware runs.

use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use vfio_core::device::{Device, Region, RegionIndex};
use vfio_core::{Error, ErrorKind, Result, inventory};

use super::{Quirk, Registration, Subject};
use crate::config::{Command, ConfigSpace};

inventory::submit! {
    Registration {
        name: "amd-smc-reset",
        vendor: 0x1002,
        devices: &[
            0x6649, 0x6650, 0x6651, 0x6658, 0x665c, 0x665d, // Bonaire
            0x67a0, 0x67a1, 0x67a2, 0x67a8, 0x67a9, 0x67aa, 0x67b0, 0x67b1, 0x67b8, 0x67b9, 0x67ba, 0x67be, // Hawaii
        ],
        make,
    }
}

/// The BAR with the registers.
const REGISTERS: u8 = 5;
/// Which indirect register the next one is, and what that has.
const INDEX: u64 = 0x200;
const DATA: u64 = 0x204;
/// How much memory the card has; ones while it is in reset.
const MEMORY_SIZE: u64 = 0x5428;

/// Indirect registers of the controller, and a bit of each.
const RESET: u32 = 0x8000_0000;
const IN_RESET: u32 = 1 << 0;
const CLOCK: u32 = 0x8000_0004;
const CLOCK_OFF: u32 = 1 << 0;
/// Where its firmware is; below this it is in the loader.
const PROGRAM_COUNTER: u32 = 0x8000_0370;
const FIRMWARE: u32 = 0x2_0100;
/// What a reset is of: the whole card by a fuse, which the other register turns around.
const FUSES: u32 = 0xc00c_0000;
const WHOLE_CARD: u32 = 1 << 6;
const SCOPE: u32 = 0xc000_0010;
const TURNED_AROUND: u32 = 1 << 1;

/// Where in config space the reset is asked for, and how.
const CONFIG_RESET: u64 = 0x7c;
const RESET_NOW: u32 = 0x39d5_e86b;
/// How long the card is left alone then, and how long it may take to come back.
const ALONE: Duration = Duration::from_micros(100);
const MOST: Duration = Duration::from_millis(100);

fn make(subject: &Subject<'_>) -> Result<Option<Box<dyn Quirk>>> {
    let bar = subject.bars.bars.get(usize::from(REGISTERS));
    let bar = bar.and_then(Option::as_ref);
    let has_them = bar.is_some_and(|it| !it.kind.is_io() && it.shape.region_size > MEMORY_SIZE + 4);
    // Where the kernel knows a way, it knows it better.
    let is_needed = has_them && !subject.device.info()?.can_reset;
    Ok(is_needed.then(|| Box::new(SmcReset) as Box<dyn Quirk>))
}

#[derive(Debug)]
struct SmcReset;

impl Quirk for SmcReset {
    fn resets(&self) -> bool {
        true
    }

    fn reset(&self, device: &Device) -> Result<()> {
        let config = ConfigSpace::of(device)?;
        config.enable(Command::MEMORY)?;
        let done = reset(device);
        config.disable(Command::MEMORY)?;
        done
    }
}

fn reset(device: &Device) -> Result<()> {
    let card = Card {
        registers: device.region(RegionIndex::Bar(REGISTERS))?,
    };
    let failed = |why: &str| {
        Error::new(ErrorKind::Unsupported, "reset", device.bdf().to_string())
            .of_device(device.bdf())
            .because(why)
    };
    if !card.runs_firmware()? {
        return Err(failed(
            "its controller runs no firmware, and without it the card knows no reset: the machine has to be switched off",
        ));
    }
    card.leave_the_rest_alone()?;
    let config = device.region(RegionIndex::Config)?;
    config.write(CONFIG_RESET, RESET_NOW.to_le())?;
    sleep(ALONE);
    let deadline = Instant::now() + MOST;
    while card.read(MEMORY_SIZE)? == u32::MAX {
        if Instant::now() > deadline {
            return Err(failed("it has not come back from its reset"));
        }
        yield_now();
    }
    card.set(RESET, IN_RESET)?;
    card.set(CLOCK, CLOCK_OFF)
}

/// Its registers, which are little-endian.
struct Card {
    registers: Region,
}

impl Card {
    fn read(&self, offset: u64) -> Result<u32> {
        self.registers.read(offset).map(u32::from_le)
    }

    fn write(&self, offset: u64, value: u32) -> Result<()> {
        self.registers.write(offset, value.to_le())
    }

    fn indirect(&self, register: u32) -> Result<u32> {
        self.write(INDEX, register)?;
        self.read(DATA)
    }

    fn set(&self, register: u32, bits: u32) -> Result<()> {
        let value = self.indirect(register)?;
        self.write(DATA, value | bits)
    }

    fn runs_firmware(&self) -> Result<bool> {
        let has_clock = self.indirect(CLOCK)? & CLOCK_OFF == 0;
        Ok(has_clock && self.indirect(PROGRAM_COUNTER)? >= FIRMWARE)
    }

    /// Only the graphics are reset.
    fn leave_the_rest_alone(&self) -> Result<()> {
        let whole_card = self.indirect(FUSES)? & WHOLE_CARD != 0;
        let scope = self.indirect(SCOPE)?;
        if whole_card == (scope & TURNED_AROUND != 0) {
            self.write(DATA, scope ^ TURNED_AROUND)?;
            self.read(DATA)?; // it has arrived
        }
        Ok(())
    }
}

//! What a guest's write to config space changes.

use crate::bar::Change;
use crate::config::Command;

/// Something that has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The command register. The device's own is not written by what [`Written`](super::Written) has for the device.
    Command {
        /// What it was.
        from: Command,
        /// What it is.
        to: Command,
    },
    /// A BAR, or the ROM, is to be at another place.
    Bar(Change),
    /// The MSI capability.
    Msi(MsiState),
    /// MSI-X as a whole.
    MsixControl {
        /// Whether it is on.
        enabled: bool,
        /// Whether all of its vectors are masked.
        masked: bool,
    },
    /// The device is to sleep, or to wake up. Its own register is not written by what is for the device.
    Power {
        /// How it was.
        from: PowerState,
        /// How it is to be.
        to: PowerState,
        /// Whether it forgets everything on its way, as from a reset: it wakes up, and does not say No_Soft_Reset.
        resets: bool,
    },
    /// A function level reset.
    FunctionReset,
}

/// What the MSI capability says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsiState {
    /// Whether it is on.
    pub enabled: bool,
    /// How many vectors the guest uses: a power of two, at most what the device has.
    pub vectors: u32,
    /// Where the message goes: a guest physical address.
    pub address: u64,
    /// What it says: with several vectors, the lowest bits are the vector's number.
    pub data: u16,
    /// The vectors that are held back, a bit each.
    pub masked: u32,
}

/// How awake a device is (PCI Power Management).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PowerState {
    /// Awake.
    D0,
    /// Half asleep: it answers in config space alone.
    D1,
    /// More asleep.
    D2,
    /// Asleep.
    D3Hot,
}

impl PowerState {
    /// The bits of the register that say it.
    pub fn bits(self) -> u16 {
        match self {
            Self::D0 => 0,
            Self::D1 => 1,
            Self::D2 => 2,
            Self::D3Hot => 3,
        }
    }

    pub(super) fn of_bits(bits: u32) -> Self {
        match bits & 3 {
            0 => Self::D0,
            1 => Self::D1,
            2 => Self::D2,
            _ => Self::D3Hot,
        }
    }
}

//! Errors that are isolated (D58): what passes between the system and each group.

use std::collections::BTreeMap;

use vfio_core::iommu::ErrorFunction;
use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, EehPeErr, EehPeOp};

use crate::arg;

/// Errors on the bus, of addresses of 32 and 64 bits.
const ERROR_TYPES: u32 = 2;

/// The isolation units of a machine, by group. They are the hardware's: no container has them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Units(BTreeMap<u32, Unit>);

/// The isolation unit of a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unit {
    mmio_stopped: bool,
    dma_stopped: bool,
    reset: Option<Reset>,
    /// Its devices were reset since somebody looked last.
    was_reset: bool,
    /// Errors that are made by the next access that they are for.
    armed: Vec<EehPeErr>,
}

/// A reset that was begun and has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reset {
    /// The link is down.
    Hot,
    /// By the slot's signal, which QEMU's machines do not pass on to the device.
    Fundamental { reaches: bool },
}

/// What somebody wants of a device, or a device of memory: which, and from where on how many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) kind: Kind,
    pub(crate) address: u64,
    pub(crate) len: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A load or a store, and whether it is of I/O space.
    Load {
        io: bool,
    },
    Store {
        io: bool,
    },
    ReadConfig,
    WriteConfig,
    DmaRead,
    DmaWrite,
}

/// What a load answers that does not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    Ones,
    /// A device of QEMU's whose link is down has no BARs.
    Zeros,
}

impl Instead {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Ones => 0xff,
            Self::Zeros => 0,
        }
    }
}

impl Units {
    /// The unit of a group.
    pub(crate) fn of(&mut self, group: u32) -> &mut Unit {
        self.0.entry(group).or_default()
    }

    /// The groups whose devices were reset since this was last asked.
    pub(crate) fn take_reset(&mut self) -> Vec<u32> {
        let units = self.0.iter_mut();
        units
            .filter_map(|(group, unit)| std::mem::take(&mut unit.was_reset).then_some(*group))
            .collect()
    }

    /// An operation on each of these groups: the first answer other than 0 is that of all.
    pub(super) fn operate(&mut self, groups: &[u32], stops: bool, arg: &Arg<'_>) -> Result<u32> {
        for group in groups {
            let answer = self.of(*group).operate(stops, arg)?;
            if answer != 0 {
                return Ok(answer);
            }
        }
        Ok(0)
    }
}

impl Unit {
    /// Whether an access finds it stopped, and what a load answers then. An error that was armed for it comes now.
    pub(crate) fn stops(&mut self, access: Access) -> Option<Instead> {
        if self.armed.iter().any(|error| is_for(error, access)) {
            self.freeze();
        }
        let stopped = match access.kind {
            Kind::DmaRead | Kind::DmaWrite => self.dma_stopped,
            _ => self.mmio_stopped,
        };
        match (stopped, self.reset) {
            (true, _) => Some(Instead::Ones),
            (false, Some(Reset::Hot | Reset::Fundamental { reaches: true })) => {
                Some(Instead::Zeros)
            }
            _ => None,
        }
    }

    /// Whether messages of interrupts, which are DMA, pass.
    pub(crate) fn passes_messages(&self) -> bool {
        !self.dma_stopped && self.reset.is_none()
    }

    /// An error has befallen it. What was armed is forgotten then.
    pub(crate) fn freeze(&mut self) {
        self.armed.clear();
        self.mmio_stopped = true;
        self.dma_stopped = true;
    }

    /// Whether neither loads and stores pass, nor DMA.
    pub(crate) fn is_frozen(&self) -> bool {
        self.mmio_stopped && self.dma_stopped
    }

    /// Whether what is mapped of it answers ones.
    pub(crate) fn stops_mmio(&self) -> bool {
        self.mmio_stopped
    }

    /// D58c: nobody reaches config space in a reset.
    pub(crate) fn blocks_config(&self) -> bool {
        self.reset.is_some()
    }

    /// D58b: whoever comes or goes thaws it, without a reset.
    pub(crate) fn change_owner(&mut self) {
        self.mmio_stopped = false;
        self.dma_stopped = false;
    }

    fn state(&self) -> u32 {
        match (self.mmio_stopped, self.dma_stopped) {
            (false, false) => uapi::EEH_PE_STATE_NORMAL,
            (true, true) => uapi::EEH_PE_STATE_STOPPED,
            (false, true) => uapi::EEH_PE_STATE_STOPPED_DMA,
            (true, false) => uapi::EEH_PE_STATE_UNAVAIL, // D58b
        }
    }

    /// An operation, on hardware that stops units or on QEMU's, which does not.
    fn operate(&mut self, stops: bool, arg: &Arg<'_>) -> Result<u32> {
        let EehPeOp { flags, op, .. } =
            arg::sized_from(arg, std::mem::offset_of!(EehPeOp, reserved))?;
        if flags != 0 {
            return Err(Errno::INVAL);
        }
        match op {
            uapi::EEH_PE_GET_STATE => return Ok(self.state()),
            uapi::EEH_PE_INJECT_ERR => return self.inject(stops, arg),
            uapi::EEH_PE_DISABLE | uapi::EEH_PE_CONFIGURE => {}
            uapi::EEH_PE_ENABLE => self.change_owner(),
            uapi::EEH_PE_UNFREEZE_IO => self.mmio_stopped = false,
            uapi::EEH_PE_UNFREEZE_DMA => self.dma_stopped = false,
            uapi::EEH_PE_RESET_HOT => self.begin(Reset::Hot, stops),
            uapi::EEH_PE_RESET_FUNDAMENTAL => {
                self.begin(Reset::Fundamental { reaches: stops }, stops);
            }
            uapi::EEH_PE_RESET_DEACTIVATE => {
                let ended = self.reset.take();
                self.was_reset |= matches!(
                    ended,
                    Some(Reset::Hot | Reset::Fundamental { reaches: true })
                );
                self.change_owner();
            }
            _ => return Err(Errno::INVAL),
        }
        Ok(0)
    }

    /// D58c: before a reset the kernel freezes the unit, where the hardware can.
    fn begin(&mut self, reset: Reset, stops: bool) {
        if stops {
            self.freeze();
        }
        self.reset = Some(reset);
    }

    fn inject(&mut self, stops: bool, arg: &Arg<'_>) -> Result<u32> {
        let EehPeOp { err, .. } = arg::sized(arg)?;
        let function = ErrorFunction::from_number(err.func).ok_or(Errno::INVAL)?;
        if err.kind >= ERROR_TYPES {
            return Err(Errno::RANGE);
        }
        match function {
            _ if stops => self.armed.push(err),
            // The firmware of QEMU's machines agrees to these, and its bridges make no error of it.
            ErrorFunction::LoadConfigAddress
            | ErrorFunction::LoadConfigData
            | ErrorFunction::StoreConfigAddress
            | ErrorFunction::StoreConfigData => {}
            _ => return Err(Errno::IO),
        }
        Ok(0)
    }
}

/// Whether an error is for an access. Where BARs are on the bus this kernel does not know: of their addresses, the bits are
/// compared that are inside of the BAR.
fn is_for(error: &EehPeErr, access: Access) -> bool {
    let kind = match error.func {
        0 | 1 => Kind::Load { io: false },
        2 | 3 => Kind::Load { io: true },
        4 | 5 => Kind::ReadConfig,
        6 | 7 => Kind::Store { io: false },
        8 | 9 => Kind::Store { io: true },
        10 | 11 => Kind::WriteConfig,
        12..=15 => Kind::DmaRead,
        _ => Kind::DmaWrite,
    };
    let compared = match access.kind {
        Kind::DmaRead | Kind::DmaWrite => error.mask,
        Kind::ReadConfig | Kind::WriteConfig => 0,
        Kind::Load { .. } | Kind::Store { .. } => error.mask & INSIDE_BAR,
    };
    let mut touched = (0..access.len.max(1)).map(|n| access.address.wrapping_add(n));
    kind == access.kind && touched.any(|at| (at ^ error.addr) & compared == 0)
}

/// The bits of an address that are inside of the smallest BAR of pages.
const INSIDE_BAR: u64 = 0xfff;

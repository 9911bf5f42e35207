//! The firmware calls of EEH: what a guest asks of the firmware (RTAS) when its device froze, and what it is answered.
//!
//! A guest's kernel recovers a device by calls that are named in its device tree. A VMM reads the arguments of such a call
//! from the guest's memory (cells of 32 bits, big-endian), finds by unit id and config address the [`GuestPe`] that is
//! meant, calls the method here, and writes back status and results. Where it finds none, or the numbers of arguments and
//! results are not those of the call, the answer is [`PARAMETER_ERROR`].
//!
//! | call | arguments after the address | method |
//! |---|---|---|
//! | `ibm,set-eeh-option` | function | [`GuestPe::set_eeh_option`] |
//! | `ibm,set-slot-reset` | function | [`GuestPe::set_slot_reset`] |
//! | `ibm,read-slot-reset-state2` | | [`GuestPe::read_slot_reset_state2`] |
//! | `ibm,configure-pe`, `ibm,configure-bridge` | | [`GuestPe::configure_pe`] |
//! | `ibm,get-config-addr-info2` | function | [`GuestPe::get_config_addr_info2`] |
//! | `ibm,slot-error-detail` | buffers, function | [`GuestPe::slot_error_detail`] |
//! | `ibm,errinjct` | token, open token, buffer | [`BusError::read`], [`GuestPe::errinjct`] |
//!
//! What is answered follows LoPAR, the reference of these calls, by its table of states. The kernel of a host answers more
//! simply: it thaws what is not frozen, and on bare metal it calls what is in a reset frozen (D58b, D58c).

use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::{debug, error};
use vfio_core::iommu::{
    ErrorFunction, ErrorWidth, InjectedError, PartitionableEndpoint, PeReset, PeState,
};
use vfio_core::{ErrorKind, Result};

/// The call did what it is for.
pub const SUCCESS: i32 = 0;
/// The call did what it is for, and there is nothing to tell: `ibm,slot-error-detail` without a log.
pub const NO_ERROR_LOG: i32 = 1;
/// What the call needs has failed.
pub const HARDWARE_ERROR: i32 = -1;
/// An argument makes no sense, or the endpoint has no EEH.
pub const PARAMETER_ERROR: i32 = -3;
/// The endpoint is in a state in which the call does nothing: the guest is to ask for the state.
pub const UNEXPECTED_STATE: i32 = -7;

/// How long an endpoint may be unavailable, in milliseconds, before the guest asks again: what Linux waits by itself.
const UNAVAILABLE_MS: u32 = 1000;

/// A partitionable endpoint, as a guest sees it.
///
/// Calls may come from several of the guest's processors at once: each waits for the one before.
#[derive(Debug)]
pub struct GuestPe {
    endpoint: PartitionableEndpoint,
    bus: u8,
    functions: u32,
    life: Mutex<Life>,
}

/// What the host does not know of the endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Life {
    /// The guest has begun a reset, and not ended it.
    in_reset: bool,
    /// A reset that could not be begun, and may be one all the same (D58c).
    half_begun: bool,
    /// The guest has given it up.
    given_up: bool,
}

/// What `ibm,read-slot-reset-state2` answers after its status, a cell each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotResetState {
    /// PE Reset State: 0 works, 1 in a reset, 2 frozen, 4 DMA is stopped, 5 unavailable.
    pub state: u32,
    /// Whether there is EEH for that address: always 1.
    pub capabilities: u32,
    /// If it is unavailable, for how many milliseconds; 0 is for good.
    pub unavailable_ms: u32,
    /// PE Recovery Info, for a guest that asks for it: the host has reset nothing.
    pub recovery_info: u32,
}

impl GuestPe {
    /// The endpoint, which in the guest is on that bus (its primary one, behind the host bridge that the unit id names) and
    /// has so many functions.
    pub fn new(endpoint: PartitionableEndpoint, bus: u8, functions: u32) -> Self {
        Self {
            endpoint,
            bus,
            functions,
            life: Mutex::default(),
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &PartitionableEndpoint {
        &self.endpoint
    }

    /// The config address that the guest calls it by: `ibm,get-config-addr-info2` tells it. It is never 0, which guests take
    /// for none.
    pub fn config_address(&self) -> u32 {
        u32::from(self.bus) << 16 | 1
    }

    /// The guest was reset: whatever it did is forgotten, a reset that it began is ended, and the endpoint is thawed.
    ///
    /// # Errors
    /// Those of [`PartitionableEndpoint::end_reset`] and [`enable`](PartitionableEndpoint::enable).
    pub fn reset(&self) -> Result<()> {
        let mut life = self.life();
        if life.in_reset || life.half_begun {
            self.endpoint.end_reset()?;
            (life.in_reset, life.half_begun) = (false, false);
        }
        self.endpoint.enable()?;
        *life = Life::default();
        Ok(())
    }

    /// `ibm,set-eeh-option`: 0 gives EEH up, 1 wants it, 2 thaws loads and stores, 3 thaws DMA. 4 and 5 are about an
    /// interrupt that there is not. Answers the status.
    pub fn set_eeh_option(&self, function: u32) -> i32 {
        let life = self.life();
        let done = match function {
            0 => self.endpoint.disable(),
            1 => self.endpoint.enable(),
            2 | 3 => match self.seen(*life).map(|state| (function, state)) {
                Err(error) => Err(error),
                Ok((2, PeState::Frozen)) => self.endpoint.thaw_mmio(),
                Ok((3, PeState::StoppedDma)) => self.endpoint.thaw_dma(),
                Ok((_, PeState::Normal) | (2, PeState::StoppedDma)) => return PARAMETER_ERROR,
                Ok(_) => return UNEXPECTED_STATE,
            },
            _ => return PARAMETER_ERROR,
        };
        status(done)
    }

    /// `ibm,set-slot-reset`: 0 ends a reset, 1 begins a hot one, 3 a fundamental one. Answers the status. It can take
    /// seconds.
    pub fn set_slot_reset(&self, function: u32) -> i32 {
        let mut life = self.life();
        let reset = match function {
            0 => None,
            1 => Some(PeReset::Hot),
            3 => Some(PeReset::Fundamental),
            _ => return PARAMETER_ERROR,
        };
        let state = match self.seen(*life) {
            Ok(state) => state,
            Err(error) => return status(Err(error)),
        };
        let (done, in_reset) = match (reset, state) {
            (_, PeState::Unavailable) | (None, PeState::Frozen) => return UNEXPECTED_STATE,
            (None, PeState::StoppedDma) => return PARAMETER_ERROR,
            // Nothing to do, which is fine.
            (None, PeState::Normal) | (Some(_), PeState::Resetting) => return SUCCESS,
            (None, PeState::Resetting) => (self.endpoint.end_reset(), false),
            (Some(reset), _) => {
                life.half_begun = true;
                (self.endpoint.begin_reset(reset), true)
            }
        };
        if done.is_ok() {
            life.in_reset = in_reset;
            life.half_begun = false;
        }
        status(done)
    }

    /// `ibm,read-slot-reset-state2`: answers the status, which is [`SUCCESS`] also where the host fails, and what passes: an
    /// endpoint of which the host tells nothing is unavailable for good.
    pub fn read_slot_reset_state2(&self) -> (i32, SlotResetState) {
        let life = *self.life();
        let (state, unavailable_ms) = match self.seen(life) {
            Ok(PeState::Normal) => (0, 0),
            Ok(PeState::Resetting) => (1, 0),
            Ok(PeState::Frozen) => (2, 0),
            Ok(PeState::StoppedDma) => (4, 0),
            Ok(PeState::Unavailable) if life.given_up => (5, 0),
            Ok(PeState::Unavailable) => (5, UNAVAILABLE_MS),
            Err(error) => {
                debug!(%error, "the guest is told that its endpoint is gone");
                (5, 0)
            }
        };
        let answer = SlotResetState {
            state,
            capabilities: 1,
            unavailable_ms,
            recovery_info: 0,
        };
        (SUCCESS, answer)
    }

    /// `ibm,configure-pe`, and `ibm,configure-bridge`, which does the same: answers the status. What fails in hardware shows
    /// by the next error.
    pub fn configure_pe(&self) -> i32 {
        let _life = self.life();
        match status(self.endpoint.configure()) {
            PARAMETER_ERROR => PARAMETER_ERROR,
            _ => SUCCESS,
        }
    }

    /// `ibm,get-config-addr-info2`, for the config address of a function in the endpoint: 0 asks for the address of the
    /// endpoint, 1 whether it has more functions (1 no, 2 yes). Answers the status and the info.
    pub fn get_config_addr_info2(&self, function: u32) -> (i32, u32) {
        match function {
            0 => (SUCCESS, self.config_address()),
            1 => (SUCCESS, if self.functions > 1 { 2 } else { 1 }),
            _ => (PARAMETER_ERROR, 0),
        }
    }

    /// `ibm,slot-error-detail`: 1 asks for a log of an error that will be recovered, 2 gives the endpoint up until the guest
    /// is [reset](Self::reset). The host keeps no log for us. Answers the status.
    pub fn slot_error_detail(&self, function: u32) -> i32 {
        match function {
            1 => NO_ERROR_LOG,
            2 => {
                self.life().given_up = true;
                NO_ERROR_LOG
            }
            _ => PARAMETER_ERROR,
        }
    }

    /// `ibm,errinjct` of an error on the bus, whose address is one of the host by now. Answers the status.
    pub fn errinjct(&self, error: &BusError) -> i32 {
        let life = self.life();
        match life.in_reset || life.given_up {
            false => status(self.endpoint.inject(error.error)),
            true => HARDWARE_ERROR,
        }
    }

    /// What the guest is to see of the endpoint.
    fn seen(&self, life: Life) -> Result<PeState> {
        match (life.given_up, life.in_reset) {
            (true, _) => Ok(PeState::Unavailable),
            (false, true) => Ok(PeState::Resetting),
            (false, false) => self.endpoint.state(),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reset that the guest left is ended, or its devices were lost when they are closed (H12).
impl Drop for GuestPe {
    fn drop(&mut self) {
        let life = self.life.get_mut().unwrap_or_else(PoisonError::into_inner);
        let was = std::mem::take(life);
        if was.in_reset || was.half_begun {
            if let Err(error) = self.endpoint.end_reset() {
                error!(%error, "the guest's reset could not be ended; do not close its devices before it is");
            }
        }
    }
}

/// What a guest is told of a call of the host's.
fn status(done: Result<()>) -> i32 {
    let Err(error) = done else {
        return SUCCESS;
    };
    debug!(%error, "a firmware call of the guest fails");
    match error.kind() {
        ErrorKind::Unsupported => PARAMETER_ERROR,
        _ => HARDWARE_ERROR,
    }
}

/// An error on the bus that a guest wants to be made: what is in the buffer of `ibm,errinjct`.
///
/// Which numbers the guest's tokens (`ibm,errinjct-tokens`) have, and who has opened the facility, the VMM knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusError {
    /// The config address of the function that is to have it.
    pub config_address: u32,
    /// The unit id of its host bridge.
    pub unit_id: u64,
    /// The error. For DMA its address is what the device uses. For loads and stores it is one in the guest's BARs, and the
    /// VMM is to put the host's in its place.
    pub error: InjectedError,
}

impl BusError {
    /// Reads the buffer's cells: of `ioa-bus-error`, six, or of `ioa-bus-error-64`, eight. There may be more behind them.
    ///
    /// # Errors
    /// The status: [`PARAMETER_ERROR`] for a buffer that is too short, an address that is not aligned to what its width
    /// says (4 or 8 bytes), and functions above 19, which end an error or ask for it: the host has no such call.
    pub fn read(width: ErrorWidth, cells: &[u32]) -> std::result::Result<Self, i32> {
        let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
        let (address, mask, rest) = match (width, cells) {
            (ErrorWidth::Address32, [address, mask, rest @ ..]) => {
                (u64::from(*address), u64::from(*mask), rest)
            }
            (ErrorWidth::Address64, [high, low, mask_high, mask_low, rest @ ..]) => {
                (wide(*high, *low), wide(*mask_high, *mask_low), rest)
            }
            _ => return Err(PARAMETER_ERROR),
        };
        let [config_address, unit_high, unit_low, function, ..] = rest else {
            return Err(PARAMETER_ERROR);
        };
        let align = match width {
            ErrorWidth::Address32 => 4,
            ErrorWidth::Address64 => 8,
        };
        let function = ErrorFunction::from_number(*function).ok_or(PARAMETER_ERROR)?;
        if address % align != 0 {
            return Err(PARAMETER_ERROR);
        }
        Ok(Self {
            config_address: *config_address,
            unit_id: wide(*unit_high, *unit_low),
            error: InjectedError {
                width,
                function,
                address,
                mask,
            },
        })
    }
}

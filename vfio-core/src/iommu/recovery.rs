//! The way of a frozen endpoint back to work.

use std::time::Duration;

use tracing::error;

use crate::error::{Error, ErrorKind, Result};

use super::error_isolation::{PeReset, PeState};
use super::partitionable_endpoint::PartitionableEndpoint;

/// Whoever freezes again after so many resets is not recovered any more.
const RESETS: u32 = 3;

const OPERATION: &str = "recover";

/// Where a [`Recovery`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecoveryStep {
    /// Nothing can be done now: [ask again](Recovery::refresh) after the [delay](Recovery::delay).
    Unavailable,
    /// Nothing passes. Next: [`thaw_mmio`](Recovery::thaw_mmio) or [`begin_reset`](Recovery::begin_reset).
    Frozen,
    /// Loads and stores pass, so that registers can be read. Next: [`begin_reset`](Recovery::begin_reset), or
    /// [`thaw`](Recovery::thaw) once the device was stopped by its registers.
    Readable,
    /// In a reset. Next, after the [delay](Recovery::delay): [`end_reset`](Recovery::end_reset).
    Resetting,
    /// The reset has ended. Next: [`configure`](Recovery::configure).
    Reset,
    /// Config space is restored. Next: [`thaw`](Recovery::thaw).
    Configured,
    /// It works. What the reset took is for the driver to set up anew: bus mastering, interrupts, and what its registers had.
    Recovered,
}

/// A frozen endpoint on its way back to work, step by step:
///
/// ```text
///              thaw_mmio               begin_reset            end_reset        configure            thaw
///    Frozen ──────────────► Readable ──────────────► Resetting ─────────► Reset ──────────► Configured ─────► Recovered
///       │                    │   │                       ▲                                                        ▲
///       └────────────────────┼───┴───────────────────────┘                                                        │
///             begin_reset    └────────────────────────────────────────────────────────────────────────────────────┘
///                                                    thaw, without a reset
/// ```
///
/// A step that has failed is where it was, and can be made again. A recovery that is dropped in the middle of a reset ends it:
/// a device that is closed in a reset is lost until the host restarts (H12). What freezes again on the way is `Frozen`, and after
/// three resets given up. [`advance`](Self::advance) makes the usual next step.
///
/// ```
/// use vfio_core::Result;
/// use vfio_core::iommu::{PartitionableEndpoint, PeReset, RecoveryStep};
///
/// /// A driver has read all ones.
/// fn recover(endpoint: &PartitionableEndpoint, log: impl Fn()) -> Result<()> {
///     let mut recovery = endpoint.recovery()?;
///     if recovery.step() == RecoveryStep::Frozen {
///         recovery.thaw_mmio()?;
///         log(); // what the registers say
///     }
///     while recovery.step() != RecoveryStep::Recovered {
///         std::thread::sleep(recovery.delay());
///         recovery.advance(PeReset::Hot)?;
///     }
///     Ok(()) // the driver sets the device up, as after any reset
/// }
/// ```
#[derive(Debug)]
pub struct Recovery {
    endpoint: PartitionableEndpoint,
    step: RecoveryStep,
    /// A reset was begun and has not ended: also one that failed to begin may be one (D58c).
    begun: bool,
    /// A reset has ended, and was not followed by the rest yet.
    was_reset: bool,
    resets: u32,
}

impl Recovery {
    pub(super) fn of(endpoint: &PartitionableEndpoint) -> Result<Self> {
        let mut recovery = Self {
            endpoint: endpoint.clone(),
            step: RecoveryStep::Unavailable,
            begun: false,
            was_reset: false,
            resets: 0,
        };
        recovery.refresh()?;
        Ok(recovery)
    }

    /// Where it stands.
    pub fn step(&self) -> RecoveryStep {
        self.step
    }

    /// How long to wait before the next step. The kernel itself waits until devices can be accessed after a reset.
    pub fn delay(&self) -> Duration {
        match self.step {
            RecoveryStep::Unavailable => Duration::from_secs(1),
            RecoveryStep::Resetting => Duration::from_millis(100), // what a PCI bus wants
            _ => Duration::ZERO,
        }
    }

    /// Asks the kernel for the state, where this was `Unavailable`.
    ///
    /// # Errors
    /// Those of [`PartitionableEndpoint::state`].
    pub fn refresh(&mut self) -> Result<RecoveryStep> {
        if self.step == RecoveryStep::Unavailable {
            let state = self.endpoint.state()?;
            self.step = match state {
                PeState::Unavailable => RecoveryStep::Unavailable,
                _ if self.was_reset => RecoveryStep::Reset,
                state => Self::first_step(state),
            };
        }
        Ok(self.step)
    }

    fn first_step(state: PeState) -> RecoveryStep {
        match state {
            PeState::Normal => RecoveryStep::Recovered,
            PeState::Resetting => RecoveryStep::Resetting,
            PeState::Frozen => RecoveryStep::Frozen,
            PeState::StoppedDma => RecoveryStep::Readable,
            PeState::Unavailable => RecoveryStep::Unavailable,
        }
    }

    /// Makes the usual next step: `reset` where one is due.
    ///
    /// # Errors
    /// Those of the step.
    pub fn advance(&mut self, reset: PeReset) -> Result<RecoveryStep> {
        match self.step {
            RecoveryStep::Unavailable => {
                self.refresh()?;
            }
            RecoveryStep::Frozen | RecoveryStep::Readable => self.begin_reset(reset)?,
            RecoveryStep::Resetting => self.end_reset()?,
            RecoveryStep::Reset => self.configure()?,
            RecoveryStep::Configured => self.thaw()?,
            RecoveryStep::Recovered => {}
        }
        Ok(self.step)
    }

    /// Lets loads and stores pass, from `Frozen` on: to read what a reset will lose.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not at this step. Those of [`PartitionableEndpoint::thaw_mmio`] and
    /// [`state`](PartitionableEndpoint::state).
    pub fn thaw_mmio(&mut self) -> Result<()> {
        self.expect(&[RecoveryStep::Frozen], "thaw loads and stores")?;
        self.endpoint.thaw_mmio()?;
        self.step = Self::first_step(self.endpoint.state()?);
        Ok(())
    }

    /// Begins a reset, from `Frozen` or `Readable` on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not at this step. [`ErrorKind::Exhausted`]: it was reset three times, and froze again.
    /// Those of [`PartitionableEndpoint::begin_reset`].
    pub fn begin_reset(&mut self, reset: PeReset) -> Result<()> {
        self.expect(
            &[RecoveryStep::Frozen, RecoveryStep::Readable],
            "begin a reset",
        )?;
        if self.resets >= RESETS {
            let why = format!("it froze again after {RESETS} resets");
            return Err(self.error(ErrorKind::Exhausted).because(why));
        }
        self.begun = true;
        self.endpoint.begin_reset(reset)?;
        self.resets += 1;
        self.was_reset = false;
        self.step = RecoveryStep::Resetting;
        Ok(())
    }

    /// Ends the reset, from `Resetting` on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not at this step. Those of [`PartitionableEndpoint::end_reset`].
    pub fn end_reset(&mut self) -> Result<()> {
        self.expect(&[RecoveryStep::Resetting], "end a reset")?;
        self.endpoint.end_reset()?;
        self.begun = false;
        self.was_reset = true;
        self.step = RecoveryStep::Unavailable;
        self.refresh().map(|_| ())
    }

    /// Restores config space, from `Reset` on.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not at this step. Those of [`PartitionableEndpoint::configure`].
    pub fn configure(&mut self) -> Result<()> {
        self.expect(&[RecoveryStep::Reset], "configure")?;
        self.endpoint.configure()?;
        self.step = RecoveryStep::Configured;
        Ok(())
    }

    /// Lets everything pass that does not yet, from `Configured` on; from `Readable` on where no reset is needed. Then it
    /// is `Recovered`, or what the kernel says instead: what froze again meanwhile is `Frozen`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: it is not at this step. Those of [`PartitionableEndpoint::thaw_mmio`],
    /// [`thaw_dma`](PartitionableEndpoint::thaw_dma) and [`state`](PartitionableEndpoint::state).
    pub fn thaw(&mut self) -> Result<()> {
        self.expect(&[RecoveryStep::Configured, RecoveryStep::Readable], "thaw")?;
        if self.endpoint.state()? == PeState::Frozen && self.was_reset {
            self.endpoint.thaw_mmio()?;
        }
        if self.endpoint.state()? == PeState::StoppedDma {
            self.endpoint.thaw_dma()?;
        }
        let state = self.endpoint.state()?;
        self.was_reset &= state == PeState::Unavailable;
        self.step = Self::first_step(state);
        Ok(())
    }

    fn expect(&self, steps: &[RecoveryStep], what: &str) -> Result<()> {
        if steps.contains(&self.step) {
            return Ok(());
        }
        let why = format!("it cannot {what} while it is {:?}", self.step);
        Err(self.error(ErrorKind::Invalid).because(why))
    }

    fn error(&self, kind: ErrorKind) -> Error {
        self.endpoint.domain().refused(kind, OPERATION)
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        if self.begun {
            if let Err(error) = self.endpoint.end_reset() {
                error!(%error, "a reset could not be ended; do not close the device before it is");
            }
        }
    }
}

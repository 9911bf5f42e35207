//! What a user holds of a group whose errors are isolated.

use crate::error::Result;

use super::domain::Domain;
use super::error_isolation::{InjectedError, PeReset, PeState};
use super::recovery::Recovery;

/// The unit in which POWER isolates errors (EEH): the group of a [`Domain`], which freezes as a whole when a device of it
/// does something wrong, so that nothing else suffers.
///
/// Nobody is told that it froze. A driver finds out when it reads all ones, or when nothing comes any more, and asks for
/// the [state](Self::state); then it [recovers](Self::recovery).
///
/// It is a handle, and holds the domain. One context with several groups has no such endpoint: the kernel would ask one
/// after the other, and answer for the first that is not as it should be. Open each device in an
/// [address space](crate::AddressSpaceId) of its own, or share it only within the group.
///
/// # Errors
/// Those of each method here: [`ErrorKind::Gone`](crate::ErrorKind::Gone): the life of the context has ended.
/// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported): another group has joined it; this host isolates no errors.
/// Otherwise what the kernel answered, in which case nothing can be said of the endpoint before its state is asked for.
#[derive(Debug, Clone)]
pub struct PartitionableEndpoint(Domain);

impl PartitionableEndpoint {
    pub(super) fn of(domain: &Domain) -> Result<Self> {
        domain.with_isolation("isolate errors of", |kernel| {
            kernel.check()?;
            kernel.state()
        })?;
        Ok(Self(domain.clone()))
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.0
    }

    /// What passes between the system and the endpoint.
    ///
    /// # Errors
    /// See [the type](Self#errors); [`ErrorKind::Kernel`](crate::ErrorKind::Kernel): a number that is no state.
    pub fn state(&self) -> Result<PeState> {
        self.0
            .with_isolation("ask for the state of", |kernel| kernel.state())
    }

    /// Says that the endpoint is used by somebody who recovers it. A frozen one is thawed without a reset: call this
    /// before it is used, and not to recover (D58b).
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn enable(&self) -> Result<()> {
        self.0
            .with_isolation("enable the isolation of errors of", |kernel| {
                kernel.enable()
            })
    }

    /// Says that nobody recovers the endpoint. Errors are isolated still (D58).
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn disable(&self) -> Result<()> {
        self.0
            .with_isolation("disable the isolation of errors of", |kernel| {
                kernel.disable()
            })
    }

    /// Lets loads and stores pass again, so that registers can be read before a reset loses them. DMA stays blocked.
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn thaw_mmio(&self) -> Result<()> {
        self.0
            .with_isolation("thaw loads and stores of", |kernel| kernel.thaw_mmio())
    }

    /// Lets DMA pass again. Loads and stores are to be [thawed](Self::thaw_mmio) first, or the state is
    /// [`PeState::Unavailable`] until they are (D58b). What the device did when it was stopped it goes on doing: stop it
    /// by its registers before, or reset it.
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn thaw_dma(&self) -> Result<()> {
        self.0
            .with_isolation("thaw the DMA of", |kernel| kernel.thaw_dma())
    }

    /// Begins a reset of all devices in the endpoint. Until it is [ended](Self::end_reset) nothing passes, and config space
    /// cannot be read (D58c). It can take seconds. End it before a device is closed, also if this has failed: a device that
    /// is closed in a reset is lost until the host restarts (H12). A [`Recovery`] sees to it.
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn begin_reset(&self, reset: PeReset) -> Result<()> {
        self.0
            .with_isolation("begin a reset of", |kernel| kernel.begin_reset(reset))
    }

    /// Ends a reset, after no less than 100 ms, and thaws the endpoint. It can take seconds, until devices can be accessed.
    /// Their BARs are restored, and the rest of config space is as after a reset: they are no bus masters.
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn end_reset(&self) -> Result<()> {
        self.0
            .with_isolation("end a reset of", |kernel| kernel.end_reset())
    }

    /// Restores the config space of bridges in the endpoint, after a reset.
    ///
    /// # Errors
    /// See [the type](Self#errors).
    pub fn configure(&self) -> Result<()> {
        self.0
            .with_isolation("configure the bridges of", |kernel| kernel.configure())
    }

    /// Makes an error, to test what becomes of it.
    ///
    /// # Errors
    /// See [the type](Self#errors); a platform need not be able to make every error.
    pub fn inject(&self, error: InjectedError) -> Result<()> {
        self.0
            .with_isolation("make an error of", |kernel| kernel.inject(error))
    }

    /// Asks what is to be done until the endpoint works: nothing if it does.
    ///
    /// # Errors
    /// Those of [`state`](Self::state).
    pub fn recovery(&self) -> Result<Recovery> {
        Recovery::of(self)
    }
}

//! What a backend does whose hardware keeps an error of one device from everything else.

use std::fmt::Debug;

use crate::error::Result;

/// What passes between the system and a partitionable endpoint (PE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeState {
    /// Loads and stores pass, and so does DMA.
    Normal,
    /// It is in a reset: nothing passes. Not every kernel says so; one on bare metal says [`Frozen`](Self::Frozen) (D58c).
    Resetting,
    /// An error stopped it: loads answer all ones, stores are dropped, DMA is blocked.
    Frozen,
    /// Loads and stores pass, DMA is blocked.
    StoppedDma,
    /// Nothing can be said of it, or done to it: what is above it recovers, or it is gone for good; or DMA alone was
    /// thawed (D58b).
    Unavailable,
}

/// How a partitionable endpoint is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeReset {
    /// By the link, as other errors are recovered from.
    Hot,
    /// By the reset signal of the slot, for the few devices that need it.
    Fundamental,
}

/// An error to make, so that a recovery can be tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InjectedError {
    /// How wide the address is.
    pub width: ErrorWidth,
    /// Which access is to go wrong, and how.
    pub function: ErrorFunction,
    /// Where: an address on the bus, which for DMA is an IOVA.
    pub address: u64,
    /// The bits of the address that are compared.
    pub mask: u64,
}

/// How wide the address of an [`InjectedError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorWidth {
    /// 32 bits.
    Address32,
    /// 64 bits.
    Address64,
}

/// Which access goes wrong, and how. On PCI Express all that differs is the access: the error is one of its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorFunction {
    /// A load from memory space; its address.
    LoadMemoryAddress,
    /// A load from memory space; its data.
    LoadMemoryData,
    /// A load from I/O space; its address.
    LoadIoAddress,
    /// A load from I/O space; its data.
    LoadIoData,
    /// A read of config space; its address.
    LoadConfigAddress,
    /// A read of config space; its data.
    LoadConfigData,
    /// A store to memory space; its address.
    StoreMemoryAddress,
    /// A store to memory space; its data.
    StoreMemoryData,
    /// A store to I/O space; its address.
    StoreIoAddress,
    /// A store to I/O space; its data.
    StoreIoData,
    /// A write of config space; its address.
    StoreConfigAddress,
    /// A write of config space; its data.
    StoreConfigData,
    /// DMA that reads; its address.
    DmaReadAddress,
    /// DMA that reads; its data.
    DmaReadData,
    /// DMA that reads; nobody answers.
    DmaReadMasterAbort,
    /// DMA that reads; it is answered with an abort.
    DmaReadTargetAbort,
    /// DMA that writes; its address.
    DmaWriteAddress,
    /// DMA that writes; its data.
    DmaWriteData,
    /// DMA that writes; nobody answers.
    DmaWriteMasterAbort,
    /// DMA that writes; it is answered with an abort.
    DmaWriteTargetAbort,
}

impl ErrorFunction {
    /// All of them, in the order of the numbers that firmware and kernel give them, from 0 on.
    pub const ALL: [Self; 20] = [
        Self::LoadMemoryAddress,
        Self::LoadMemoryData,
        Self::LoadIoAddress,
        Self::LoadIoData,
        Self::LoadConfigAddress,
        Self::LoadConfigData,
        Self::StoreMemoryAddress,
        Self::StoreMemoryData,
        Self::StoreIoAddress,
        Self::StoreIoData,
        Self::StoreConfigAddress,
        Self::StoreConfigData,
        Self::DmaReadAddress,
        Self::DmaReadData,
        Self::DmaReadMasterAbort,
        Self::DmaReadTargetAbort,
        Self::DmaWriteAddress,
        Self::DmaWriteData,
        Self::DmaWriteMasterAbort,
        Self::DmaWriteTargetAbort,
    ];

    /// The one with that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// How the hardware below one IOMMU context isolates errors: EEH, the Enhanced Error Handling of POWER.
///
/// A backend translates; [`PartitionableEndpoint`](super::PartitionableEndpoint) stands above it, [checks](Self::check)
/// first, and asks only while one group is in the context.
pub trait ErrorIsolation: Debug + Send + Sync {
    /// Asks whether errors are isolated here at all.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported), and why. What the kernel answered.
    fn check(&self) -> Result<()>;

    /// Takes the endpoint, as it is when it was thawed.
    ///
    /// # Errors
    /// What the kernel answered.
    fn enable(&self) -> Result<()>;

    /// Gives the endpoint up.
    ///
    /// # Errors
    /// What the kernel answered.
    fn disable(&self) -> Result<()>;

    /// Asks what passes.
    ///
    /// # Errors
    /// What the kernel answered, a number that is no state among others.
    fn state(&self) -> Result<PeState>;

    /// Lets loads and stores pass again.
    ///
    /// # Errors
    /// What the kernel answered.
    fn thaw_mmio(&self) -> Result<()>;

    /// Lets DMA pass again.
    ///
    /// # Errors
    /// What the kernel answered.
    fn thaw_dma(&self) -> Result<()>;

    /// Begins a reset.
    ///
    /// # Errors
    /// What the kernel answered.
    fn begin_reset(&self, reset: PeReset) -> Result<()>;

    /// Ends a reset.
    ///
    /// # Errors
    /// What the kernel answered.
    fn end_reset(&self) -> Result<()>;

    /// Restores the config space of what is inside, after a reset.
    ///
    /// # Errors
    /// What the kernel answered.
    fn configure(&self) -> Result<()>;

    /// Makes an error, or has the next access that it is for go wrong.
    ///
    /// # Errors
    /// What the kernel answered.
    fn inject(&self, error: InjectedError) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_the_numbers_of_their_places() {
        for (n, function) in (0..).zip(ErrorFunction::ALL) {
            assert_eq!(function.number(), n);
            assert_eq!(ErrorFunction::from_number(n), Some(function));
        }
        assert_eq!(ErrorFunction::from_number(20), None);
        assert_eq!(ErrorFunction::from_number(u32::MAX), None);
    }
}

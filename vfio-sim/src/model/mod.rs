//! What devices do: registers, DMA, interrupts.
//!
//! A model is a file here, or a type of your own: [`machine::Device`](crate::machine::Device) says how one is made.

mod edu;
#[cfg(test)]
mod fake_bus;
mod nvme;
mod plain;

use std::fmt::Debug;

pub use edu::{ByteOrder, Edu};
pub use nvme::Nvme;
pub use plain::Plain;

/// What is behind the BARs of a device.
///
/// What a device is asked through config space, VFIO answers for it; what is written there that concerns the
/// device reaches it as [`reset`](Self::reset), or as what the [`Bus`] then allows it.
///
/// A model is asked while the kernel is locked. It must not call the [`SimKernel`](crate::SimKernel) that drives it, and
/// not wait for a thread that does, which would be a deadlock: the [`Bus`] is its way to the rest of the machine. One
/// that panics lets the call panic that it was asked by, and stays as it was then.
pub trait Model: Debug + Send {
    /// Somebody reads registers: `bytes` is to be filled, in the device's byte order. `bar` is 0 to 5, `offset` in
    /// bytes; all of it is inside the BAR.
    fn read(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, bytes: &mut [u8]);

    /// Somebody writes registers.
    fn write(&mut self, bus: &mut dyn Bus, bar: u8, offset: u64, bytes: &[u8]);

    /// The device is reset: it forgets what a reset makes it forget, and asserts its line no more.
    fn reset(&mut self);
}

/// The way from a device to the rest of the machine.
pub trait Bus {
    /// DMA: reads memory at these addresses, through the IOMMU. Answers whether all of it could be had; what could
    /// not reads as ones.
    fn read_memory(&mut self, iova: u64, bytes: &mut [u8]) -> bool;

    /// DMA: writes memory at these addresses, through the IOMMU. Answers whether all of it could be written; what
    /// could not is dropped.
    fn write_memory(&mut self, iova: u64, bytes: &[u8]) -> bool;

    /// Whether MSI or MSI-X is enabled; if not, the device has its line alone.
    fn sends_messages(&self) -> bool;

    /// Sends the message of that vector, if it is enabled.
    fn send_message(&mut self, vector: u32);

    /// Asserts the interrupt line, or no longer.
    fn set_line(&mut self, asserted: bool);
}

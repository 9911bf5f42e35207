//! Drivers, just large enough to have a device do DMA and raise interrupts.
//!
//! A new driver is a file here, and a line in `MODELS`.

mod edu;
mod evidence;
mod kept;
mod nvme;
mod reachable;
mod registers;

use anyhow::Result;
use vfio_core::address::Iova;
use vfio_core::device::Device;
use vfio_core::host::PciDevice;

pub use evidence::{Dma, TELLING};
pub use kept::Kept;
pub use reachable::Reachable;

/// A kind of device that there is a driver for.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// The driver's name.
    pub name: &'static str,
    fits: fn(&PciDevice) -> bool,
    drive: fn(&Device) -> Result<Box<dyn Driver>>,
}

/// Every driver that there is.
const MODELS: [Model; 2] = [
    Model {
        name: "edu",
        fits: |device| (device.vendor, device.device) == (0x1234, 0x11e8),
        drive: |device| Ok(Box::new(edu::Edu::new(device)?)),
    },
    Model {
        name: "NVMe Identify",
        fits: |device| device.class == 0x01_08_02,
        drive: |device| Ok(Box::new(nvme::Nvme::new(device)?)),
    },
];

impl Model {
    /// The driver that fits a device.
    pub fn of(device: &PciDevice) -> Option<Self> {
        MODELS.into_iter().find(|model| (model.fits)(device))
    }

    /// Drives the device.
    ///
    /// # Errors
    /// The kernel or the device refused something.
    pub fn drive(self, device: &Device) -> Result<Box<dyn Driver>> {
        (self.drive)(device)
    }
}

/// What makes a device raise an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was told to, and does nothing else.
    Request,
    /// It has done some DMA.
    DmaDone,
}

/// The least that a buffer for [`Driver::reads`] and [`Driver::writes`] must hold, in bytes.
pub const BUFFER_SIZE: usize = 12 << 10;

/// A device that can be had do something.
///
/// The drivers keep what they need in buffers of their own, so that a suite can take the memory that it
/// is about away from the device.
pub trait Driver: Send {
    /// Makes the device ready for what follows, with the interrupts that are enabled now, whatever was
    /// done to it before. The other methods expect this to have been called.
    ///
    /// # Errors
    /// The device did not become ready.
    fn start(&mut self) -> Result<()>;

    /// Asks the device who it is, in its own words, by every way that there is to ask.
    ///
    /// # Errors
    /// It does not say what it must, or not everywhere the same.
    fn identify(&mut self) -> Result<()>;

    /// Fills `memory` with random bytes and has the device read some of them; says what the device got.
    ///
    /// # Errors
    /// It got a part, or could not be asked.
    fn reads(&mut self, memory: &dyn Reachable) -> Result<Dma>;

    /// Fills `memory` with random bytes and has the device write other bytes, which it is proven to have,
    /// to some place inside; says what became of the memory.
    ///
    /// # Errors
    /// A part was written, or something beside it; or the device could not be asked.
    fn writes(&mut self, memory: &dyn Reachable) -> Result<Dma>;

    /// Its way to copy any bytes to and from any address, if it has one.
    fn copier(&self) -> Option<&dyn Copier>;

    /// What makes it raise an interrupt.
    fn causes(&self) -> &'static [Cause];

    /// Has the device raise one interrupt.
    ///
    /// # Errors
    /// The kernel or the device refused something.
    fn raise(&mut self, cause: Cause) -> Result<()>;

    /// Takes the cause of the last interrupt away: then the device no longer asserts its line.
    ///
    /// # Errors
    /// The device has not done what should have raised it.
    fn acknowledge(&mut self) -> Result<()>;

    /// Whether the device is as [`start`](Self::start) left it, rather than as a reset leaves it; `None`
    /// if nothing tells.
    ///
    /// # Errors
    /// The device could not be asked.
    fn is_started(&self) -> Result<Option<bool>>;
}

/// A device that copies bytes between memory and a buffer of its own. Whether any arrive is for memory to tell, and for
/// the buffer.
pub trait Copier {
    /// Fills the buffer with random bytes, which it is proven to have, and answers them.
    ///
    /// # Errors
    /// It does not have them.
    fn fill(&self) -> Result<Vec<u8>>;

    /// What is in the buffer.
    ///
    /// # Errors
    /// The device does not say.
    fn contents(&self) -> Result<Vec<u8>>;

    /// Has the device read so many bytes from an address, into some place of the buffer.
    ///
    /// # Errors
    /// They are not inside the buffer; the device does not end.
    fn read(&self, from: Iova, at: usize, len: usize) -> Result<()>;

    /// Has the device write so many bytes of some place of the buffer to an address.
    ///
    /// # Errors
    /// Those of [`read`](Self::read).
    fn write(&self, at: usize, to: Iova, len: usize) -> Result<()>;
}

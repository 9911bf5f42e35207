//! Config space, by the names that PCI gives its registers.

use bitflags::bitflags;
use vfio_core::Result;
use vfio_core::device::{Device, Region, RegionIndex};

use crate::capability::{self, Capability, CapabilityId};

pub(crate) const VENDOR: u16 = 0x00;
pub(crate) const DEVICE: u16 = 0x02;
pub(crate) const COMMAND: u16 = 0x04;
pub(crate) const STATUS: u16 = 0x06;
pub(crate) const REVISION: u16 = 0x08;
pub(crate) const HEADER_TYPE: u16 = 0x0e;
const BARS: u16 = 0x10;
pub(crate) const CAPABILITIES: u16 = 0x34;

/// In the status register: there is a list of capabilities.
pub(crate) const STATUS_CAPABILITIES: u16 = 1 << 4;

bitflags! {
    /// The command register. Bits without a name here are kept as they are.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Command: u16 {
        /// The device answers in its I/O BARs.
        const IO = 1 << 0;
        /// The device answers in its memory BARs.
        const MEMORY = 1 << 1;
        /// The device may do DMA and send message signalled interrupts.
        const BUS_MASTER = 1 << 2;
        /// The device keeps its interrupt line quiet.
        const INTX_DISABLE = 1 << 10;
        const _ = !0;
    }
}

/// The config space of a device. It is little-endian on every host; these methods translate.
///
/// VFIO shows some registers as it wants them seen and lets some writes pass only in part; what is read
/// is what VFIO says.
#[derive(Debug, Clone)]
pub struct ConfigSpace(Region);

impl ConfigSpace {
    /// The config space of `device`.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn of(device: &Device) -> Result<Self> {
        device.region(RegionIndex::Config).map(Self)
    }

    /// Who made the device.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn vendor(&self) -> Result<u16> {
        self.read(VENDOR)
    }

    /// Which of its maker's devices it is.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn device(&self) -> Result<u16> {
        self.read(DEVICE)
    }

    /// Which revision of the device it is.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn revision(&self) -> Result<u8> {
        self.0.read(REVISION.into())
    }

    /// How the header is laid out (0: a device, 1: a bridge), without the bit that says whether the
    /// device has several functions.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn header_type(&self) -> Result<u8> {
        const MULTI_FUNCTION: u8 = 1 << 7;
        Ok(self.0.read::<u8>(HEADER_TYPE.into())? & !MULTI_FUNCTION)
    }

    /// The command register.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn command(&self) -> Result<Command> {
        self.read(COMMAND).map(Command::from_bits_retain)
    }

    /// Sets bits of the command register and leaves the others as they are.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn enable(&self, bits: Command) -> Result<()> {
        self.set_command(self.command()? | bits)
    }

    /// Clears bits of the command register and leaves the others as they are.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn disable(&self, bits: Command) -> Result<()> {
        self.set_command(self.command()?.difference(bits))
    }

    /// Its capabilities, in the order of its list.
    ///
    /// # Errors
    /// The list leads into the header or in a circle; what the kernel answered.
    pub fn capabilities(&self) -> Result<Vec<Capability>> {
        if self.read(STATUS)? & STATUS_CAPABILITIES == 0 {
            return Ok(Vec::new());
        }
        let first = self.0.read(CAPABILITIES.into())?;
        capability::list(first, |offset| self.read(offset.into()))
    }

    /// The first capability of a kind.
    ///
    /// # Errors
    /// Those of [`capabilities`](Self::capabilities).
    pub fn capability(&self, id: CapabilityId) -> Result<Option<Capability>> {
        Ok(self.capabilities()?.into_iter().find(|one| one.id == id))
    }

    /// The register of a BAR, 0 to 5, as VFIO shows it.
    pub(crate) fn bar(&self, number: u8) -> Result<u32> {
        self.dword(BARS + 4 * u16::from(number))
    }

    /// Four bytes at an offset that is a multiple of 4.
    pub(crate) fn dword(&self, offset: u16) -> Result<u32> {
        self.0.read(offset.into()).map(u32::from_le)
    }

    fn set_command(&self, command: Command) -> Result<()> {
        self.0.write(COMMAND.into(), command.bits().to_le())
    }

    fn read(&self, offset: u16) -> Result<u16> {
        self.0.read(offset.into()).map(u16::from_le)
    }
}

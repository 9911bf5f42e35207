//! The expansion ROM: read when the guest first asks for it, and kept.

use std::sync::{Arc, OnceLock};

use vfio_core::device::Region;
use vfio_core::{Error, ErrorKind, Result};

use super::read_whole;
use super::slice::Answer;

/// What a guest finds as its device's expansion ROM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum RomSource {
    /// What the device has.
    #[default]
    Device,
    /// None.
    Hidden,
    /// These bytes: for devices whose own cannot be read, or is not wanted.
    Image(Arc<[u8]>),
}

/// No ROM is larger, in bytes: what is behind that reads as ones.
const LARGEST: u64 = 16 << 20;
/// What every ROM starts with (PCI Firmware Specification).
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// The ROM of a device.
#[derive(Debug)]
pub(super) struct Rom {
    from: Source,
    image: OnceLock<Arc<[u8]>>,
}

#[derive(Debug)]
enum Source {
    Region(Arc<Region>),
    Image(Arc<[u8]>),
}

impl Rom {
    /// The device's.
    pub(super) fn of_region(region: Arc<Region>) -> Self {
        Self::from(Source::Region(region))
    }

    /// One that is known.
    pub(super) fn of_image(image: Arc<[u8]>) -> Self {
        Self::from(Source::Image(image))
    }

    fn from(from: Source) -> Self {
        Self {
            from,
            image: OnceLock::new(),
        }
    }

    /// What is in it. What could not be read is tried again the next time; what is no ROM is not.
    fn image(&self) -> Result<&[u8]> {
        if let Some(image) = self.image.get() {
            return Ok(image);
        }
        let image = match &self.from {
            Source::Region(region) => read_whole(region, LARGEST)?.into(),
            Source::Image(image) => Arc::clone(image),
        };
        let is_one = image.starts_with(&SIGNATURE);
        let found = if is_one { image } else { Arc::default() };
        let image = self.image.get_or_init(|| found);
        match is_one {
            true => Ok(image),
            false => Err(Error::new(ErrorKind::Kernel, "read", "the ROM").because(
                "it does not start as a ROM does: the guest finds none; a file with an image of one can be given",
            )),
        }
    }
}

impl Answer for Rom {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        let image = self.image()?;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = image.get(at..).unwrap_or_default();
        let mut rest = rest.iter();
        bytes.fill_with(|| rest.next().copied().unwrap_or(0xff));
        Ok(())
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<()> {
        Ok(()) // what it says
    }
}

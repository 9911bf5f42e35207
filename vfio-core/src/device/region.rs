//! Regions: BARs, ROM, config space.

use zerocopy::FromBytes;

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Protection;
use crate::memory::Register;
use crate::uapi;

use super::capability::{self, MappableArea, RegionCapabilities};
use super::{Device, RegionMap, calls};

const GET_INFO: &str = "VFIO_DEVICE_GET_REGION_INFO";

/// A kernel says once how much room it wants.
const MOST_TRIES: u32 = 4;

/// Which region of a PCI device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionIndex {
    /// A BAR, 0 to 5.
    Bar(u8),
    /// The expansion ROM.
    Rom,
    /// Config space.
    Config,
    /// The legacy ranges of a graphics card.
    Vga,
    /// A region that only this device has, by its number.
    Other(u32),
}

impl RegionIndex {
    /// Its number in VFIO's interface; `None` for a BAR that no device has.
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Bar(bar) => (bar < 6).then(|| uapi::PCI_BAR0_REGION_INDEX + u32::from(bar)),
            Self::Rom => Some(uapi::PCI_ROM_REGION_INDEX),
            Self::Config => Some(uapi::PCI_CONFIG_REGION_INDEX),
            Self::Vga => Some(uapi::PCI_VGA_REGION_INDEX),
            Self::Other(number) => Some(number),
        }
    }

    /// The region that has a number.
    fn of(number: u32) -> Self {
        match number {
            uapi::PCI_ROM_REGION_INDEX => Self::Rom,
            uapi::PCI_CONFIG_REGION_INDEX => Self::Config,
            uapi::PCI_VGA_REGION_INDEX => Self::Vga,
            number => match u8::try_from(number) {
                Ok(bar @ 0..6) => Self::Bar(bar),
                _ => Self::Other(number),
            },
        }
    }
}

/// More regions than any device has.
const MOST_REGIONS: u32 = 1 << 12;

/// A region of a device.
#[derive(Debug, Clone)]
pub struct Region {
    device: Device,
    index: RegionIndex,
    info: uapi::RegionInfo,
}

impl Device {
    /// A region. One that the device does not have has size 0.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: a BAR after the sixth. What the kernel answered; it refuses numbers that no
    /// device of this kind has.
    pub fn region(&self, index: RegionIndex) -> Result<Region> {
        let number = index.number().ok_or_else(|| {
            self.error(ErrorKind::Invalid, "VFIO_DEVICE_GET_REGION_INFO")
                .because("a device has six BARs, 0 to 5")
        })?;
        Ok(Region {
            device: self.clone(),
            index,
            info: calls::region_info(self, number)?,
        })
    }

    /// Every region, each by its own index: one that the kernel refuses (VGA on what has none, F75) is an error in
    /// its own place, and does not shift the others.
    ///
    /// # Errors
    /// The kernel does not say how many there are.
    pub fn regions(&self) -> Result<Vec<(RegionIndex, Result<Region>)>> {
        let numbers = 0..self.info()?.regions.min(MOST_REGIONS);
        let indexes = numbers.map(RegionIndex::of);
        Ok(indexes.map(|index| (index, self.region(index))).collect())
    }
}

impl Region {
    /// Which one it is.
    pub fn index(&self) -> RegionIndex {
        self.index
    }

    /// Its size in bytes; 0 if the device does not have it.
    pub fn size(&self) -> u64 {
        self.info.size
    }

    /// Whether it can be read with [`read`](Self::read).
    pub fn is_readable(&self) -> bool {
        self.info.flags & uapi::REGION_FLAG_READ != 0
    }

    /// Whether it can be written with [`write`](Self::write).
    pub fn is_writable(&self) -> bool {
        self.info.flags & uapi::REGION_FLAG_WRITE != 0
    }

    /// Whether it can be mapped.
    pub fn is_mappable(&self) -> bool {
        self.info.flags & uapi::REGION_FLAG_MMAP != 0
    }

    /// What the kernel says of it beside its size: asked when this is called, and only if there is something.
    ///
    /// # Errors
    /// What the kernel answered, or that its answer makes no sense.
    pub fn capabilities(&self) -> Result<RegionCapabilities> {
        if self.info.flags & uapi::REGION_FLAG_CAPS == 0 {
            return Ok(RegionCapabilities::default());
        }
        let known = size_of::<uapi::RegionInfo>();
        let mut room = capability::wanted(&self.info, known)?.unwrap_or(known);
        for _ in 0..MOST_TRIES {
            let bytes = calls::region_answer(&self.device, self.info.index, room)?;
            let (answer, _) = uapi::RegionInfo::read_from_prefix(&bytes)
                .map_err(|_| self.error(ErrorKind::Kernel, GET_INFO))?;
            match capability::wanted(&answer, room)? {
                Some(more) => room = more,
                None => return RegionCapabilities::read(&bytes),
            }
        }
        Err(self
            .error(ErrorKind::Kernel, GET_INFO)
            .because("the kernel wants more room each time"))
    }

    /// The parts that can be mapped: all of it, or what the kernel names; none if it cannot be mapped.
    ///
    /// # Errors
    /// Those of [`capabilities`](Self::capabilities).
    pub fn mappable_areas(&self) -> Result<Vec<MappableArea>> {
        if !self.is_mappable() || self.size() == 0 {
            return Ok(Vec::new());
        }
        let whole = MappableArea {
            offset: 0,
            size: self.size(),
        };
        Ok(self.capabilities()?.sparse.unwrap_or_else(|| vec![whole]))
    }

    /// The device that it belongs to.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// Reads a register at `offset`, in bytes, in one call. Of a BAR the kernel makes one access of the device;
    /// config space it may take apart.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned. What the kernel answered: `EIO` if the device does
    /// not decode its memory.
    pub fn read<T: Register>(&self, offset: u64) -> Result<T> {
        const OPERATION: &str = "read";
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        let at = self.place(OPERATION, offset, bytes.len())?;
        let len = bytes.len();
        let done = self.device.kernel().pread(self.device.fd(), bytes, at);
        self.complete(OPERATION, offset, len, done)?;
        Ok(value)
    }

    /// Writes a register at `offset`, in bytes, in one call. Of a BAR the kernel makes one access of the device;
    /// config space it may take apart.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside, or misaligned. What the kernel answered: `EIO` if the device does
    /// not decode its memory.
    pub fn write<T: Register>(&self, offset: u64, value: T) -> Result<()> {
        const OPERATION: &str = "write";
        let bytes = value.as_bytes();
        let at = self.place(OPERATION, offset, bytes.len())?;
        let done = self.device.kernel().pwrite(self.device.fd(), bytes, at);
        self.complete(OPERATION, offset, bytes.len(), done)
    }

    /// Reads bytes from `offset` on, in one call, whatever their number and alignment: what a guest asks for. Of a BAR the
    /// kernel makes as few accesses of the device as alignment allows, one where these are a register.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`]: outside. What the kernel answered, as for [`read`](Self::read).
    pub fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        const OPERATION: &str = "read";
        let at = self.inside(OPERATION, offset, bytes.len())?;
        let len = bytes.len();
        let done = self.device.kernel().pread(self.device.fd(), bytes, at);
        self.complete(OPERATION, offset, len, done)
    }

    /// Writes bytes from `offset` on, in one call, as [`read_bytes`](Self::read_bytes) reads them.
    ///
    /// # Errors
    /// As for [`read_bytes`](Self::read_bytes).
    pub fn write_bytes(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        const OPERATION: &str = "write";
        let at = self.inside(OPERATION, offset, bytes.len())?;
        let done = self.device.kernel().pwrite(self.device.fd(), bytes, at);
        self.complete(OPERATION, offset, bytes.len(), done)
    }

    /// Maps the whole region.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: it cannot be mapped, or not as a whole; [`mappable_areas`](Self::mappable_areas)
    /// then says which parts can. What the kernel answered.
    pub fn map(&self) -> Result<RegionMap> {
        self.map_part(0, self.size())
    }

    /// Maps `size` bytes of the region from `offset` on, which is a multiple of the page size. Large parts lie so that
    /// the kernel can use huge pages for them.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: it cannot be mapped there. [`ErrorKind::Invalid`]: empty, outside or misaligned.
    /// What the kernel answered.
    pub fn map_part(&self, offset: u64, size: u64) -> Result<RegionMap> {
        const OPERATION: &str = "map";
        if !self.is_mappable() {
            return Err(self
                .error(ErrorKind::Unsupported, OPERATION)
                .because("the kernel offers no mapping of it"));
        }
        let offers = |areas: &[MappableArea]| {
            let inside = |it: &MappableArea| {
                it.offset <= offset && offset.saturating_add(size) <= it.offset + it.size
            };
            areas.iter().any(inside)
        };
        if let Some(areas) = self.capabilities()?.sparse.filter(|areas| !offers(areas)) {
            let areas = areas
                .iter()
                .map(|it| format!("{:#x} bytes at {:#x}", it.size, it.offset));
            return Err(self
                .error(ErrorKind::Unsupported, OPERATION)
                .because(format!(
                    "only parts of it can be mapped: {}",
                    areas.collect::<Vec<_>>().join(", ")
                )));
        }
        let page = self.device.kernel().page_size() as u64;
        let end = offset.checked_add(size);
        if size == 0 || offset % page != 0 || end.is_none_or(|end| end > self.size()) {
            return Err(self.error(ErrorKind::Invalid, OPERATION).because(format!(
                "{size:#x} bytes at {offset:#x} are empty, misaligned, or outside of its {:#x} bytes",
                self.size()
            )));
        }
        let len = usize::try_from(size).map_err(|_| self.error(ErrorKind::Exhausted, OPERATION))?;
        let place = self
            .info
            .offset
            .checked_add(offset)
            .ok_or_else(|| self.error(ErrorKind::Kernel, OPERATION))?;
        let protection = Protection {
            read: self.is_readable(),
            write: self.is_writable(),
        };
        RegionMap::new(&self.device, place, len, protection).map_err(|errno| {
            Error::kernel("mmap", self.name(), errno)
                .of_device(self.device.bdf())
                .because(format!("{size:#x} bytes at {offset:#x}"))
        })
    }

    /// Where a register is in the device's fd.
    pub(super) fn place(&self, operation: &'static str, offset: u64, len: usize) -> Result<u64> {
        if offset % len as u64 != 0 {
            return Err(self
                .error(ErrorKind::Invalid, operation)
                .because(format!("{len} bytes at {offset:#x} are misaligned")));
        }
        self.inside(operation, offset, len)
    }

    /// Where bytes of it are in the device's fd.
    #[inline]
    fn inside(&self, operation: &'static str, offset: u64, len: usize) -> Result<u64> {
        let end = offset.checked_add(len as u64);
        let place = self.info.offset.checked_add(offset);
        match (end, place) {
            (Some(end), Some(place)) if end <= self.info.size => Ok(place),
            _ => Err(self.outside(operation, offset, len)),
        }
    }

    #[cold]
    fn outside(&self, operation: &'static str, offset: u64, len: usize) -> Error {
        self.error(ErrorKind::Invalid, operation).because(format!(
            "{len} bytes at {offset:#x} are outside of its {:#x} bytes",
            self.info.size
        ))
    }

    #[inline]
    fn complete(
        &self,
        operation: &'static str,
        offset: u64,
        len: usize,
        done: crate::kernel::Result<usize>,
    ) -> Result<()> {
        match done {
            Ok(n) if n == len => Ok(()),
            done => Err(self.incomplete(operation, offset, len, done)),
        }
    }

    #[cold]
    fn incomplete(
        &self,
        operation: &'static str,
        offset: u64,
        len: usize,
        done: crate::kernel::Result<usize>,
    ) -> Error {
        match done {
            Ok(n) => self
                .error(ErrorKind::Kernel, operation)
                .because(format!("only {n} of {len} bytes at {offset:#x} were moved")),
            Err(errno) => Error::kernel(operation, self.name(), errno)
                .of_device(self.device.bdf())
                .because(format!("{len} bytes at {offset:#x}")),
        }
    }

    fn name(&self) -> String {
        format!("{:?} of {}", self.index, self.device.bdf())
    }

    fn error(&self, kind: ErrorKind, operation: &'static str) -> Error {
        Error::new(kind, operation, self.name()).of_device(self.device.bdf())
    }
}

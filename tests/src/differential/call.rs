//! A call, said so that it means the same on both kernels: what it is about is named, not numbered or addressed.

use serde::{Deserialize, Serialize};
use vfio_core::uapi;

/// A place for something that is open. The number tells those of a kind apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Slot {
    Container(u8),
    Group(u8),
    Device(u8),
    /// An eventfd.
    Signal(u8),
}

/// A part of one of the memories of [`memory`](super::memory).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) memory: usize,
    /// In bytes from its start; it need not be inside.
    pub(super) offset: u64,
}

/// What an argument consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    U32(u32),
    U64(u64),
    /// The address of a place, 64 bits.
    At(Place),
    /// The number of an fd, 32 bits; that of nothing if the slot is empty.
    Fd(Slot),
    /// An fd that is open, and nothing of VFIO's.
    OtherFd,
    Bytes(Vec<u8>),
}

/// The argument of an ioctl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Argument {
    None,
    Value(usize),
    /// Behind the last byte nothing is mapped.
    Struct(Vec<Word>),
}

/// What a device is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Name {
    /// The n-th of those that take part.
    Of(usize),
    Text(String),
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Call {
    OpenContainer(Slot),
    /// The n-th group that takes part.
    OpenGroup(Slot, usize),
    NewSignal(Slot),
    OpenDevice {
        group: Slot,
        name: Name,
        to: Slot,
    },
    Close(Slot),
    /// `_IO(';', 100 + number)`.
    Ioctl {
        on: Slot,
        number: u8,
        argument: Argument,
    },
    Read {
        device: Slot,
        region: u32,
        offset: u64,
        len: usize,
    },
    Write {
        device: Slot,
        region: u32,
        offset: u64,
        bytes: Vec<u8>,
    },
    /// The mapping is given back at once.
    MapRegion {
        device: Slot,
        region: u32,
        offset: u64,
        len: usize,
        /// It is mapped to be read, and perhaps written.
        write: bool,
    },
    /// Has the device write to memory, as a bus master.
    Dma {
        device: Slot,
        iova: u64,
    },
    /// Takes what an eventfd has counted.
    Drain(Slot),
    /// Signals an eventfd.
    Signal(Slot),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// What it returned; an fd counts as 0.
    Done(u32, Vec<u8>),
    /// The errno, and the argument afterwards.
    Failed(rustix::io::Errno, Vec<u8>),
    /// It could not be made: nothing is open there.
    Empty,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        matches!(self, Self::Done(..))
    }
}

impl Call {
    /// An ioctl without an argument.
    pub(super) fn plain(on: Slot, number: u8) -> Self {
        Self::ioctl(on, number, Argument::None)
    }

    /// One that takes a number.
    pub(super) fn value(on: Slot, number: u8, value: usize) -> Self {
        Self::ioctl(on, number, Argument::Value(value))
    }

    /// One that takes a struct.
    pub(super) fn with(on: Slot, number: u8, words: Vec<Word>) -> Self {
        Self::ioctl(on, number, Argument::Struct(words))
    }

    fn ioctl(on: Slot, number: u8, argument: Argument) -> Self {
        Self::Ioctl {
            on,
            number,
            argument,
        }
    }

    /// `VFIO_IOMMU_MAP_DMA`, which both kinds of IOMMU have.
    pub(super) fn map(
        on: Slot,
        argsz: u32,
        flags: u32,
        place: Place,
        iova: u64,
        size: u64,
    ) -> Self {
        let head = [Word::U32(argsz), Word::U32(flags), Word::At(place)];
        let range = [Word::U64(iova), Word::U64(size)];
        Self::with(on, 13, head.into_iter().chain(range).collect())
    }

    /// `VFIO_IOMMU_UNMAP_DMA`, likewise.
    pub(super) fn unmap(on: Slot, argsz: u32, flags: u32, iova: u64, size: u64) -> Self {
        let words = [
            Word::U32(argsz),
            Word::U32(flags),
            Word::U64(iova),
            Word::U64(size),
        ];
        Self::with(on, 14, words.into())
    }

    /// What it is counted as: an IOMMU's calls have numbers that the other kind's have too.
    pub(super) fn kind(&self, is_spapr: bool) -> String {
        match self {
            Self::OpenContainer(_) => "open container".into(),
            Self::OpenGroup(..) => "open group".into(),
            Self::NewSignal(_) => "new eventfd".into(),
            Self::OpenDevice { .. } => "VFIO_GROUP_GET_DEVICE_FD".into(),
            Self::Close(slot) => match slot {
                Slot::Container(_) => "close container".into(),
                Slot::Group(_) => "close group".into(),
                Slot::Device(_) => "close device".into(),
                Slot::Signal(_) => "close eventfd".into(),
            },
            Self::Ioctl {
                on: Slot::Container(_),
                number: number @ (13 | 14),
                argument: Argument::Struct(words),
            } if !is_spapr => mapping_kind(*number, words),
            Self::Ioctl { on, number, .. } => {
                use vfio_sim::wrap::Kind;
                let kind = match on {
                    Slot::Container(_) if is_spapr => Kind::Spapr,
                    Slot::Container(_) => Kind::Type1,
                    Slot::Group(_) => Kind::Group,
                    Slot::Device(_) => Kind::Device,
                    Slot::Signal(_) => Kind::Eventfd,
                };
                let name = vfio_sim::wrap::ioctl_name(uapi::vfio(*number), Some(kind));
                name.map_or_else(|| "a call of something else".into(), str::to_owned)
            }
            Self::Read { region: 7, .. } => "read config space".into(),
            Self::Read { .. } => "read a region".into(),
            Self::Write { region: 7, .. } => "write config space".into(),
            Self::Write { .. } => "write a region".into(),
            Self::MapRegion { .. } => "map a region".into(),
            Self::Dma { .. } => "DMA".into(),
            Self::Drain(_) => "read eventfd".into(),
            Self::Signal(_) => "write eventfd".into(),
        }
    }

    /// Whether it is about an open device or an eventfd.
    pub(super) fn is_beside_iommu(&self) -> bool {
        match self {
            Self::Ioctl { on, .. } => matches!(on, Slot::Device(_)),
            Self::OpenContainer(_) | Self::OpenGroup(..) | Self::OpenDevice { .. } => false,
            Self::Close(slot) => matches!(slot, Slot::Signal(_)),
            _ => true,
        }
    }

    /// Whether it changes what an IOMMU does, if it succeeds.
    pub(super) fn changes_iommu(&self, is_spapr: bool) -> bool {
        match self {
            Self::Ioctl { on, number, .. } => match on {
                // Of type1, 17 only keeps track.
                Slot::Container(_) => match number {
                    17 => is_spapr,
                    _ => matches!(number, 2 | 13..=20),
                },
                Slot::Group(_) => matches!(number, 4 | 5),
                _ => false,
            },
            Self::Close(slot) => matches!(slot, Slot::Container(_) | Slot::Group(_)),
            _ => false,
        }
    }
}

/// What type1's MAP and UNMAP do follows from a flag.
fn mapping_kind(number: u8, words: &[Word]) -> String {
    let name = if number == 13 {
        "VFIO_IOMMU_MAP_DMA"
    } else {
        "VFIO_IOMMU_UNMAP_DMA"
    };
    let flags = match words.get(1) {
        Some(Word::U32(flags)) => *flags,
        _ => 0,
    };
    let flag = match (number, flags) {
        (13, uapi::DMA_MAP_FLAG_VADDR) | (14, uapi::DMA_UNMAP_FLAG_VADDR) => " (VADDR)",
        (14, uapi::DMA_UNMAP_FLAG_ALL) => " (ALL)",
        _ => "",
    };
    format!("{name}{flag}")
}

//! What devices look like that are known: QEMU's, each BAR with its kind, its size, and the register that is written to.

use pci_device::bar::{BarKind, Msix, Place};
use vfio_core::host::PciDevice;

/// A device that is known.
pub(super) struct Animal {
    vendor: u16,
    device: u16,
    pub(super) name: &'static str,
    /// Its BARs: number, kind, size in bytes.
    pub(super) bars: &'static [(u8, Kind, u64)],
    /// Its MSI-X vectors, with their table and their pending bits.
    pub(super) msix: Option<Msix>,
    /// Registers that keep the bits that are written to them: BAR, offset, how many bytes, which bits of each.
    pub(super) keeps: &'static [(u8, u64, usize, u8)],
}

/// What a BAR is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Memory,
    Wide,
    WidePrefetchable,
    Prefetchable,
    Ports,
}

impl Kind {
    /// The same, as a host has it that says whether it can be prefetched.
    pub(super) fn prefetched(self, is: bool) -> Self {
        match self {
            Self::Prefetchable if !is => Self::Memory,
            Self::WidePrefetchable if !is => Self::Wide,
            kind => kind,
        }
    }

    pub(super) fn of(kind: BarKind) -> Self {
        match kind {
            BarKind::Io { .. } => Self::Ports,
            BarKind::Memory {
                wide: false,
                prefetchable: false,
            } => Self::Memory,
            BarKind::Memory {
                wide: false,
                prefetchable: true,
            } => Self::Prefetchable,
            BarKind::Memory {
                wide: true,
                prefetchable: false,
            } => Self::Wide,
            BarKind::Memory {
                wide: true,
                prefetchable: true,
            } => Self::WidePrefetchable,
        }
    }
}

use Kind::{Memory, Ports, Prefetchable, Wide, WidePrefetchable};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// One that nothing is known of.
const NONE: Animal = Animal {
    vendor: 0,
    device: 0,
    name: "",
    bars: &[],
    msix: None,
    keeps: &[],
};

/// MSI-X with both of its parts in one BAR, at these offsets.
const fn msix(vectors: u16, bar: u8, table: u32, pending: u32) -> Msix {
    Msix {
        vectors,
        table: Place { bar, offset: table },
        pending: Place {
            bar,
            offset: pending,
        },
    }
}

/// By QEMU 7.2 and 10.
const ANIMALS: &[Animal] = &[
    Animal {
        vendor: 0x1234,
        device: 0x11e8,
        name: "edu",
        bars: &[(0, Memory, MIB)],
        keeps: &[(0, 0x80, 4, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x1b36,
        device: 0x0010,
        name: "nvme",
        bars: &[(0, Wide, 16 * KIB)],
        msix: Some(msix(65, 0, 0x2000, 0x3000)),
        keeps: &[(0, 0x24, 4, 0x0f)],
    },
    Animal {
        vendor: 0x1b36,
        device: 0x000d,
        name: "qemu-xhci",
        bars: &[(0, Wide, 16 * KIB)],
        msix: Some(msix(16, 0, 0x3000, 0x3800)),
        keeps: &[(0, 0x74, 4, 0xff)],
    },
    Animal {
        vendor: 0x8086,
        device: 0x10d3,
        name: "e1000e",
        bars: &[
            (0, Memory, 128 * KIB),
            (1, Memory, 128 * KIB),
            (2, Ports, 0x20),
            (3, Memory, 16 * KIB),
        ],
        msix: Some(msix(5, 3, 0, 0x2000)),
        keeps: &[(0, 0x38, 2, 0xff)],
    },
    Animal {
        vendor: 0x8086,
        device: 0x10c9,
        name: "igb",
        bars: &[
            (0, Memory, 128 * KIB),
            (1, Memory, 128 * KIB),
            (2, Ports, 0x20),
            (3, Wide, 16 * KIB),
        ],
        msix: Some(msix(10, 3, 0, 0x2000)),
        keeps: &[(0, 0x38, 2, 0xff)],
    },
    Animal {
        vendor: 0x1b36,
        device: 0x0005,
        name: "pci-testdev",
        bars: &[
            (0, Memory, 4 * KIB),
            (1, Ports, 0x100),
            (2, WidePrefetchable, 16 * MIB),
        ],
        ..NONE
    },
    Animal {
        vendor: 0x1af4,
        device: 0x1110,
        name: "ivshmem-plain",
        bars: &[(0, Memory, 0x100), (2, WidePrefetchable, 4 * MIB)],
        keeps: &[(0, 0, 4, 0xff), (2, 0x12_3450, 8, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x1b36,
        device: 0x0007,
        name: "sdhci-pci",
        bars: &[(0, Memory, 0x100)],
        keeps: &[(0, 0x08, 4, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x10ec,
        device: 0x8139,
        name: "rtl8139",
        bars: &[(0, Ports, 0x100), (1, Memory, 0x100)],
        keeps: &[(0, 0x20, 4, 0xff), (1, 0x24, 4, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x1000,
        device: 0x0012,
        name: "lsi53c895a",
        bars: &[(0, Ports, 0x100), (1, Memory, 0x400), (2, Memory, 8 * KIB)],
        keeps: &[(0, 0x10, 4, 0xff), (1, 0x10, 4, 0xff), (2, 0x100, 4, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x1b36,
        device: 0x0002,
        name: "pci-serial",
        bars: &[(0, Ports, 8)],
        keeps: &[(0, 7, 1, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x1af4,
        device: 0x1044,
        name: "virtio-rng-pci",
        bars: &[(1, Memory, 4 * KIB), (4, WidePrefetchable, 16 * KIB)],
        msix: Some(msix(2, 1, 0, 0x800)),
        keeps: &[(4, 0, 4, 0xff)],
    },
    Animal {
        vendor: 0x1234,
        device: 0x1111,
        name: "secondary-vga",
        bars: &[(0, Prefetchable, 16 * MIB), (2, Memory, 4 * KIB)],
        keeps: &[(0, 0x12_3450, 8, 0xff)],
        ..NONE
    },
    Animal {
        vendor: 0x8086,
        device: 0x2668,
        name: "intel-hda",
        bars: &[(0, Memory, 16 * KIB)],
        keeps: &[(0, 0x44, 4, 0xff)],
        ..NONE
    },
];

/// What is known of a device.
pub(super) fn known(device: &PciDevice) -> Option<&'static Animal> {
    let mut all = ANIMALS.iter();
    all.find(|it| (it.vendor, it.device) == (device.vendor, device.device))
}

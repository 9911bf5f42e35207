//! What devices a machine has.

use std::fmt;

use vfio_core::host::Bdf;

use crate::model::{ByteOrder, Edu, Model, Nvme, Plain};

/// A PCI device.
#[derive(Debug, Clone)]
pub struct Device {
    /// Where it is, as sysfs names it: `0000:00:1f.2`.
    pub bdf: String,
    /// Its vendor id.
    pub vendor: u16,
    /// Its device id.
    pub device: u16,
    /// Its class code: base class, subclass, programming interface.
    pub class: u32,
    /// The driver that it is bound to.
    pub driver: Option<String>,
    /// The driver of the kernel's own that takes it if it may.
    pub own_driver: Option<String>,
    /// The only driver that may take it (`driver_override`).
    pub driver_override: Option<String>,
    /// The drivers that try it, and fail.
    pub refused_by: Vec<String>,
    /// The node of memory that it is next to.
    pub numa_node: Option<u32>,
    /// Its BARs, 0 to 5.
    pub bars: [Option<Bar>; 6],
    /// Size of its expansion ROM in bytes; 0 for none.
    pub rom: u64,
    /// Its interrupts.
    pub interrupts: Interrupts,
    /// Whether it is a PCI Express device, which reports errors.
    pub express: bool,
    /// Whether the extended config space of a PCI Express device can be reached: not behind a bridge to conventional PCI.
    pub extended_config: bool,
    /// Whether it has power management, so that a program can put it to sleep.
    pub power_management: bool,
    /// Whether it can be reset alone: by function level reset if it is a PCI Express device whose capabilities do not
    /// say otherwise, and else by its power management.
    pub function_reset: bool,
    /// The bus that is reset with everything on it (hot reset), by a number of the machine's own; `None` where
    /// that cannot be.
    pub reset_bus: Option<u32>,
    /// What part it has in SR-IOV.
    pub sriov: Sriov,
    /// What else is in its config space: doublewords of the hardware's, each by where it is.
    pub config: Vec<(u16, u32)>,
    /// What it does.
    pub model: MakeModel,
}

/// A BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Size in bytes, a power of two; 0 is no BAR.
    pub size: u64,
    /// What it is.
    pub kind: BarKind,
}

/// What a BAR is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// Registers in memory space: the model sees each access, also of what is mapped.
    Registers {
        /// Whether it takes two BARs' place, for an address of 64 bits.
        wide: bool,
    },
    /// Memory in memory space, prefetchable: no model sees it, and a mapping of it has an address in the process.
    Memory {
        /// Whether it takes two BARs' place, for an address of 64 bits.
        wide: bool,
    },
    /// Ports in I/O space.
    Io,
}

impl Bar {
    /// Registers with an address of 32 bits.
    pub const fn registers(size: u64) -> Self {
        let kind = BarKind::Registers { wide: false };
        Self { size, kind }
    }

    /// Registers with an address of 64 bits: the next BAR's place must be empty.
    pub const fn wide_registers(size: u64) -> Self {
        let kind = BarKind::Registers { wide: true };
        Self { size, kind }
    }

    /// Memory with an address of 64 bits: the next BAR's place must be empty.
    pub const fn memory(size: u64) -> Self {
        let kind = BarKind::Memory { wide: true };
        Self { size, kind }
    }

    /// Ports.
    pub const fn io(size: u64) -> Self {
        let kind = BarKind::Io;
        Self { size, kind }
    }

    /// Whether it is in memory space.
    pub(crate) fn is_memory_space(self) -> bool {
        self.kind != BarKind::Io
    }

    pub(crate) fn is_wide(self) -> bool {
        matches!(
            self.kind,
            BarKind::Memory { wide: true } | BarKind::Registers { wide: true }
        )
    }
}

/// What interrupts a device has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// Whether it has a line.
    pub line: bool,
    /// How many MSI vectors it offers, a power of two; 0 for none.
    pub msi: u32,
    /// Its MSI-X vectors.
    pub msix: Option<Msix>,
}

/// MSI-X of a device: its table, 16 bytes a vector, and its pending bits are inside a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Msix {
    /// How many vectors.
    pub vectors: u32,
    /// The BAR.
    pub bar: u8,
    /// Where the table starts in it, in bytes.
    pub table: u32,
    /// Where the pending bits start in it, in bytes.
    pub pending: u32,
}

/// What part a device has in SR-IOV.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sriov {
    /// None.
    #[default]
    None,
    /// It is a physical function that can have virtual ones.
    Physical,
    /// It is a virtual function of that device.
    Virtual(String),
}

/// How a model is made: a plain function, so that a description can be copied.
#[derive(Clone, Copy)]
pub struct MakeModel(pub fn() -> Box<dyn Model>);

impl fmt::Debug for MakeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MakeModel")
    }
}

impl Device {
    /// A device with no BAR and no interrupt that can be reset alone, bound to `vfio-pci`.
    pub fn bare(bdf: &str, vendor: u16, device: u16, class: u32) -> Self {
        Self {
            bdf: bdf.into(),
            vendor,
            device,
            class,
            driver: Some("vfio-pci".into()),
            own_driver: None,
            driver_override: None,
            refused_by: Vec::new(),
            numa_node: None,
            bars: [None; 6],
            rom: 0,
            interrupts: Interrupts::default(),
            express: true,
            extended_config: true,
            power_management: true,
            function_reset: true,
            reset_bus: None,
            sriov: Sriov::None,
            config: Vec::new(),
            model: MakeModel(|| Box::new(Plain::default())),
        }
    }

    /// QEMU's `edu`, bound to `vfio-pci`: a DMA engine, a line and an MSI vector, no reset of its own.
    pub fn edu(bdf: &str) -> Self {
        Self {
            bars: [Some(Bar::registers(1 << 20)), None, None, None, None, None],
            interrupts: Interrupts {
                line: true,
                msi: 1,
                msix: None,
            },
            express: false,
            power_management: false,
            function_reset: false,
            config: vec![(0x08, 0x00ff_0010), (0x2c, 0x1100_1af4)], // revision and class; QEMU's subsystem
            model: MakeModel(|| Box::new(Edu::new(ByteOrder::Little))),
            ..Self::bare(bdf, 0x1234, 0x11e8, 0x00_ff00)
        }
    }

    /// The same as it is on POWER, where QEMU gives it the byte order of the processor's family.
    pub fn big_endian_edu(bdf: &str) -> Self {
        Self {
            model: MakeModel(|| Box::new(Edu::new(ByteOrder::Big))),
            ..Self::edu(bdf)
        }
    }

    /// QEMU's `nvme`, bound to `vfio-pci`: the MSI-X table is inside the BAR with the registers.
    pub fn nvme(bdf: &str) -> Self {
        Self {
            bars: [
                Some(Bar::wide_registers(16 << 10)),
                None,
                None,
                None,
                None,
                None,
            ],
            interrupts: Interrupts {
                line: true,
                msi: 0,
                msix: Some(Msix {
                    vectors: 65,
                    bar: 0,
                    table: 0x2000,
                    pending: 0x3000,
                }),
            },
            config: vec![
                (0x08, 0x0108_0202), // revision and class
                (0x2c, 0x1100_1af4), // QEMU's subsystem
                (0x80, 0x0092_6010), // an endpoint that is a part of the root complex
                (0x84, 0x1000_8020), // a function level reset; error roles; longer tags
                (0x8c, 0x0000_0411), // what the link can do
                (0x90, 0x0011_0000), // and does
                (0xa4, 0x0030_0000),
            ],
            model: MakeModel(|| Box::new(Nvme::new("simulated"))),
            ..Self::bare(bdf, 0x1b36, 0x0010, 0x01_0802)
        }
    }

    /// A device with a BAR that is smaller than a page, one of ports, one of memory, and a ROM, as many devices
    /// have them; it remembers what is written, and does nothing.
    pub fn assorted(bdf: &str) -> Self {
        Self {
            bars: [
                Some(Bar::registers(0x100)),
                Some(Bar::io(0x20)),
                Some(Bar::memory(4 << 20)),
                None,
                Some(Bar::registers(16 << 10)),
                None,
            ],
            rom: 64 << 10,
            interrupts: Interrupts {
                line: true,
                msi: 4,
                msix: Some(Msix {
                    vectors: 8,
                    bar: 4,
                    table: 0x0,
                    pending: 0x800,
                }),
            },
            model: MakeModel(|| Box::new(Plain::new([0x100, 0x20, 0, 0, 16 << 10, 0]))),
            ..Self::bare(bdf, 0x1af4, 0x10f0, 0x05_0000)
        }
    }

    /// The same, bound to another driver.
    #[must_use]
    pub fn driven_by(self, driver: &str) -> Self {
        Self {
            driver: Some(driver.into()),
            ..self
        }
    }

    /// The same, with these doublewords in its config space: addresses and lines that firmware chose.
    #[must_use]
    pub fn with_config(mut self, doublewords: impl IntoIterator<Item = (u16, u32)>) -> Self {
        self.config.extend(doublewords);
        self
    }

    /// The same, where it is by that config space: with its BARs and its interrupt line there, which firmware or the
    /// kernel has chosen, and as much of config space as can be reached.
    #[must_use]
    pub fn placed(self, config: &[u8]) -> Self {
        const CONFIG_SIZE: usize = 256; // without the extended one
        const CHOSEN: [u16; 7] = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x3c];
        let chosen = CHOSEN.iter().filter_map(|at| {
            let bytes = config.get(usize::from(*at)..)?.first_chunk()?;
            Some((*at, u32::from_le_bytes(*bytes)))
        });
        Self {
            extended_config: config.len() > CONFIG_SIZE,
            ..self.with_config(chosen)
        }
    }

    /// The number of the bus that an address names: domain and bus.
    pub fn bus_number(bdf: Bdf) -> u32 {
        let text = bdf.to_string();
        let digits = text.rsplit_once(':').map(|(bus, _)| bus.replace(':', ""));
        let number = digits.and_then(|digits| u32::from_str_radix(&digits, 16).ok());
        number.unwrap_or(0)
    }

    /// The same, bound to no driver.
    #[must_use]
    pub fn unbound(self) -> Self {
        Self {
            driver: None,
            ..self
        }
    }

    /// The same, on a bus that is reset with everything on it.
    #[must_use]
    pub fn on_reset_bus(self, bus: u32) -> Self {
        Self {
            reset_bus: Some(bus),
            ..self
        }
    }

    /// A BAR by its number; one of no size is none.
    pub(crate) fn bar(&self, number: usize) -> Option<Bar> {
        let bar = self.bars.get(number).copied().flatten();
        bar.filter(|bar| bar.size > 0)
    }

    /// Whether it has the reset that a program asks for in config space.
    pub fn has_function_level_reset(&self) -> bool {
        const CAPABILITIES: u16 = 0x84;
        const FUNCTION_RESET: u32 = 1 << 28;
        let mut told = self.config.iter().rev();
        let told = told.find(|(place, _)| *place == CAPABILITIES);
        self.express
            && told.map_or(self.function_reset, |(_, value)| {
                value & FUNCTION_RESET != 0
            })
    }

    /// Where a BAR is, as far as the description says it: 0 where it does not.
    pub(crate) fn address(&self, number: usize) -> u64 {
        /// What the low bits of a BAR say of its kind.
        const KIND: u32 = 0xf;
        let told = |number: usize| {
            let at = 0x10 + 4 * number;
            let mut told = self.config.iter().rev();
            told.find(|(place, _)| usize::from(*place) == at)
                .map_or(0, |(_, value)| *value)
        };
        let is_wide = self.bar(number).is_some_and(Bar::is_wide);
        let high = if is_wide { told(number + 1) } else { 0 };
        u64::from(told(number) & !KIND) | u64::from(high) << 32
    }

    /// The addresses are those of one bus only within one of these.
    pub(super) fn domain(&self) -> &str {
        self.bdf.split_once(':').map_or("", |(domain, _)| domain)
    }

    pub(crate) fn is_bound_to_vfio(&self) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.contains("vfio"))
    }

    /// Drivers that do no DMA themselves leave the group to user space (`driver_managed_dma`).
    pub(crate) fn belongs_to_the_kernel(&self) -> bool {
        match self.driver.as_deref() {
            None | Some("pci-stub" | "pcieport") => false,
            Some(_) => !self.is_bound_to_vfio(),
        }
    }
}

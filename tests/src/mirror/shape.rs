//! What a device is like, for the simulation, by what sysfs shows of it.

use vfio_core::host::PciDevice;
use vfio_sim::machine::config_space::{capability, doubleword};
use vfio_sim::machine::{Bar, BarKind, Device, Interrupts, Msix};

/// Of `resource` in sysfs.
const IO_SPACE: u64 = 1 << 8;
const PREFETCHABLE: u64 = 1 << 13;
const WIDE: u64 = 1 << 20;

const REVISION: usize = 0x08;
const BARS: usize = 0x10;
const SUBSYSTEM: usize = 0x2c;
const LINE_PIN: usize = 0x3d;

const POWER_MANAGEMENT: u8 = 0x01;
const MSI: u8 = 0x05;
const EXPRESS: u8 = 0x10;

/// Where the simulation has power management, PCI Express, and what that can do.
const OUR_POWER: u16 = 0x60;
const OUR_EXPRESS: u16 = 0x80;
const OUR_EXPRESS_CAPABILITIES: u16 = 0x84;

/// How large ports are said to be whose size only a kernel that can reach them knows.
const HIDDEN_PORTS: u64 = 4;

/// What sysfs has in the files of a device.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) config: Vec<u8>,
    pub(super) resource: Vec<u8>,
    /// How it can be reset; nothing if it cannot.
    pub(super) reset_method: Vec<u8>,
}

/// A device with these BARs, ROM, interrupts and resets, that does nothing: its registers read as ones.
pub(super) fn of(device: &PciDevice, files: &Files) -> Device {
    let config = files.config.as_slice();
    let express = capability(config, EXPRESS);
    let power = capability(config, POWER_MANAGEMENT);
    let mut shape = Device {
        interrupts: interrupts(config),
        express: express.is_some(),
        power_management: power.is_some(),
        function_reset: has_own_reset(&files.reset_method),
        config: [REVISION, SUBSYSTEM]
            .into_iter()
            .filter_map(|at| Some((u16::try_from(at).ok()?, doubleword(config, at))))
            .collect(),
        ..Device::bare(
            &device.bdf.to_string(),
            device.vendor,
            device.device,
            device.class,
        )
    };
    if let Some(at) = express {
        let can = doubleword(config, at + 4);
        let next = if power.is_some() { OUR_POWER << 8 } else { 0 };
        let head = doubleword(config, at) & !0xffff | u32::from(next) | u32::from(EXPRESS);
        shape.config.push((OUR_EXPRESS, head));
        shape.config.push((OUR_EXPRESS_CAPABILITIES, can));
    }
    if let Some(at) = power {
        const NEXT: u32 = 0xff00;
        let head = doubleword(config, at) & !NEXT;
        shape.config.push((OUR_POWER, head));
    }
    let resources = String::from_utf8_lossy(&files.resource);
    let resources: Vec<_> = resources.lines().map(resource).collect();
    for (n, bar) in shape.bars.iter_mut().enumerate() {
        let is_upper = n > 0 && is_wide(resources.get(n - 1).copied().flatten());
        let hidden = || hidden_ports(doubleword(config, BARS + 4 * n)).filter(|_| !is_upper);
        *bar = resources.get(n).copied().flatten().or_else(hidden);
    }
    let rom = resources.get(shape.bars.len()).copied().flatten();
    shape.rom = rom.map_or(0, |rom| rom.size);
    shape
}

/// Resets of the bus are the bus's.
fn has_own_reset(methods: &[u8]) -> bool {
    let methods = String::from_utf8_lossy(methods);
    methods.split_whitespace().any(|method| method != "bus")
}

/// A line of `resource`: first address, last address, flags.
fn resource(line: &str) -> Option<Bar> {
    let mut numbers = line
        .split_whitespace()
        .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16));
    let (first, last, flags) = (
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    );
    let size = last
        .checked_sub(first)?
        .checked_add(1)
        .filter(|_| last != 0)?;
    let wide = flags & WIDE != 0;
    let kind = match (flags & IO_SPACE != 0, flags & PREFETCHABLE != 0) {
        (true, _) => BarKind::Io,
        (false, true) => BarKind::Memory { wide },
        (false, false) => BarKind::Registers { wide },
    };
    Some(Bar { size, kind })
}

fn is_wide(bar: Option<Bar>) -> bool {
    let wide = [
        BarKind::Memory { wide: true },
        BarKind::Registers { wide: true },
    ];
    bar.is_some_and(|bar| wide.contains(&bar.kind))
}

/// Where there is no I/O space, the kernel forgets BARs of ports; the device has them still.
fn hidden_ports(bar: u32) -> Option<Bar> {
    (bar & 1 != 0).then_some(Bar::io(HIDDEN_PORTS))
}

fn interrupts(config: &[u8]) -> Interrupts {
    let control = |at: usize| doubleword(config, at) >> 16;
    Interrupts {
        line: config.get(LINE_PIN).is_some_and(|pin| *pin != 0),
        msi: capability(config, MSI).map_or(0, |at| 1 << (control(at) >> 1 & 7)),
        msix: Msix::of(config),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that cannot be set up must fail
mod tests {
    use super::*;

    const NONE: &str = "0x0 0x0 0x0\n";

    fn device() -> PciDevice {
        PciDevice {
            bdf: "0000:00:04.0".parse().unwrap(),
            vendor: 0x1234,
            device: 0x5678,
            class: 0x02_0000,
            driver: Some("vfio-pci".into()),
            group: Some(1),
            numa_node: None,
        }
    }

    /// Config space with these doublewords.
    fn config(doublewords: &[(usize, u32)]) -> Vec<u8> {
        let mut config = vec![0; 256];
        for (at, value) in doublewords {
            config[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        config
    }

    fn shape(doublewords: &[(usize, u32)], resource: &str, reset_method: &str) -> Device {
        let files = Files {
            config: config(doublewords),
            resource: resource.into(),
            reset_method: reset_method.into(),
        };
        of(&device(), &files)
    }

    #[test]
    fn of_capabilities_and_line() {
        let list = [
            (0x08, 0x0200_0003),
            (0x2c, 0x1100_1af4),
            (0x34, 0x50),
            (0x3c, 0x010a),
            (0x50, 0x0022_c001), // power management; then
            (0xc0, 0x0084_d005), // MSI, four vectors of 64 bits; then
            (0xd0, 0x0004_e011), // MSI-X, five vectors
            (0xd4, 0x0000_1003), // its table, in BAR 3
            (0xd8, 0x0000_2003), // its pending bits; then
            (0xe0, 0x0091_0010), // PCI Express, the last
            (0xe4, 0x1000_8020), // which has a function level reset
        ];
        let shape = shape(&list, "", "flr\n");
        assert_eq!(
            shape.interrupts,
            Interrupts {
                line: true,
                msi: 4,
                msix: Some(Msix {
                    vectors: 5,
                    bar: 3,
                    table: 0x1000,
                    pending: 0x2000
                }),
            }
        );
        assert!(shape.express && shape.power_management && shape.function_reset);
        assert!(shape.has_function_level_reset());
        assert_eq!(
            shape.config,
            [
                (0x08, 0x0200_0003),
                (0x2c, 0x1100_1af4),
                (0x80, 0x0091_6010),
                (0x84, 0x1000_8020),
                (0x60, 0x0022_0001)
            ]
        );
    }

    #[test]
    fn a_reset_by_power_management_is_none_of_function_level() {
        let list = [(0x34, 0x40), (0x40, 0x0002_0010), (0x44, 0x8020)];
        let shape = shape(&list, "", "pm bus\n");
        assert!(shape.function_reset && !shape.has_function_level_reset());
    }

    #[test]
    fn a_device_of_nothing() {
        for reset in ["", "bus\n"] {
            let shape = shape(&[], &NONE.repeat(7), reset);
            assert_eq!((shape.bars, shape.rom), ([None; 6], 0));
            assert_eq!(shape.interrupts, Interrupts::default());
            assert!(!shape.express && !shape.power_management && !shape.function_reset);
        }
    }

    #[test]
    fn bars_of_every_kind_and_a_rom() {
        let resource = [
            "0x00000000feb40000 0x00000000feb400ff 0x0000000000040200\n",
            "0x000000000000c240 0x000000000000c25f 0x0000000000040101\n",
            "0x0000000fe1000000 0x0000000fe1003fff 0x000000000014220c\n",
            NONE,
            "0x00000000fd000000 0x00000000fdffffff 0x0000000000042208\n",
            NONE,
            "0x00000000000c0000 0x00000000000dffff 0x0000000000000212\n",
        ];
        // The upper half of BAR 2 has a bit that would be ports in a BAR of its own.
        let bars = [(0x18, 0xe100_000c), (0x1c, 0x0000_000f)];
        let shape = shape(&bars, &resource.concat(), "");
        let prefetchable = BarKind::Memory { wide: false };
        let expected = [
            Some(Bar::registers(0x100)),
            Some(Bar::io(0x20)),
            Some(Bar::memory(0x4000)),
            None,
            Some(Bar {
                size: 16 << 20,
                kind: prefetchable,
            }),
            None,
        ];
        assert_eq!((shape.bars, shape.rom), (expected, 0x2_0000));
    }

    #[test]
    fn ports_that_the_host_cannot_reach_are_ports() {
        let shape = shape(&[(0x10, 1), (0x14, 0x8000_0000)], &NONE.repeat(7), "");
        assert_eq!(shape.bars[0].unwrap().kind, BarKind::Io);
        assert_eq!(shape.bars[1], None);
    }

    #[test]
    fn a_list_that_goes_round_ends() {
        let list = [(0x34, 0x40), (0x40, 0x4009)];
        assert_eq!(capability(&config(&list), EXPRESS), None);
        assert_eq!(
            capability(&[0; 8], EXPRESS),
            None,
            "less than a whole header"
        );
    }
}

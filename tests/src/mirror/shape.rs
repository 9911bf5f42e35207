//! What a device is like, for the simulation, by what sysfs shows of it.

use vfio_core::host::PciDevice;
use vfio_sim::machine::{Bar, BarKind, Device, Interrupts, Msix};

/// Of `resource` in sysfs.
const IO_SPACE: u64 = 1 << 8;
const PREFETCHABLE: u64 = 1 << 13;
const WIDE: u64 = 1 << 20;

const CAPABILITIES: usize = 0x34;
const LINE_PIN: usize = 0x3d;
const MSI: u8 = 0x05;
const EXPRESS: u8 = 0x10;
const MSIX: u8 = 0x11;
/// Device capabilities of PCI Express: there is a function level reset.
const FUNCTION_RESET: u32 = 1 << 28;

/// A device with these BARs, ROM, interrupts and resets, that does nothing: its registers read as zeros.
pub(super) fn of(device: &PciDevice, config: &[u8], resources: &[u8]) -> Device {
    let express = capability(config, EXPRESS);
    let mut shape = Device {
        interrupts: interrupts(config),
        express: express.is_some(),
        function_reset: express.is_some_and(|at| dword(config, at + 4) & FUNCTION_RESET != 0),
        ..Device::bare(
            &device.bdf.to_string(),
            device.vendor,
            device.device,
            device.class,
        )
    };
    let resources = String::from_utf8_lossy(resources);
    let resources: Vec<_> = resources.lines().map(resource).collect();
    for (bar, resource) in shape.bars.iter_mut().zip(&resources) {
        *bar = *resource;
    }
    let rom = resources.get(shape.bars.len()).copied().flatten();
    shape.rom = rom.map_or(0, |rom| rom.size);
    shape
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
    let kind = match (
        flags & IO_SPACE != 0,
        flags & PREFETCHABLE != 0,
        flags & WIDE != 0,
    ) {
        (true, ..) => BarKind::Io,
        (false, true, true) => BarKind::Memory,
        (false, _, wide) => BarKind::Registers { wide },
    };
    Some(Bar { size, kind })
}

fn interrupts(config: &[u8]) -> Interrupts {
    let control = |at: usize| dword(config, at) >> 16;
    Interrupts {
        line: config.get(LINE_PIN).is_some_and(|pin| *pin != 0),
        msi: capability(config, MSI).map_or(0, |at| 1 << (control(at) >> 1 & 7)),
        msix: capability(config, MSIX).map(|at| Msix {
            vectors: (control(at) & 0x7ff) + 1,
            bar: dword(config, at + 4).to_le_bytes()[0] & 7,
            table: dword(config, at + 4) & !7,
            pending: dword(config, at + 8) & !7,
        }),
    }
}

/// Where a capability is.
fn capability(config: &[u8], id: u8) -> Option<usize> {
    /// As many as there is room for.
    const MOST: usize = 48;
    let mut at = usize::from(*config.get(CAPABILITIES)?);
    for _ in 0..MOST {
        let &[found, next] = config.get(at..)?.first_chunk()?;
        if at == 0 || found == id {
            return (at != 0).then_some(at);
        }
        at = usize::from(next);
    }
    None
}

/// Zeros behind the end.
fn dword(config: &[u8], at: usize) -> u32 {
    let bytes = config.get(at..).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(bytes.copied().unwrap_or_default())
}

//! Where the BARs of a device are.

use crate::kernel::Kernel;

use super::text::{hex, text};
use super::{Bdf, attribute_file, is_dead};

/// BARs have these numbers, and the ROM the next one.
const BARS: usize = 6;

/// A BAR, or the ROM, as the kernel has placed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostBar {
    /// 0 to 5; 6 is the ROM.
    pub number: usize,
    /// Its first address.
    pub first: u64,
    /// Its last address.
    pub last: u64,
    /// Whether it is in I/O space.
    pub is_io: bool,
    /// Whether it can be prefetched.
    pub prefetchable: bool,
    /// Whether it has an address of 64 bits.
    pub wide: bool,
}

/// The BARs of a device that have a place.
pub fn bars(kernel: &dyn Kernel, bdf: Bdf) -> Vec<HostBar> {
    const IO: u64 = 0x100;
    const PREFETCH: u64 = 0x2000;
    const WIDE: u64 = 0x10_0000;
    let lines = text(kernel, format!("/sys/bus/pci/devices/{bdf}/resource")).unwrap_or_default();
    let bar = |(number, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let (first, last, flags) = (
            hex(words.next()?)?,
            hex(words.next()?)?,
            hex(words.next()?)?,
        );
        (last > first).then_some(HostBar {
            number,
            first,
            last,
            is_io: flags & IO != 0,
            prefetchable: flags & PREFETCH != 0,
            wide: flags & WIDE != 0,
        })
    };
    let known = lines.lines().enumerate().take(BARS + 1);
    known.filter_map(bar).collect()
}

/// The BARs of a device with ports that the host has given no numbers: there is no I/O space (bare POWER), or no room in it.
/// The kernel knows nothing of them; their registers say what they would be. None where config space cannot be read without
/// waking the device up.
pub fn unassigned_ports(kernel: &dyn Kernel, bdf: Bdf) -> Vec<usize> {
    const FIRST: usize = 0x10;
    const PORTS: u8 = 1 << 0;
    if is_dead(kernel, bdf) != Some(false) {
        return Vec::new();
    }
    let config = kernel.read(attribute_file(bdf, "config").as_ref());
    let config = config.unwrap_or_default();
    let placed = bars(kernel, bdf);
    // The upper half of an address of 64 bits is no register of its own.
    let is_other = |number: usize| {
        let mut placed = placed.iter();
        placed.any(|bar| bar.number == number || bar.wide && bar.number + 1 == number)
    };
    let has_ports = |number: &usize| {
        let register = config.get(FIRST + 4 * number);
        register.is_some_and(|low| low & PORTS != 0)
    };
    let numbers = (0..BARS).filter(|number| !is_other(*number));
    numbers.filter(has_ports).collect()
}

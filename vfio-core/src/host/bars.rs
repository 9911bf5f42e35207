//! Where the BARs of a device are.

use crate::kernel::Kernel;

use super::Bdf;
use super::text::{hex, text};

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
    const LAST: usize = 6;
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
    let known = lines.lines().enumerate().take(LAST + 1);
    known.filter_map(bar).collect()
}

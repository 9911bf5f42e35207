//! Where the guest's I/O space is.

use std::ops::Range;

use super::traps::Space;

/// Where a guest finds the ports of I/O BARs: a property of its platform, not of the BAR.
///
/// A device whose driver needs ports does not work in a guest without I/O space; few such devices are left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IoSpace {
    /// There is none, as on bare POWER (powernv).
    #[default]
    None,
    /// Ports with instructions of their own, as x86 has them.
    Ports,
    /// An aperture in memory at the host bridge, as on arm64 and under the hypervisor of POWER: port *n* is *n* bytes behind
    /// its start. Guest physical addresses, in bytes.
    Aperture(Range<u64>),
}

impl IoSpace {
    /// Where a guest finds so many ports from this number on; `None` where it does not.
    ///
    /// ```
    /// use pci_device::vmm::{IoSpace, Space};
    ///
    /// let bridge = IoSpace::Aperture(0x3eff_0000..0x3f00_0000);
    /// assert_eq!(
    ///     bridge.ports(0x1000, 0x20),
    ///     Some((Space::Memory, 0x3eff_1000..0x3eff_1020))
    /// );
    /// assert_eq!(bridge.ports(0x1_0000, 0x20), None); // behind its end
    /// assert_eq!(IoSpace::Ports.ports(0x1000, 0x20), Some((Space::Ports, 0x1000..0x1020)));
    /// assert_eq!(IoSpace::Ports.ports(0x1_0000, 0x20), None);
    /// assert_eq!(IoSpace::None.ports(0x1000, 0x20), None);
    /// ```
    pub fn ports(&self, number: u64, count: u64) -> Option<(Space, Range<u64>)> {
        /// Port numbers of x86 have 16 bits.
        const PORTS: Range<u64> = 0..1 << 16;
        let (space, of) = match self {
            Self::None => return None,
            Self::Ports => (Space::Ports, &PORTS),
            Self::Aperture(range) => (Space::Memory, range),
        };
        let start = of.start.checked_add(number)?;
        let end = start.checked_add(count)?;
        (end <= of.end).then_some((space, start..end))
    }
}

//! Access control services (ACS): whether a bridge keeps what is behind it apart.

use crate::kernel::{Errno, Kernel};

use super::Bdf;

const EXTENDED: usize = 0x100;
const ACS: u32 = 0x000d;
/// As many as there is room for.
const MOST_CAPABILITIES: usize = (4096 - EXTENDED) / 8;

/// What is known of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acs {
    /// It has the capability.
    Present,
    /// It has not: what is behind it can reach each other without the IOMMU.
    Absent,
    /// Its extended config space cannot be read: only root may.
    Unknown,
}

/// Whether a bridge has ACS.
pub fn acs(kernel: &dyn Kernel, bridge: Bdf) -> Acs {
    let file = format!("/sys/bus/pci/devices/{bridge}/config");
    match kernel.read(file.as_ref()) {
        // So short is what others than root are shown, and all that there is of conventional PCI.
        Ok(config) if config.len() <= 64 => Acs::Unknown,
        Ok(config) => match has_acs(&config) {
            true => Acs::Present,
            false => Acs::Absent,
        },
        Err(Errno::NOENT) | Err(_) => Acs::Unknown,
    }
}

/// A list of any length comes to an end.
fn has_acs(config: &[u8]) -> bool {
    let mut at = EXTENDED;
    for _ in 0..MOST_CAPABILITIES {
        let Some(head) = config.get(at..).and_then(<[u8]>::first_chunk::<4>) else {
            return false;
        };
        let head = u32::from_le_bytes(*head);
        if head & 0xffff == ACS {
            return true;
        }
        at = (head >> 20 & 0xffc) as usize;
        if at < EXTENDED {
            return false;
        }
    }
    false
}

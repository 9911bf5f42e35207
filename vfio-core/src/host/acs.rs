//! Access control services (ACS): whether a bridge keeps what is behind it apart.

use crate::kernel::Kernel;

use super::Bdf;

const HEADER_TYPE: usize = 0x0e;
const MULTI_FUNCTION: u8 = 1 << 7;
const CAPABILITIES: usize = 0x34;
const EXPRESS: u8 = 0x10;
const EXTENDED: usize = 0x100;
const ACS: u32 = 0x000d;
/// As many as there is room for.
const MOST_CAPABILITIES: usize = (0x100 - 0x40) / 4;
const MOST_EXTENDED: usize = (4096 - EXTENDED) / 8;

/// What must be on, where it can be switched: source validation, request and completion redirection, upstream forwarding
/// (`REQ_ACS_FLAGS` in the kernel's drivers/iommu/iommu.c).
const WANTED: u16 = 0x1d;

/// What is known of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acs {
    /// It keeps them apart, or need not, being the upper port of a switch (`pci_acs_enabled`).
    Apart,
    /// It does not: what is behind it can reach each other without the IOMMU.
    Together,
    /// Its config space cannot be read far enough: only root may.
    Unknown,
}

/// Whether a bridge keeps what is behind it apart.
pub fn acs(kernel: &dyn Kernel, bridge: Bdf) -> Acs {
    let file = format!("/sys/bus/pci/devices/{bridge}/config");
    match kernel.read(file.as_ref()) {
        // So short is what others than root are shown.
        Ok(config) if config.len() > 64 => match keeps_apart(&config) {
            true => Acs::Apart,
            false => Acs::Together,
        },
        _ => Acs::Unknown,
    }
}

fn keeps_apart(config: &[u8]) -> bool {
    const ROOT_PORT: u8 = 4;
    const UPSTREAM_PORT: u8 = 5;
    const DOWNSTREAM_PORT: u8 = 6;
    let header_type = config.get(HEADER_TYPE).copied().unwrap_or(0);
    match port_type(config) {
        Some(UPSTREAM_PORT) if header_type & MULTI_FUNCTION == 0 => true,
        Some(ROOT_PORT | UPSTREAM_PORT | DOWNSTREAM_PORT) => has_acs(config),
        // A bridge to conventional PCI, where all devices hear each other.
        _ => false,
    }
}

/// What kind of port it is, by its PCI Express capability. A list of any length comes to an end.
fn port_type(config: &[u8]) -> Option<u8> {
    let mut at = usize::from(*config.get(CAPABILITIES)? & !3);
    for _ in 0..MOST_CAPABILITIES {
        let &[id, next, flags, _] = config.get(at..)?.first_chunk()?;
        match (at, id) {
            (0, _) => return None,
            (_, EXPRESS) => return Some(flags >> 4),
            _ => at = usize::from(next & !3),
        }
    }
    None
}

/// Whether it has the capability, with everything on that can be switched.
fn has_acs(config: &[u8]) -> bool {
    let mut at = EXTENDED;
    for _ in 0..MOST_EXTENDED {
        let Some(bytes) = config.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            return false;
        };
        let [a, b, c, d, can, _, does, _] = *bytes;
        let head = u32::from_le_bytes([a, b, c, d]);
        if head & 0xffff == ACS {
            let wanted = WANTED & u16::from(can);
            return u16::from(does) & wanted == wanted;
        }
        at = (head >> 20 & 0xffc) as usize;
        if at < EXTENDED {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port of that kind, with an ACS capability that can and does so much.
    fn port(kind: u8, acs: Option<(u8, u8)>) -> Vec<u8> {
        let mut config = vec![0; 4096];
        config[CAPABILITIES] = 0x40;
        config[0x40..0x44].copy_from_slice(&[0x01, 0x50, 0, 0]);
        config[0x50..0x54].copy_from_slice(&[EXPRESS, 0, kind << 4, 0]);
        // Error reporting first, then ACS.
        config[0x100..0x104].copy_from_slice(&0x1401_0001_u32.to_le_bytes());
        if let Some((can, does)) = acs {
            config[0x140..0x144].copy_from_slice(&0x0001_000d_u32.to_le_bytes());
            (config[0x144], config[0x146]) = (can, does);
        }
        config
    }

    #[test]
    fn a_port_keeps_apart_with_everything_on_that_can_be_switched() {
        for kind in [4, 6] {
            assert!(!keeps_apart(&port(kind, None)));
            assert!(!keeps_apart(&port(kind, Some((0x1d, 0)))));
            assert!(!keeps_apart(&port(kind, Some((0x1d, 0x0d)))));
            assert!(keeps_apart(&port(kind, Some((0x1d, 0x1d)))));
            // What it cannot switch is as if it were on.
            assert!(keeps_apart(&port(kind, Some((0x01, 0x01)))));
        }
    }

    #[test]
    fn the_upper_port_of_a_switch_need_not() {
        let mut upper = port(5, None);
        assert!(keeps_apart(&upper));
        upper[HEADER_TYPE] = MULTI_FUNCTION | 1;
        assert!(!keeps_apart(&upper));
        assert!(!keeps_apart(&port(7, Some((0x1d, 0x1d)))));
    }

    #[test]
    fn lists_that_go_in_circles_end() {
        let mut config = port(4, None);
        config[0x40..0x44].copy_from_slice(&[0x01, 0x40, 0, 0]);
        config[0x100..0x104].copy_from_slice(&0x1001_0001_u32.to_le_bytes());
        assert!(!keeps_apart(&config));
        let mut config = port(6, None);
        config[0x100..0x104].copy_from_slice(&0x1001_0001_u32.to_le_bytes());
        assert!(!keeps_apart(&config));
        assert!(!keeps_apart(&[0xff; 4096]));
    }
}

//! The config space of a device, without what only this one device has: its serial number, and whatever its maker put
//! into a capability of their own.

use std::collections::BTreeMap;

/// The standard header ends here.
const HEADER: usize = 0x40;
/// Where the extended capabilities begin.
const EXTENDED: usize = 0x100;
/// In the status register: there is a list of capabilities.
const STATUS_CAPABILITIES: u8 = 1 << 4;

/// The standard capabilities that are kept, by their ids, and how long they are at most.
const KEPT: &[(u8, usize)] = &[
    (0x01, 8),  // power management
    (0x05, 24), // MSI
    (0x10, 60), // PCI Express
    (0x11, 12), // MSI-X
    (0x13, 6),  // advanced features: a reset of the function
];

/// The same for extended capabilities.
const KEPT_EXTENDED: &[(u16, usize)] = &[
    (0x000d, 8),  // access control services
    (0x000e, 8),  // alternative routing ids
    (0x000f, 8),  // address translation services
    (0x0010, 64), // single root I/O virtualization
    (0x0013, 16), // page requests
    (0x0015, 52), // resizable BARs
    (0x001b, 8),  // process address space ids
];

/// The header, what each capability is and where the next one is, and the registers of those that are kept; the rest is
/// zeros.
pub(super) fn public(config: &[u8]) -> Vec<u8> {
    // Where something begins, and how many of its bytes are kept.
    let mut parts = BTreeMap::from([(0, HEADER)]);
    standard(config, &mut parts);
    extended(config, &mut parts);
    let mut kept = vec![0; config.len()];
    let mut ahead = parts.iter().peekable();
    while let Some((&start, &len)) = ahead.next() {
        // A short form of a capability ends where the next one begins.
        let next = ahead.peek().map_or(config.len(), |(next, _)| **next);
        let end = (start + len).min(next).min(config.len());
        if let (Some(to), Some(from)) = (kept.get_mut(start..end), config.get(start..end)) {
            to.copy_from_slice(from);
        }
    }
    kept
}

fn standard(config: &[u8], parts: &mut BTreeMap<usize, usize>) {
    let has_list = config
        .get(0x06)
        .is_some_and(|status| status & STATUS_CAPABILITIES != 0);
    let mut place = config.get(0x34).filter(|_| has_list).copied();
    while let Some(start) = place.map(|place| usize::from(place & !3)) {
        let Some(&[id, next]) = config.get(start..start + 2) else {
            return;
        };
        let kept = KEPT.iter().find(|(known, _)| *known == id);
        if start < HEADER || parts.contains_key(&start) {
            return; // no capability, or a circle
        }
        parts.insert(start, kept.map_or(2, |(_, len)| *len));
        place = Some(next);
    }
}

fn extended(config: &[u8], parts: &mut BTreeMap<usize, usize>) {
    let mut start = EXTENDED;
    while let Some(&[a, b, c, d]) = config.get(start..start + 4) {
        if start < EXTENDED || parts.contains_key(&start) {
            return;
        }
        let id = u16::from_le_bytes([a, b]);
        let kept = KEPT_EXTENDED.iter().find(|(known, _)| *known == id);
        parts.insert(start, kept.map_or(4, |(_, len)| *len));
        start = usize::from(u16::from_le_bytes([c, d]) >> 4 & !3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_and_vital_data_go_and_the_lists_stay() {
        let mut config = vec![0xee; 4096];
        config[0x06] = STATUS_CAPABILITIES;
        config[0x34] = 0x40;
        config[0x40..0x44].copy_from_slice(&[0x10, 0x54, 2, 0]); // PCI Express, short
        config[0x54..0x56].copy_from_slice(&[0x03, 0x60]); // vital product data
        config[0x60..0x62].copy_from_slice(&[0x09, 0x00]); // the maker's
        config[0x100..0x104].copy_from_slice(&[0x0d, 0, 1, 0x14]); // ACS, next 0x140
        config[0x140..0x144].copy_from_slice(&[0x03, 0, 1, 0]); // serial number
        let public = public(&config);
        assert_eq!(public.len(), config.len());
        assert_eq!(public[..0x56], config[..0x56]);
        assert!(public[0x56..0x60].iter().all(|byte| *byte == 0));
        assert_eq!(public[0x60..0x62], [0x09, 0x00]);
        assert!(public[0x62..0x100].iter().all(|byte| *byte == 0));
        assert_eq!(public[0x100..0x108], config[0x100..0x108]);
        assert_eq!(public[0x140..0x144], config[0x140..0x144]);
        assert!(public[0x144..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn circles_and_short_spaces_end() {
        for len in [0, 1, 6, 7, 0x35, 64, 65, 255, 256, 257, 259, 4095] {
            for byte in [0x00, 0x40, 0x41, 0xff] {
                assert_eq!(public(&vec![byte; len]).len(), len);
            }
        }
        let mut circle = vec![0; 256];
        circle[0x06] = STATUS_CAPABILITIES;
        circle[0x34] = 0x40;
        circle[0x41] = 0x40;
        assert_eq!(public(&circle)[0x40..0x42], [0, 0x40]);
    }
}

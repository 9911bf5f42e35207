//! Chains of capabilities that a kernel could answer, and any other bytes.

use proptest::prelude::*;
use vfio_core::device::RegionCapabilities;
use vfio_core::info_chain::capabilities;
use vfio_core::uapi::InfoCapHeader;

const HEADER: usize = size_of::<InfoCapHeader>();

fn header(id: u16, next: u32) -> Vec<u8> {
    let mut bytes = id.to_ne_bytes().to_vec();
    bytes.extend(1u16.to_ne_bytes());
    bytes.extend(next.to_ne_bytes());
    bytes
}

proptest! {
    #[test]
    fn what_a_region_can_do_is_inside_of_it(
        mut bytes in prop::collection::vec(prop_oneof![Just(0u8), 0..100u8, any::<u8>()], 24..200),
        flagged: bool,
    ) {
        if flagged {
            bytes[4] |= 8; // there are capabilities
        }
        let size = u64::from_ne_bytes(bytes[16..24].try_into().unwrap());
        if let Ok(found) = RegionCapabilities::read(&bytes) {
            for area in found.sparse.unwrap_or_default() {
                prop_assert!(area.size > 0);
                prop_assert!(area.offset.checked_add(area.size).is_some_and(|end| end <= size));
            }
        }
    }

    #[test]
    fn any_bytes_are_walked_to_an_end(
        bytes in prop::collection::vec(prop_oneof![Just(0u8), 0..40u8, any::<u8>()], 0..200),
        first in prop_oneof![0..210u32, any::<u32>()],
    ) {
        let mut steps = 0;
        for (_, from_header) in capabilities(&bytes, first) {
            steps += 1;
            prop_assert!(from_header.len() >= HEADER);
            prop_assert!(bytes.ends_with(from_header));
        }
        prop_assert!(steps <= bytes.len() / HEADER);
    }

    #[test]
    fn every_capability_of_a_chain_is_found(
        found in prop::collection::vec((any::<u16>(), 0..24usize), 0..12),
        before in 1..40usize,
    ) {
        let mut bytes = vec![0; before];
        let mut starts = Vec::new();
        for (i, &(id, payload)) in found.iter().enumerate() {
            starts.push(bytes.len());
            let end = bytes.len() + HEADER + payload;
            let next = if i + 1 < found.len() { u32::try_from(end).unwrap() } else { 0 };
            bytes.extend(header(id, next));
            bytes.resize(end, 0xee);
        }
        let first = u32::try_from(starts.first().copied().unwrap_or(0)).unwrap();
        let walked: Vec<_> = capabilities(&bytes, first)
            .map(|(header, rest)| (header.id, bytes.len() - rest.len()))
            .collect();
        let expected: Vec<_> = found.iter().map(|&(id, _)| id).zip(starts).collect();
        prop_assert_eq!(walked, expected);
    }
}

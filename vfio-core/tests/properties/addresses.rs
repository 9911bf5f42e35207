//! Ranges, against sets of numbers.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vfio_core::address::{DmaMask, HostRange, Iova, IovaRange, PageSizes, Size};

/// The addresses of a small range, one by one.
fn addresses(range: IovaRange) -> BTreeSet<u64> {
    (range.first().0..=range.last().0).collect()
}

fn bytes(range: HostRange) -> BTreeSet<usize> {
    (range.addr()..=range.last()).collect()
}

fn small() -> impl Strategy<Value = IovaRange> {
    (0..40u64, 1..20u64).prop_filter_map("no range", |(start, size)| {
        IovaRange::new(Iova(start), size)
    })
}

fn small_memory() -> impl Strategy<Value = HostRange> {
    (0..40usize, 1..20usize).prop_filter_map("no range", |(addr, len)| HostRange::new(addr, len))
}

proptest! {
    #[test]
    fn a_range_is_not_empty_and_does_not_wrap(start: u64, size: u64) {
        let last = u128::from(start) + u128::from(size);
        let is_range = size > 0 && last <= 1 << 64;
        match IovaRange::new(Iova(start), size) {
            Some(range) => {
                prop_assert!(is_range);
                prop_assert_eq!((range.first(), range.size()), (Iova(start), size));
                prop_assert!(range.first() <= range.last());
                prop_assert_eq!(IovaRange::inclusive(range.first(), range.last()), Some(range));
            }
            None => prop_assert!(!is_range),
        }
        prop_assert_eq!(IovaRange::inclusive(Iova(start), Iova(size)).is_some(), start <= size);
    }

    #[test]
    fn memory_is_not_empty_and_does_not_wrap(addr: usize, len: usize) {
        let is_range = len > 0 && addr.checked_add(len - 1).is_some();
        match HostRange::new(addr, len) {
            Some(range) => {
                prop_assert!(is_range);
                prop_assert_eq!((range.addr(), range.len()), (addr, len));
                prop_assert!(range.addr() <= range.last());
            }
            None => prop_assert!(!is_range),
        }
    }

    #[test]
    fn ranges_are_sets_of_addresses(one in small(), other in small()) {
        let (a, b) = (addresses(one), addresses(other));
        let shared: BTreeSet<_> = a.intersection(&b).copied().collect();
        prop_assert_eq!(one.size(), a.len() as u64);
        prop_assert_eq!(one.contains(other), b.is_subset(&a));
        prop_assert_eq!(one.overlaps(other), !shared.is_empty());
        prop_assert_eq!(one.intersection(other).map(addresses).unwrap_or_default(), shared);
    }

    #[test]
    fn memory_is_a_set_of_bytes(one in small_memory(), other in small_memory()) {
        let (a, b) = (bytes(one), bytes(other));
        prop_assert_eq!(one.len(), a.len());
        prop_assert_eq!(one.contains(other), b.is_subset(&a));
        prop_assert_eq!(one.overlaps(other), !a.is_disjoint(&b));
    }

    #[test]
    fn page_sizes_are_their_bits(bits: u64, size: u64, shift in 0..64u32) {
        let sizes = PageSizes(bits);
        prop_assert_eq!(sizes.iter().fold(0, |all, size| all | size), bits);
        prop_assert_eq!(sizes.iter().next(), sizes.smallest());
        prop_assert!(sizes.iter().all(|size| sizes.has(size)));
        prop_assert_eq!(sizes.has(1 << shift), bits >> shift & 1 == 1);
        prop_assert_eq!(sizes.has(size), size.is_power_of_two() && bits & size != 0);
    }

    #[test]
    fn a_mask_is_the_addresses_below_its_bits(bits: u32, address: u64) {
        let reached = bits >= 64 || address >> bits == 0;
        prop_assert_eq!(address <= DmaMask::bits(bits).highest().0, reached);
        let place = IovaRange::inclusive(Iova(address), Iova(address)).unwrap();
        prop_assert_eq!(DmaMask::bits(bits).range().contains(place), reached);
    }

    #[test]
    fn a_size_that_is_shown_loses_nothing(size: u64, shift in 0..64u32) {
        let size = size >> shift << (shift / 2);
        let shown = Size(size).to_string();
        let unit = shown.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let number: u64 = shown[..shown.len() - unit.len()].parse().unwrap();
        let shift = 10 * ["", "K", "M", "G", "T", "P", "E"].iter().position(|it| *it == unit).unwrap();
        prop_assert_eq!(number << shift, size);
    }
}

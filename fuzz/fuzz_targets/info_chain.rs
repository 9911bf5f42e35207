//! The capabilities behind an info struct: each lies inside, and the walk ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_core::info_chain::capabilities;

fuzz_target!(|input: (u32, &[u8])| {
    let (first, info) = input;
    let mut found = 0;
    for (header, bytes) in capabilities(info, first) {
        assert!(bytes.len() >= 8 && bytes.as_ptr_range().end == info.as_ptr_range().end);
        assert_eq!(header.id.to_ne_bytes(), bytes[..2]);
        found += 1;
    }
    assert!(found <= info.len() / 8, "{found} in {} bytes", info.len());
});

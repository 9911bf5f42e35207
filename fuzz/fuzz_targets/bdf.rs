//! What a user types as the address of a device: it is refused, or it is shown and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_core::host::Bdf;

fuzz_target!(|text: &str| {
    if let Ok(bdf) = text.parse::<Bdf>() {
        let shown = bdf.to_string();
        assert_eq!(shown.parse(), Ok(bdf), "{text:?} is shown as {shown:?}");
        assert!(shown.len() >= text.len(), "{text:?} is shown as {shown:?}");
    }
});

//! The answer to VFIO_DEVICE_GET_REGION_INFO: each area that can be mapped is inside the region, or it is an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_core::device::RegionCapabilities;

fuzz_target!(|answer: &[u8]| {
    let Ok(found) = RegionCapabilities::read(answer) else {
        return;
    };
    let size = answer[16..24]
        .try_into()
        .map(u64::from_ne_bytes)
        .expect("eight bytes");
    for area in found.sparse.unwrap_or_default() {
        assert!(area.size > 0);
        assert!(
            area.offset
                .checked_add(area.size)
                .is_some_and(|end| end <= size)
        );
    }
});

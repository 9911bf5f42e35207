//! Files and names of sysfs: devices, groups and diagnoses are
//! read from them, or an error says what is wrong.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vfio_core::{Error, ErrorKind, host};
use vfio_fuzz::{Forger, Place};

static KERNEL: LazyLock<Arc<Forger>> = LazyLock::new(|| Forger::new(Place::Host));

/// What a diagnosis looks at the host for.
const KINDS: [ErrorKind; 6] = [
    ErrorKind::Busy,
    ErrorKind::NoBackend,
    ErrorKind::NoGroup,
    ErrorKind::NotPermitted,
    ErrorKind::NotViable,
    ErrorKind::NoVfio,
];

fuzz_target!(|content: &[u8]| {
    KERNEL.set(content);
    if let Ok(groups) = host::groups(&**KERNEL) {
        assert!(groups.is_sorted_by_key(|group| group.id));
        for group in groups.iter().filter(|group| group.is_ready()) {
            assert_eq!(group.spoilers().count(), 0, "{group:?}");
        }
    }
    KERNEL.set(content);
    let bdf = "0000:00:1f.2".parse().expect("an address");
    if let Ok(device) = host::device(&**KERNEL, bdf) {
        assert_eq!(device.bdf, bdf);
        assert!(!(device.is_bound_to_vfio() && device.spoils_its_group()));
    }
    for kind in KINDS {
        KERNEL.set(content);
        let error = Error::new(kind, "VFIO_SET_IOMMU", "type 1").of_device(bdf);
        let _ = error.of_group(1).diagnose(&**KERNEL);
    }
});

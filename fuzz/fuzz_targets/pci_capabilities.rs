//! Config space of a device that lies: the list of capabilities ends, outside of the header.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use pci_device::ConfigSpace;
use vfio_fuzz::{Forger, Place, device};

static DEVICE: LazyLock<(Arc<Forger>, ConfigSpace)> = LazyLock::new(|| {
    let kernel = Forger::new(Place::ConfigSpace);
    let config = ConfigSpace::of(&device(kernel.clone())).expect("the region is there");
    (kernel, config)
});

fuzz_target!(|space: &[u8]| {
    let (kernel, config) = &*DEVICE;
    kernel.set(space);
    let Ok(list) = config.capabilities() else {
        return;
    };
    for (at, one) in list.iter().enumerate() {
        assert!(one.offset >= 0x40 && one.offset % 4 == 0, "{one:?}");
        assert!(
            !list[..at].iter().any(|other| other.offset == one.offset),
            "{list:?}"
        );
        let first = list.iter().find(|other| other.id == one.id);
        assert_eq!(
            config
                .capability(one.id)
                .expect("it was read before")
                .as_ref(),
            first
        );
    }
});

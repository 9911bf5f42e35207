//! The answer to VFIO_IOMMU_GET_INFO: what type1 makes of it is in order, or an error.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use vfio_core::iommu::IommuBackend;
use vfio_fuzz::{Forger, Place, backend};

static TYPE1: LazyLock<(Arc<Forger>, Box<dyn IommuBackend>)> = LazyLock::new(|| {
    let kernel = Forger::new(Place::IommuInfo);
    let backend = backend(kernel.clone(), &iommu_type1::TYPE1_V2).expect("nothing is asked yet");
    (kernel, backend)
});

fuzz_target!(|answer: &[u8]| {
    let (kernel, type1) = &*TYPE1;
    let mut answer = answer.to_vec();
    if let Some(argsz) = answer.first_chunk_mut::<4>() {
        // So much is enough to be asked again with more room, and little enough to be fast.
        *argsz = (u32::from_ne_bytes(*argsz) & 0xffff).to_ne_bytes();
    }
    kernel.set(&answer);
    let Ok(capabilities) = type1.capabilities() else {
        return;
    };
    for aperture in &capabilities.apertures {
        assert!(capabilities.page_sizes.has(aperture.page_size));
    }
    let first = |at: usize| capabilities.apertures[at].range.first();
    assert!((1..capabilities.apertures.len()).all(|at| first(at - 1) <= first(at)));
});

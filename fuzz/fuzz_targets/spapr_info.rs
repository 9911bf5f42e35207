//! The answer to VFIO_IOMMU_SPAPR_TCE_GET_INFO: both versions refuse it, or have windows that make sense.
#![no_main]

use std::sync::{Arc, LazyLock};

use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use libfuzzer_sys::fuzz_target;
use vfio_fuzz::{Forger, Place, backend};

static KERNEL: LazyLock<Arc<Forger>> = LazyLock::new(|| Forger::new(Place::IommuInfo));

fuzz_target!(|answer: &[u8]| {
    KERNEL.set(answer);
    for version in [SPAPR_V1, SPAPR_V2] {
        let Ok(backend) = backend(KERNEL.clone(), &version) else {
            continue;
        };
        let capabilities = backend
            .capabilities()
            .expect("it is known since it was attached");
        assert!(capabilities.apertures.len() <= 1, "{capabilities:?}");
        assert!(
            capabilities
                .apertures
                .iter()
                .all(|window| window.range.last().0 < 1 << 33)
        );
        assert!(capabilities.windows.is_some_and(|limits| limits.levels > 0));
    }
});

//! What IOMMUs a machine has.

use vfio_core::kernel::Errno;

/// A driver that VFIO has for one kind of IOMMU: type1 or sPAPR.
#[derive(Debug, Clone)]
pub struct IommuDriver {
    /// What it answers `VFIO_CHECK_EXTENSION` with 1 for.
    pub extensions: Vec<Extension>,
}

impl IommuDriver {
    /// What `VFIO_SET_IOMMU` of that type answers; `None` if it is not advertised.
    pub(crate) fn set_iommu(&self, number: usize) -> Option<Result<(), Errno>> {
        self.extensions
            .iter()
            .find(|extension| usize::try_from(extension.number) == Ok(number))
            .map(|extension| extension.set_iommu)
    }
}

/// An extension that is advertised.
#[derive(Debug, Clone, Copy)]
pub struct Extension {
    /// Its number.
    pub number: u32,
    /// What `VFIO_SET_IOMMU` answers when it is asked for as a type: some are none, some are refused.
    pub set_iommu: Result<(), Errno>,
}

//! Version 1: the default window alone.

use vfio_core::address::{Access, HostRange, IovaRange, PageSizes, Size};
use vfio_core::iommu::{Capabilities, ErrorIsolation, IommuBackend, Window, WindowLimits};
use vfio_core::{Container, Error, ErrorKind, Result, memlock};

use crate::eeh::Eeh;
use crate::{CONTEXT, calls, window};

/// Allows mapping. The kernel accounts the whole window, 1 to 2 GiB, as locked memory now.
pub(crate) fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    let info = calls::get_info(&container)?;
    let window = window::default_window(&info).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "use", CONTEXT).because("it has no default window")
    })?;
    check_limit(&container, &window)?;
    calls::enable(&container)?;
    // The kernel makes the default window when it is first used (`tce_iommu_create_default_window`), and on
    // a platform that has no dynamic windows it then cannot. Clearing a page that is clear says so now.
    if let Some(first_page) = IovaRange::new(window.range.first(), window.page_size) {
        let proof = calls::unmap(&container, [window.aperture()].into_iter(), first_page);
        if let Err(error) = proof {
            // What was accounted is given back.
            return Err(match calls::disable(&container) {
                Ok(()) => error,
                Err(left) => error.caused_by(vec![left]),
            });
        }
    }
    let eeh = Eeh::of(&container);
    Ok(Box::new(SpaprV1 {
        container,
        window,
        eeh,
    }))
}

/// Says beforehand what the kernel would only say as `ENOMEM` (C41).
fn check_limit(container: &Container, window: &Window) -> Result<()> {
    let size = window.range.size();
    match memlock::lacking(&**container.kernel(), size) {
        None => Ok(()),
        Some(enough) => Err(Error::new(ErrorKind::Exhausted, "enable", CONTEXT)
            .because(format!(
                "the kernel counts the whole window as locked, {}, as soon as mapping is allowed: {} in all",
                Size(size),
                Size(enough)
            ))
            .lacking_memlock(enough)),
    }
}

#[derive(Debug)]
struct SpaprV1 {
    container: Container,
    window: Window,
    eeh: Eeh,
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: the kernel clears every TCE of a range inside the window before its UNMAP returns 0, and anything
// else is an error here; a MAP that fails clears the TCEs that it set (`tce_iommu_build`).
unsafe impl IommuBackend for SpaprV1 {
    fn capabilities(&self) -> Result<Capabilities> {
        Ok(Capabilities {
            page_sizes: PageSizes(self.window.page_size),
            apertures: vec![self.window.aperture()],
            mappings_left: None,
            locked: self.window.range.size(),
            windows: Some(WindowLimits {
                page_sizes: PageSizes(self.window.page_size),
                count: 1,
                levels: 1,
            }),
        })
    }

    fn error_isolation(&self) -> Option<&dyn ErrorIsolation> {
        Some(&self.eeh)
    }

    #[allow(unsafe_code)] // the trait's contract, passed on
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, access: Access) -> Result<()> {
        // SAFETY: our caller keeps the memory allocated and unborrowed until it is unmapped.
        unsafe {
            calls::map(
                &self.container,
                [self.window.aperture()].into_iter(),
                iova,
                memory,
                access,
            )
        }
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        calls::unmap(&self.container, [self.window.aperture()].into_iter(), iova)?;
        Ok(iova.size())
    }

    /// A TCE is a TCE (C45).
    fn unmaps_many(&self) -> bool {
        true
    }

    fn unmaps_parts(&self) -> bool {
        true
    }
}

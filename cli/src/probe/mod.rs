//! `vfioctl probe`: what this host's IOMMU can do.

mod report;
mod text;

use vfio_core::iommu::{BackendReport, Support};
use vfio_core::{Vfio, host};

use crate::output::Output;
use crate::status::Status;
use report::Report;

pub(crate) fn run(
    vfio: &Vfio,
    out: &mut Output,
    verify: Option<Option<u32>>,
    json: bool,
) -> anyhow::Result<Status> {
    let kernel = &**vfio.kernel();
    let groups = host::groups(kernel)?;
    let mut report = Report::new(kernel, &groups);
    let mut status = match vfio.probe() {
        Ok(backends) => {
            report.backends(kernel, &backends);
            Status::FINE
        }
        Err(error) => {
            report.no_container(kernel, vfio.registry().iter().map(|r| r.name), &error);
            error.kind().into()
        }
    };
    if let (Some(group), Status::FINE) = (verify, status) {
        // Without a number: one that nobody uses, as far as can be seen.
        match group.or_else(|| {
            groups
                .iter()
                .find(|group| group.is_ready())
                .map(|group| group.id)
        }) {
            None => {
                report.nothing_to_verify_with();
                status = Status::FINDINGS;
            }
            Some(group) => {
                let backends = vfio.verify(group)?;
                report.verified_with_group = Some(group);
                report.backends(kernel, &backends);
                if !any_works(&backends) {
                    status = Status::FINDINGS;
                }
            }
        }
    }
    if json {
        out.line(serde_json::to_string_pretty(&report)?)?;
    } else {
        text::print(&report, out)?;
    }
    Ok(status)
}

/// Whether some backend proved to work.
fn any_works(backends: &[BackendReport]) -> bool {
    backends
        .iter()
        .any(|backend| matches!(backend.support, Support::Verified(_)))
}

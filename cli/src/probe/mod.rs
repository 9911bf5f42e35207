//! `vfioctl probe`: what this host's IOMMU can do.

mod backend;
mod inventory;
mod iommu;
mod memlock;
pub(crate) mod report;
mod text;

use vfio_core::diagnosis::{self, Question};
use vfio_core::host::{self, Interfaces, IommuGroup};
use vfio_core::iommu::BackendReport;
use vfio_core::{CONTAINER_NODE, Error, ErrorKind, Result, Vfio};

use crate::format::{Format, FormatArgs, prometheus};
use crate::host::Host;
use crate::output::Output;
use crate::size::Bytes;
use crate::status::Status;
use backend::is_absent;
use report::Report;

/// Tell what this host's IOMMU can do, by which ways in, and with how much locked memory
///
/// Nothing is opened but the container, nothing is attached, and no module is loaded. What only an attached group tells
/// is told with --verify.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim powernv9 probe --verify --guest-memory 16G")]
pub(crate) struct Args {
    #[command(flatten)]
    form: FormatArgs,
    /// Put an idle group that is bound to VFIO into a container for each backend in turn, ask what
    /// only then can be asked, and release it; without GROUP, the first such group
    #[arg(long, value_name = "GROUP", num_args = 0..=1, require_equals = true)]
    verify: Option<Option<u32>>,
    /// Say whether this user may lock enough for a guest with so much memory
    #[arg(long, value_name = "SIZE")]
    guest_memory: Option<Bytes>,
}

impl Args {
    /// Whether a group is opened for the answer.
    pub(crate) fn opens_a_group(&self) -> bool {
        self.verify.is_some()
    }
}

pub(crate) fn run(host: &Host, out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let report = ask(host, args.verify, args.guest_memory)?;
    match args.form.format() {
        Format::Json => out.json(&report)?,
        Format::Prometheus => prometheus::print(&report.gauges(), out)?,
        Format::Nfd => report.features().print(out)?,
        Format::Text => {
            host.announce(out)?;
            text::print(&report, out)?;
        }
    }
    Ok(report.status)
}

/// What is known of the host. What could not be found out is a finding, and the rest is told all the same.
pub(crate) fn ask(
    host: &Host,
    verify: Option<Option<u32>>,
    guest_memory: Option<Bytes>,
) -> Result<Report> {
    let vfio = &host.vfio;
    let kernel = host.kernel();
    let groups = host::groups(kernel)?;
    let memory = guest_memory.map(|bytes| bytes.0);
    let mut report = Report::new(host.about(), kernel, &groups, memory);
    let general = diagnosis::examine(
        kernel,
        Question {
            device: None,
            guest_memory: memory,
        },
    )?;
    let mut backends = match ask_backends(vfio) {
        Ok(backends) => backends,
        Err(error) => {
            report.no_container(kernel, vfio.registry().iter().map(|r| r.name), &error);
            report.examined(general);
            return Ok(report);
        }
    };
    report.examined(general);
    // What the kernel does not advertise, it refuses to every group.
    let verify = verify.filter(|_| !backends.iter().all(is_absent));
    if let Some(group) = verify {
        match verify_with(vfio, &groups, group) {
            Ok(Some((group, verified))) => {
                report.verified_with_group = Some(group);
                backends = verified;
            }
            Ok(None) => report.nothing_to_verify_with(),
            Err(error) => report.failed(kernel, &error),
        }
    }
    report.backends(kernel, &backends);
    Ok(report)
}

/// Opening a node that is there before its module is would load that.
fn ask_backends(vfio: &Vfio) -> Result<Vec<BackendReport>> {
    if Interfaces::of(&**vfio.kernel()).container {
        return vfio.probe();
    }
    let why = "the kernel's VFIO is not loaded, and a query loads nothing";
    Err(Error::new(ErrorKind::NoVfio, "open", CONTAINER_NODE).because(why))
}

/// Verifies with that group, or with the first that is ready and idle; `None` if none is ready.
fn verify_with(
    vfio: &Vfio,
    groups: &[IommuGroup],
    asked: Option<u32>,
) -> Result<Option<(u32, Vec<BackendReport>)>> {
    let ready = groups.iter().filter(|group| group.is_ready());
    let candidates = match asked {
        Some(group) => vec![group],
        None => ready.map(|group| group.id).collect(),
    };
    let mut busy = None;
    for group in candidates {
        match vfio.verify(group) {
            Ok(backends) => return Ok(Some((group, backends))),
            Err(error) if error.kind() == ErrorKind::Busy => busy = busy.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    busy.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vfio_core::address::{Iova, IovaRange, PageSizes};
    use vfio_core::iommu::{
        Aperture, Capabilities, Reach, Registration, Registry, Support, VerifiedExtras, WindowTrial,
    };
    use vfio_core::kernel::Errno;
    use vfio_core::uapi::{TYPE1_IOMMU, TYPE1V2_IOMMU};
    use vfio_core::{Error, ErrorKind};
    use vfio_sim::machine::{Device, Group};
    use vfio_sim::{Machine, SimKernel};

    use super::*;

    /// A host with those groups, the first `busy` of them in use, and a backend that the kernel refuses.
    fn boot(groups: impl IntoIterator<Item = Group>, busy: usize) -> (SimKernel, Host) {
        let mut groups: Vec<_> = groups.into_iter().collect();
        for group in groups.iter_mut().take(busy) {
            group.node = Err(Errno::BUSY);
        }
        let machine = Machine {
            groups,
            ..Machine::x86_64()
        };
        let sim = SimKernel::new(machine.refuse(TYPE1V2_IOMMU, Errno::PERM));
        let backend = Registration {
            name: "type1v2",
            preference: 1,
            reach: Reach::Container {
                extension: TYPE1V2_IOMMU,
                attach: |_| unreachable!("the kernel refuses it"),
            },
        };
        let vfio = Vfio::on(Arc::new(sim.clone()), Registry::of([backend]).unwrap());
        (sim, Host::real(vfio))
    }

    fn ready() -> [Group; 2] {
        [
            Group::new(1, [Device::edu("0000:00:01.0")]),
            Group::new(2, [Device::edu("0000:00:02.0")]),
        ]
    }

    fn code(report: &Report) -> u8 {
        report.status.number()
    }

    fn names(report: &Report) -> Vec<&str> {
        report.findings.iter().map(|f| f.name).collect()
    }

    #[test]
    fn a_busy_group_is_passed_over() {
        let (sim, vfio) = boot(ready(), 1);
        let report = ask(&vfio, Some(None), None).unwrap();
        assert_eq!(report.verified_with_group, Some(2));
        assert!(sim.is_idle());
    }

    #[test]
    fn an_error_of_verifying_is_a_finding_in_the_report() {
        for (busy, group) in [(2, None), (1, Some(1))] {
            let (_, vfio) = boot(ready(), busy);
            let report = ask(&vfio, Some(group), None).unwrap();
            assert_eq!((names(&report), code(&report)), (vec!["group-busy"], 4));
            let error = report.findings[0].error.as_deref().unwrap();
            assert!(error.contains("/dev/vfio/1"), "{error}");
            assert_eq!((report.groups.len(), report.backends.len()), (2, 1));
            assert_eq!(report.verified_with_group, None);
        }
    }

    #[test]
    fn a_group_that_is_absent_or_not_bound_is_a_finding() {
        let unbound = Group::new(7, [Device::edu("0000:00:01.0").unbound()]);
        let (_, vfio) = boot([unbound], 0);
        let absent = ask(&vfio, Some(Some(99)), None).unwrap();
        assert_eq!((names(&absent), code(&absent)), (vec!["failed"], 1));
        assert!(absent.findings[0].cause.contains("group 99 is not there"));
        let unbound = ask(&vfio, Some(Some(7)), None).unwrap();
        assert_eq!((names(&unbound), code(&unbound)), (vec!["no-vfio-node"], 1));
        let any = ask(&vfio, Some(None), None).unwrap();
        assert_eq!(
            (names(&any), code(&any)),
            (vec!["nothing-to-verify-with"], 1)
        );
    }

    #[test]
    fn a_host_without_groups_has_no_iommu() {
        let (_, vfio) = boot([], 0);
        let report = ask(&vfio, None, None).unwrap();
        assert_eq!((names(&report), code(&report)), (vec!["iommu-off"], 1));
        let (_, vfio) = boot(ready(), 0);
        let fine = ask(&vfio, None, None).unwrap();
        assert_eq!((names(&fine), code(&fine)), (vec![], 0));
    }

    #[test]
    fn each_thing_is_found_once_and_not_at_all_if_a_backend_works() {
        let (sim, host) = boot(ready(), 0);
        let refused = |name, number: u32| {
            let call = format!("type {number}");
            let error =
                Error::kernel("VFIO_IOMMU_ENABLE", call, Errno::ACCESS).of_kind(ErrorKind::NoVfio);
            BackendReport {
                name,
                support: Support::Refused(error),
                verified: VerifiedExtras::default(),
            }
        };
        let both = [refused("a", TYPE1V2_IOMMU), refused("b", TYPE1_IOMMU)];
        let mut report = Report::new(host.about(), &sim, &[], None);
        report.backends(&sim, &both);
        assert_eq!((report.findings.len(), code(&report)), (1, 1));

        let range = IovaRange::inclusive(Iova(1 << 59), Iova(u64::MAX)).unwrap();
        let works = BackendReport {
            name: "c",
            support: Support::Verified(Capabilities {
                page_sizes: PageSizes(0x1000),
                apertures: vec![Aperture {
                    range,
                    page_size: 0x1000,
                }],
                mappings_left: None,
                locked: 0,
                windows: None,
            }),
            verified: VerifiedExtras {
                windows: vec![WindowTrial {
                    page_size: 0x1000,
                    levels: 2,
                    outcome: Err(Error::new(ErrorKind::Kernel, "create", "a window")),
                }],
                ..VerifiedExtras::default()
            },
        };
        let mut report = Report::new(host.about(), &sim, &[], None);
        report.backends(&sim, &[refused("a", TYPE1V2_IOMMU), works]);
        assert_eq!((report.findings.len(), code(&report)), (0, 0));
        let json = serde_json::to_value(&report).unwrap();
        let capabilities = &json["backends"][1]["capabilities"];
        let aperture = &capabilities["apertures"][0];
        assert_eq!(aperture["first"], "0x800000000000000");
        assert_eq!(aperture["last"], "0xffffffffffffffff");
        assert_eq!(aperture["page_size"], 4096);
        assert_eq!(capabilities["page_sizes"][0], 4096);
        let tried = &json["backends"][1]["windows_tried"][0];
        assert_eq!(
            (&tried["levels"], &tried["start"]),
            (&2.into(), &serde_json::Value::Null)
        );
        assert_eq!(tried["reason"], "create a window");
    }

    #[test]
    fn that_nothing_works_is_a_finding_even_if_nobody_knows_why() {
        let (sim, vfio) = boot(ready(), 0);
        let report = ask(&vfio, Some(Some(1)), None).unwrap();
        assert_eq!((names(&report), code(&report)), (vec!["no-backend"], 1));
        assert!(sim.is_idle());
    }
}

//! Why a device was not bound, and what to do.

use vfio_core::host::PciDevice;
use vfio_core::kernel::Kernel;
use vfio_core::{Error, ErrorKind};

use super::carry_out::{Failed, Why};
use super::in_use::Use;
use super::plan::{Taker, drivers};
use crate::finding::{Evidence, Finding, Remedy};
use crate::status::Status;

/// What is told, and how the command ends.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) findings: Vec<Finding>,
    pub(super) status: Status,
}

/// What a step answers.
pub(super) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// Something on this host is in the way.
    pub(super) fn refused(findings: Vec<Finding>) -> Self {
        Self {
            findings,
            status: Status::FINDINGS,
        }
    }

    /// The kernel, or a file, said no to what `command` does.
    pub(super) fn of(error: &Error, kernel: &dyn Kernel, command: &str) -> Self {
        let mut finding = Finding::of_error(error, kernel);
        if error.kind() == ErrorKind::NotPermitted {
            finding.name = "not-permitted";
            let remedy = Remedy::safe(format!("as root: {command}"));
            finding.remedies.insert(0, remedy);
        }
        Self {
            findings: vec![finding],
            status: error.kind().into(),
        }
    }

    /// Devices did not change their drivers.
    pub(super) fn of_moves(failed: &Failed, kernel: &dyn Kernel, command: &str) -> Self {
        let mut failure = match &failed.why {
            Why::Refused(bdf, error) => {
                let mut failure = Self::of(error, kernel, command);
                for finding in &mut failure.findings {
                    finding.cause = format!("{bdf}: {}", finding.cause);
                }
                failure
            }
            Why::DidNotTake { bdf, wanted, has } => {
                let wanted = match wanted {
                    Taker::Driver(driver) => driver.as_str(),
                    Taker::Own => "the kernel's own driver",
                    Taker::Nobody => "nobody",
                };
                let has = has.as_deref().unwrap_or("no driver");
                let cause = format!("{bdf} was given to {wanted}, and had {has} afterwards");
                let remedy = format!("the driver says why in the kernel's log: dmesg | grep {bdf}");
                Self::refused(vec![Finding {
                    code: Some("VFIO-16"),
                    evidence: vec![Evidence {
                        place: format!("/sys/bus/pci/devices/{bdf}/driver"),
                        found: has.to_owned(),
                    }],
                    ..Finding::new("bind-did-not-take", cause, remedy)
                }])
            }
        };
        let left = match failed.left.as_slice() {
            [] => "; everything is as it was".to_owned(),
            left => format!("; not as it was: {}", left.join("; ")),
        };
        for finding in &mut failure.findings {
            finding.cause.push_str(&left);
        }
        failure
    }
}

/// A device that user space cannot have.
pub(super) fn bridge(device: &PciDevice) -> Finding {
    Finding::new(
        "bridge",
        format!(
            "{} is a bridge: VFIO's drivers take none, and it keeps no group from being viable",
            device.bdf
        ),
        "bind the devices behind it",
    )
}

/// A device that the host uses.
pub(super) fn in_use(device: &PciDevice, uses: &[Use]) -> Finding {
    let words: Vec<_> = uses.iter().map(ToString::to_string).collect();
    let remedy = match uses.iter().any(Use::is_vital) {
        true => {
            "move it elsewhere: --force does not help, since the host does not go on without it"
        }
        false => "end that use first; --force does it all the same, and whoever uses it loses it",
    };
    Finding::new(
        "in-use",
        format!("{}: {}", device.bdf, words.join(", and ")),
        remedy,
    )
}

/// A device that the kernel cannot have back.
pub(super) fn second_of_group(device: &PciDevice, other: &PciDevice) -> Finding {
    Finding::new(
        "kernel-would-end",
        format!(
            "{}: this kernel does not survive a second device of the group going back to it after a program has used \
             the group, and {} is one",
            device.bdf, other.bdf
        ),
        "start this machine anew; --force does it all the same, and is safe if no program has used the group",
    )
}

/// A driver that is not there.
pub(super) fn not_loaded(driver: &str, why: &str) -> Failure {
    let mut finding = Finding::new(
        "no-driver",
        format!("the driver {driver} is not loaded: {why}"),
        format!(
            "install the modules of the kernel that runs (uname -r), or build it with the driver \
             ({} has those that are there)",
            drivers().display()
        ),
    );
    finding.error = Some(format!("modprobe {driver}"));
    Failure {
        findings: vec![finding],
        status: ErrorKind::Kernel.into(),
    }
}

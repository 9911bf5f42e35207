//! The doctor on real kernels: hosts that are broken in every way that the lab can break one.

use anyhow::Result;

use super::machines::{record, script};
use super::tally::Tally;
use crate::lab::{FileSpec, Request};
use crate::workspace;

/// A machine that is broken in the ways of a part of `doctor.sh`.
pub(super) struct Patient {
    pub(super) part: &'static str,
    machine: &'static str,
    devices: &'static [&'static str],
    append: Option<&'static str>,
    qemu_args: &'static [&'static str],
}

const HEALTHY: Patient = Patient {
    part: "healthy",
    machine: "x86_64",
    devices: &[
        "nvme,addr=5.0,multifunction=on",
        "nvme,addr=5.1",
        "nvme",
        "edu",
        "pcie-pci-bridge,id=bridge",
        "nvme,bus=bridge,addr=1",
        "nvme,bus=bridge,addr=2",
    ],
    append: None,
    qemu_args: &[],
};

pub(super) const PATIENTS: &[Patient] = &[
    HEALTHY,
    Patient {
        part: "no-remapping",
        devices: &["nvme"],
        append: Some("intremap=off"),
        ..HEALTHY
    },
    Patient {
        part: "no-iommu",
        devices: &["nvme"],
        append: Some("intel_iommu=off"),
        ..HEALTHY
    },
    Patient {
        part: "39-bits",
        machine: "x86_64-39bit",
        devices: &["nvme"],
        ..HEALTHY
    },
    Patient {
        part: "virtual-function",
        devices: &["igb"],
        append: Some("vfio_pci.enable_sriov=1"),
        ..HEALTHY
    },
    Patient {
        part: "no-windows",
        machine: "pseries",
        devices: &["nvme"],
        qemu_args: &["-global", "spapr-pci-host-bridge.ddw=off"],
        ..HEALTHY
    },
    Patient {
        part: "windows",
        machine: "pseries",
        devices: &["nvme"],
        ..HEALTHY
    },
    Patient {
        part: "windows",
        machine: "powernv9",
        devices: &["nvme"],
        ..HEALTHY
    },
    Patient {
        part: "windows",
        machine: "aarch64",
        devices: &["nvme"],
        ..HEALTHY
    },
];

impl Patient {
    /// Its machine, which is broken and examined; `before` is what the shell does first.
    pub(super) fn request(&self, before: &str) -> Result<Request> {
        let text = format!("{before} sh /root/doctor.sh {}", self.part);
        let mut request = script(self.machine, self.devices, &text)?;
        request.bind = false;
        request.append = self.append.map(str::to_owned);
        request.qemu_args = self.qemu_args.iter().map(ToString::to_string).collect();
        let file = workspace::root().join("xtask/src/test/doctor.sh");
        let file = format!("{}:/root/doctor.sh", file.display());
        request.files = vec![FileSpec::parse(&file)];
        Ok(request)
    }
}

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    for patient in PATIENTS {
        let name = format!("{} on {}", patient.part, patient.machine);
        record(tally, &name, &patient.request("")?);
    }
    Ok(())
}

//! Random calls on each machine's kernel, on an old and on the newest one, and on the simulated machine of its name:
//! nothing may differ.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::at_once::at_once;
use super::machines::{boot, script};
use super::tally::Tally;
use crate::packages::Suite;
use crate::ui::Ui;

/// So many calls are made on each machine, at least, and on each further kernel of one.
const CALLS: usize = 10_000;
const MORE_CALLS: usize = 4_000;

/// Longer than so many calls take on a slow machine, and than shrinking what they find.
const LIMIT: Duration = Duration::from_secs(1200);

/// A machine, and whose kernel it runs.
struct Host {
    machine: &'static str,
    kernel: Option<Suite>,
    devices: &'static [&'static str],
}

const DEVICES: &[&str] = &["edu", "nvme"];

const HOSTS: &[Host] = &[
    // The one that takes longest. Each opening of `edu` would take ten seconds there.
    host("powernv9", None, &["nvme", "nvme"]),
    host(
        "pseries",
        None,
        &[
            "edu",
            "nvme",
            "spapr-pci-host-bridge,index=1,id=second",
            "nvme,bus=second.0,addr=1",
        ],
    ),
    host("aarch64", None, DEVICES),
    // The last two share a group behind a bridge, which resets both.
    host(
        "x86_64",
        None,
        &[
            "edu",
            "nvme",
            "pcie-pci-bridge,id=bridge",
            "edu,bus=bridge,addr=1",
            "nvme,bus=bridge,addr=2",
        ],
    ),
    host("x86_64", Some(Suite::Bookworm), DEVICES),
    host("x86_64", Some(Suite::TrixieBackports), DEVICES),
];

const fn host(
    machine: &'static str,
    kernel: Option<Suite>,
    devices: &'static [&'static str],
) -> Host {
    Host {
        machine,
        kernel,
        devices,
    }
}

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let answers = at_once(HOSTS, |host| host.compare(tally.ui));
    for (host, answer) in HOSTS.iter().zip(answers) {
        let kernel = host.kernel.map_or(String::new(), |suite| {
            format!(" with the kernel of {}", suite.name())
        });
        let label = format!(
            "random calls on {}{kernel} and its simulation",
            host.machine
        );
        let result = answer.and_then(|(status, output)| {
            ensure!(status == 0, "status {status}:\n{output}");
            tally.ui.note(&output);
            Ok(())
        });
        tally.record_result(&label, result);
    }
    Ok(())
}

impl Host {
    fn compare(&self, ui: &Ui) -> Result<(i32, String)> {
        let calls = self.kernel.map_or(CALLS, |_| MORE_CALLS);
        let text = format!(
            "echo 8 >/proc/sys/vm/nr_hugepages; hardware-tests --compare {calls} --as-machine {}",
            self.machine
        );
        let mut request = script(self.machine, self.devices, &text)?;
        request.kernel = self.kernel;
        request.timeout = LIMIT;
        boot(&request, ui)
    }
}

//! Every clause of the page of kernel behaviours, on each machine's kernel and on its simulation.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::machines::{boot, script};
use super::tally::Tally;

/// A machine, what is plugged in, and what is done there before the kernel is asked.
struct Host {
    machine: &'static str,
    devices: &'static [&'static str],
    prepare: &'static str,
}

/// Between them they have what every clause needs. The first devices are those that open quickly.
const HOSTS: &[Host] = &[
    Host {
        machine: "x86_64",
        devices: &[
            "edu",
            "nvme",
            "pcie-pci-bridge,id=bridge",
            "edu,bus=bridge,addr=1",
            "edu,bus=bridge,addr=2",
            "secondary-vga,vgamem_mb=1",
            "sdhci-pci",
            "e1000e",
            "nec-usb-xhci",
            "VGA",
        ],
        prepare: "true",
    },
    Host {
        machine: "aarch64",
        devices: &[
            "edu",
            "nvme",
            "sdhci-pci",
            "sdhci-pci",
            "secondary-vga,vgamem_mb=1",
            "e1000e",
        ],
        prepare: "true",
    },
    Host {
        machine: "pseries",
        devices: &[
            "edu",
            "nvme",
            "nec-usb-xhci",
            "spapr-pci-host-bridge,index=1,id=second",
            "nvme,bus=second.0,addr=1",
            "sdhci-pci",
            "e1000e",
        ],
        prepare: "true",
    },
    Host {
        machine: "powernv9",
        devices: &["nvme", "nvme", "edu", "e1000e", "secondary-vga,vgamem_mb=1"],
        prepare: "true",
    },
];

/// Of so many clauses, one may be asked of the simulation alone.
const SIMULATED_SHARE: usize = 8;

/// Longer than all clauses take on a slow machine.
const LIMIT: Duration = Duration::from_secs(400);

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let mut clauses = BTreeMap::new();
    for host in HOSTS {
        let Host {
            machine,
            devices,
            prepare,
        } = host;
        let text = format!("{prepare} && hardware-tests --conformance --as-machine {machine}");
        let mut request = script(machine, devices, &text)?;
        request.timeout = LIMIT;
        tally.check(&format!("conformance on {machine}"), |ui| {
            let (status, output) = boot(&request, ui)?;
            ensure!(status == 0, "status {status}:\n{output}");
            let (said, table) = output.trim_end().rsplit_once("\n\n").unwrap_or_default();
            ui.note(table);
            for (clause, outcome) in said.lines().filter_map(|line| line.rsplit_once(" ... ")) {
                let best: &mut Outcome = clauses.entry(clause.to_owned()).or_default();
                *best = (*best).max(Outcome::of(outcome.trim_end()));
            }
            Ok(())
        });
    }
    tally.check(
        "every clause is asked of a real kernel, or is simulated for a reason",
        |ui| {
            let having = |wanted| {
                clauses
                    .iter()
                    .filter(move |(_, outcome)| **outcome == wanted)
            };
            let missing: Vec<_> = having(Outcome::Nowhere)
                .map(|(clause, _)| clause.as_str())
                .collect();
            ensure!(missing.is_empty(), "asked nowhere:\n{}", missing.join("\n"));
            let (all, simulated) = (clauses.len(), having(Outcome::Simulated).count());
            ui.note(format_args!(
                "{all} clauses, {simulated} of them on the simulation alone"
            ));
            ensure!(
                simulated * SIMULATED_SHARE <= all,
                "that is more than one in {SIMULATED_SHARE}"
            );
            Ok(())
        },
    );
    Ok(())
}

/// What a machine has shown of a clause, the least first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    #[default]
    Nowhere,
    Simulated,
    Real,
}

impl Outcome {
    fn of(word: &str) -> Self {
        match word {
            "agree" => Self::Real,
            "simulated" => Self::Simulated,
            _ => Self::Nowhere,
        }
    }
}

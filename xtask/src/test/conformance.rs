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
    qemu_args: &'static [&'static str],
    /// More of the kernel's command line.
    append: &'static str,
    prepare: &'static str,
    /// Clauses with this in their numbers or their sentence.
    filter: &'static str,
}

/// A machine, with the devices of [`HOSTS`] to be named.
const HOST: Host = Host {
    machine: "",
    devices: &[],
    qemu_args: &[],
    append: "",
    prepare: "true",
    filter: "",
};

/// What `ivshmem-plain` shares: a BAR of memory.
const SHARED: &[&str] = &["-object", "memory-backend-ram,id=shared,size=1M,share=on"];

/// Every physical function makes a virtual one, which goes to VFIO; the physical one stays where it is.
const VIRTUAL_FUNCTIONS: &str = "\
    echo 1 >/sys/module/vfio_pci/parameters/enable_sriov; \
    for file in /sys/bus/pci/devices/*/sriov_numvfs; do \
        physical=${file%/*}; \
        echo 0 >$physical/sriov_drivers_autoprobe; \
        echo 1 >$file; \
        virtual=$(readlink $physical/virtfn0); \
        echo vfio-pci >$physical/virtfn0/driver_override; \
        [ -e $physical/virtfn0/driver ] || \
            echo ${virtual##*/} >/sys/bus/pci/drivers/vfio-pci/bind || exit; \
    done";

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
            "nec-usb-xhci",
            "pci-testdev",
            "ivshmem-plain,memdev=shared",
            "pci-serial,bus=bridge,addr=3",
            "pcie-root-port,id=rp,disable-acs=on",
            "igb,bus=rp,addr=0",
            "e1000e",
            "VGA",
        ],
        qemu_args: &[
            SHARED[0],
            SHARED[1],
            "-device",
            "nvme-subsys,id=subsystem",
            "-device",
            "nvme,subsys=subsystem,serial=sriov,sriov_max_vfs=1,sriov_vq_flexible=2,\
             sriov_vi_flexible=1,max_ioqpairs=4,msix_qsize=5,addr=0x1c",
        ],
        prepare: VIRTUAL_FUNCTIONS,
        ..HOST
    },
    // Interrupts are not remapped.
    Host {
        machine: "x86_64",
        devices: &["edu", "nvme"],
        append: "intremap=off",
        prepare: "echo Y >/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts",
        filter: "B19",
        ..HOST
    },
    Host {
        machine: "aarch64",
        devices: &[
            "edu",
            "nvme",
            "nec-usb-xhci",
            "pci-testdev",
            "ivshmem-plain,memdev=shared",
            "sdhci-pci",
            "sdhci-pci",
            "secondary-vga,vgamem_mb=1",
            "e1000e",
        ],
        qemu_args: SHARED,
        ..HOST
    },
    Host {
        machine: "pseries",
        devices: &[
            "edu",
            "nvme",
            "nec-usb-xhci",
            "pci-testdev",
            "pci-serial",
            "spapr-pci-host-bridge,index=1,id=second",
            "nvme,bus=second.0,addr=1",
            "spapr-pci-host-bridge,index=2,id=spare",
            "nvme,bus=spare.0,addr=1",
            "sdhci-pci",
            "e1000e",
        ],
        ..HOST
    },
    Host {
        machine: "powernv9",
        devices: &[
            "nvme",
            "nvme",
            "edu",
            "nec-usb-xhci",
            "e1000e",
            "secondary-vga,vgamem_mb=1",
        ],
        ..HOST
    },
];

/// Of so many clauses, one may be asked of the simulation alone.
const SIMULATED_SHARE: usize = 8;

/// Longer than all clauses take on a slow machine: a hypervisor is called for every page of a window that goes.
const LIMIT: Duration = Duration::from_secs(1500);

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let mut clauses = BTreeMap::new();
    for host in HOSTS {
        let Host {
            machine,
            devices,
            qemu_args,
            append,
            prepare,
            filter,
        } = host;
        let text =
            format!("{prepare} && hardware-tests --conformance --as-machine {machine} '{filter}'");
        let mut request = script(machine, devices, &text)?;
        request.qemu_args = qemu_args.iter().map(ToString::to_string).collect();
        request.append = (!append.is_empty()).then(|| append.to_string());
        request.timeout = LIMIT;
        let name = format!("conformance on {machine} {append}");
        tally.check(name.trim_end(), |ui| {
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

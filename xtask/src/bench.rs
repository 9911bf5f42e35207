//! `cargo xtask bench`: what the product costs, beside its peers.

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;

use crate::cross;
use crate::lab::{self, FileSpec, Machine, Request};
use crate::ui::Ui;
use crate::workspace;

/// What is measured.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Only this: `core`
    name: Option<String>,

    /// One object a line
    #[arg(long)]
    json: bool,
}

/// A measurement: less is better.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    name: String,
    ours: u64,
    peer: u64,
    peer_name: &'static str,
    ratio: f64,
    unit: &'static str,
    goal: &'static str,
    pub(crate) met: bool,
}

/// The peer of `core`.
const PEER: &str = "vfio-ioctls 0.10.0";

pub(crate) fn run(args: &BenchArgs, ui: &Ui) -> Result<ExitCode> {
    if let Some(name) = &args.name {
        ensure!(
            name == "core",
            "there is no measurement {name}; there is core"
        );
    }
    let measured = core(ui)?;
    if args.json {
        for one in &measured {
            ui.last_line(serde_json::to_string(one).context("write JSON")?);
        }
    } else {
        ui.last_line(table(&measured));
    }
    Ok(if measured.iter().all(|one| one.met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// How many ioctls it takes to open devices, both counted in one program, on a real kernel.
pub(crate) fn core(ui: &Ui) -> Result<Vec<Measured>> {
    let machine = Machine::find("x86_64").context("there is no machine x86_64")?;
    // Behind this bridge both are in one group.
    let devices = [
        "pcie-pci-bridge,id=bridge",
        "edu,bus=bridge,addr=1",
        "nvme,bus=bridge,addr=2",
    ];
    let script = "for bdf in $BDF $BDF2; do\n\
                  echo vfio-pci >/sys/bus/pci/devices/$bdf/driver_override\n\
                  if [ -e /sys/bus/pci/devices/$bdf/driver ]; then \
                  echo $bdf >/sys/bus/pci/devices/$bdf/driver/unbind; fi\n\
                  echo $bdf >/sys/bus/pci/drivers_probe; done; /bin/bench $BDF $BDF2";
    let manifest = workspace::root().join("bench/Cargo.toml");
    let program = cross::outside(machine.arch, &manifest, "bench", ui)?;
    let request = Request {
        devices: devices.map(str::to_owned).to_vec(),
        bind: false,
        files: vec![FileSpec::parse(&format!(
            "{}:/bin/bench",
            program.display()
        ))],
        ..Request::new(machine, ["sh", "-c", script])
    };
    let mut output = Vec::new();
    let status = lab::boot(&request, ui, &mut |bytes| output.extend_from_slice(bytes))?;
    let output = String::from_utf8_lossy(&output);
    ensure!(status == 0, "status {status}:\n{output}");
    let measured: Vec<_> = output.lines().filter_map(measurement).collect();
    ensure!(!measured.is_empty(), "nothing was measured:\n{output}");
    Ok(measured)
}

/// `name, ours, peer's`, with tabs between them.
fn measurement(line: &str) -> Option<Measured> {
    let mut parts = line.trim_end().split('\t');
    let name = parts.next()?.to_owned();
    let (ours, peer): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    #[allow(clippy::cast_precision_loss)] // small numbers
    let ratio = ours as f64 / peer as f64;
    Some(Measured {
        name,
        ours,
        peer,
        peer_name: PEER,
        ratio,
        unit: "ioctls",
        goal: "not more than the peer",
        met: ours <= peer,
    })
}

/// For people.
fn table(measured: &[Measured]) -> String {
    let width = measured.iter().map(|one| one.name.len()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{:width$}  ours  peer  ratio  goal met  peer's name",
        ""
    )];
    for one in measured {
        lines.push(format!(
            "{:width$}  {:4}  {:4}  {:5.2}  {:8}  {}",
            one.name,
            one.ours,
            one.peer,
            one.ratio,
            if one.met { "yes" } else { "no" },
            one.peer_name
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_measurement_and_less_is_better() {
        let one = measurement("ioctls to x\t5\t10\r").unwrap();
        assert_eq!((one.ours, one.peer, one.met), (5, 10, true));
        assert!((one.ratio - 0.5).abs() < f64::EPSILON);
        assert!(!measurement("a\t11\t10").unwrap().met);
        assert!(measurement("boot: 3 s").is_none());
        assert!(measurement("a\tb\tc").is_none());
    }
}

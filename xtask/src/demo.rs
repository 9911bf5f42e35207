//! `cargo xtask demo`: the product doing its job on three architectures.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::lab::{self, Machine, Request};
use crate::ui::{Phase, Ui};

const MACHINES: [&str; 3] = ["x86_64", "pseries", "aarch64"];

/// `edu` has a DMA engine, INTx and MSI; an NVMe disk has MSI-X.
const DEVICES: [&str; 2] = ["edu", "nvme"];

/// What runs in each machine.
const SCRIPT: &str = "vfioctl probe --verify && hardware-tests --device $BDF --device $BDF2";

const LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn run(ui: &Ui) -> Result<ExitCode> {
    let started = Instant::now();
    let machines: Vec<_> = MACHINES
        .iter()
        .filter_map(|name| Machine::find(name))
        .collect();
    let rows = thread::scope(|scope| {
        // What the later machines need comes while the first ones run. A failure is said by the machine.
        scope.spawn(|| {
            machines
                .iter()
                .for_each(|machine| drop(lab::prepare(machine, ui)))
        });
        machines
            .iter()
            .map(|machine| show(machine, ui))
            .collect::<Vec<_>>()
    });

    print_table(&rows)?;
    let spent: Vec<_> = ui
        .seconds()
        .iter()
        .filter(|(_, seconds)| *seconds >= 0.1)
        .map(|(phase, seconds)| format!("{} {seconds:.0} s", Phase::name(*phase)))
        .collect();
    ui.last_line(format_args!(
        "\n{:.0} seconds in all; of these, in part at the same time: {}",
        started.elapsed().as_secs_f64(),
        spent.join(", ")
    ));
    let passed = rows.iter().filter(|row| row.passed()).count();
    ui.last_line(format_args!(
        "demo: {} machines, {passed} passed",
        rows.len()
    ));
    Ok(if passed == rows.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the script in one machine, and shows what it says.
fn show(machine: &'static Machine, ui: &Ui) -> Row {
    ui.last_line(format_args!("\n=== {}: {}\n", machine.name, machine.proves));
    let request = Request {
        devices: DEVICES.map(str::to_owned).to_vec(),
        timeout: LIMIT,
        ..Request::new(machine, ["sh", "-c", SCRIPT])
    };
    let mut output = Vec::new();
    let status = lab::boot(&request, ui, &mut |bytes| {
        output.extend_from_slice(bytes);
        // A reader that has gone away still gets its exit status.
        let _ = ui.suspend(|| stdout().write_all(bytes).and_then(|()| stdout().flush()));
    });
    if let Err(error) = &status {
        ui.note(format_args!("{}: {error:#}", machine.name));
    }
    Row::new(
        machine.name,
        &String::from_utf8_lossy(&output),
        status.is_ok_and(|status| status == 0),
    )
}

/// What one machine showed.
struct Row {
    machine: &'static str,
    kernel: String,
    backend: String,
    /// How each case ended, on every device.
    cases: BTreeMap<String, Vec<String>>,
    succeeded: bool,
}

impl Row {
    fn new(machine: &'static str, output: &str, succeeded: bool) -> Self {
        let said = |key: &str| {
            let line = output
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.unwrap_or("?").to_owned()
        };
        let mut cases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in output.lines().filter_map(|line| line.strip_prefix("test ")) {
            if let Some((name, result)) = line.split_once(" ... ") {
                cases
                    .entry(name.trim().to_owned())
                    .or_default()
                    .push(result.to_owned());
            }
        }
        Self {
            machine,
            kernel: said("kernel"),
            backend: said("backend"),
            cases,
            succeeded,
        }
    }

    /// Whether these cases were run, each on some device, and passed wherever they were.
    fn proved(&self, names: &[&str]) -> bool {
        names.iter().all(|name| {
            self.cases.get(*name).is_some_and(|results| {
                results.iter().any(|result| result == "ok")
                    && !results.iter().any(|result| result.starts_with("FAILED"))
            })
        })
    }

    fn both_ways(&self) -> bool {
        self.proved(&[
            "the_device_reads_memory_at_64_bits",
            "the_device_writes_memory_at_64_bits",
        ]) && self.proved(&[
            "the_device_reads_memory_at_32_bits",
            "the_device_writes_memory_at_32_bits",
        ])
    }

    fn interrupts(&self) -> Vec<&'static str> {
        [
            ("the_device_raises_intx", "INTx"),
            ("the_device_raises_msi", "MSI"),
            ("the_device_raises_msix", "MSI-X"),
        ]
        .into_iter()
        .filter_map(|(case, kind)| self.proved(&[case]).then_some(kind))
        .collect()
    }

    fn blocked(&self) -> bool {
        self.proved(&[
            "unmapped_memory_is_not_written",
            "unmapped_memory_is_not_read",
        ]) && self.proved(&["read_only_memory_is_read_but_not_written"])
    }

    fn passed(&self) -> bool {
        self.succeeded && self.both_ways() && self.blocked() && self.interrupts().len() == 3
    }
}

fn print_table(rows: &[Row]) -> Result<()> {
    let yes = |it| if it { "yes" } else { "NO" }.to_owned();
    let mut lines = vec![
        [
            "machine",
            "kernel",
            "backend",
            "DMA both ways",
            "interrupts",
            "blocked after unmap",
        ]
        .map(str::to_owned),
    ];
    lines.extend(rows.iter().map(|row| {
        [
            row.machine.to_owned(),
            row.kernel.clone(),
            row.backend.clone(),
            yes(row.both_ways()),
            row.interrupts().join(" "),
            yes(row.blocked()),
        ]
    }));
    let mut widths = [0; 6];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.len().max(*width);
        }
    }
    let mut out = stdout().lock();
    writeln!(out).context("write the table")?;
    for line in &lines {
        let cells = line
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())
            .context("write the table")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "kernel: ppc64le 6.12\nbackend: sPAPR v2\n\
        test the_device_raises_msi ... ok\ntest the_device_raises_msi  ... ignored, none\n\
        test unmapped_memory_is_not_written ... ok\ntest unmapped_memory_is_not_read ... FAILED\n";

    #[test]
    fn what_a_machine_showed_is_read_from_its_output() {
        let row = Row::new("x", OUTPUT, true);
        assert_eq!(row.kernel, "ppc64le 6.12");
        assert_eq!(row.backend, "sPAPR v2");
        assert_eq!(row.interrupts(), ["MSI"]);
        assert!(!row.blocked() && !row.both_ways() && !row.passed());
    }
}

//! `cargo xtask demo`: the product doing its job on three architectures.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::iter;
use std::panic::resume_unwind;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::lab::{self, Machine, Request};
use crate::ui::{Phase, Ui};
use crate::{cross, platform, workspace};

const MACHINES: [&str; 3] = ["x86_64", "pseries", "aarch64"];

/// `edu` has a DMA engine, INTx and MSI; an NVMe disk has MSI-X.
const DEVICES: [&str; 2] = ["edu", "nvme"];

/// What runs on each machine: `host` are the options that choose it, `devices` those of the devices.
fn script(host: &str, devices: &str) -> String {
    format!("vfioctl {host} probe --verify && hardware-tests {host} {devices}")
}

const LIMIT: Duration = Duration::from_secs(180);

/// Where the demo is shown.
#[derive(Args)]
pub(crate) struct DemoArgs {
    /// On simulated machines: on any Linux of any architecture, in seconds, and nothing but crates is downloaded
    #[arg(long)]
    sim: bool,
}

pub(crate) fn run(args: &DemoArgs, ui: &Ui) -> Result<ExitCode> {
    let started = Instant::now();
    let machines: Vec<_> = MACHINES
        .iter()
        .filter_map(|name| Machine::find(name))
        .collect();
    let rows = if args.sim {
        simulated(&machines, ui)?
    } else {
        platform::require_lab()?;
        in_the_lab(&machines, ui)
    };

    print_table(&rows)?;
    let spent: Vec<_> = ui
        .seconds()
        .iter()
        .filter(|(_, seconds)| *seconds >= 0.1)
        .map(|(phase, seconds)| format!("{} {seconds:.0} s", Phase::name(*phase)))
        .collect();
    let seconds = started.elapsed().as_secs_f64();
    ui.last_line(match spent.join(", ").as_str() {
        "" => format!("\n{seconds:.0} seconds in all"),
        spent => {
            format!("\n{seconds:.0} seconds in all; of these, in part at the same time: {spent}")
        }
    });
    let passed = rows.iter().filter(|row| row.passed()).count();
    ui.last_line(format_args!(
        "demo: {} machines, {passed} passed{}",
        rows.len(),
        if args.sim { SIMULATED } else { "" }
    ));
    Ok(if passed == rows.len() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the last line says of machines that are not emulated with a kernel of their own.
const SIMULATED: &str = " (simulated)";

/// Shows each machine in the lab.
fn in_the_lab(machines: &[&'static Machine], ui: &Ui) -> Vec<Row> {
    thread::scope(|scope| {
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
    })
}

/// Runs the script in one machine, and shows what it says.
fn show(machine: &'static Machine, ui: &Ui) -> Row {
    ui.last_line(format_args!("\n=== {}: {}\n", machine.name, machine.proves));
    let command = script("", "--device $BDF --device $BDF2");
    let request = Request {
        devices: DEVICES.map(str::to_owned).to_vec(),
        timeout: LIMIT,
        ..Request::new(machine, ["sh", "-c", &command])
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

/// Shows the simulated machines of the same names, which run at the same time.
fn simulated(machines: &[&'static Machine], ui: &Ui) -> Result<Vec<Row>> {
    let programs = cross::native(ui)?;
    let step = ui.step("simulate");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(iter::once(programs).chain(std::env::split_paths(&path)))
        .context("the name of the target directory cannot be in PATH")?;
    let answers: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|machine| {
                let script = script(&format!("--sim {}", machine.name), "");
                let mut command = Command::new("sh");
                command.args(["-c", &format!("exec 2>&1; {script}")]);
                command.env("PATH", &path);
                scope.spawn(move || workspace::output(&mut command))
            })
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        running.into_iter().map(join).collect::<Result<_>>()
    })?;
    drop(step);
    let rows = machines.iter().zip(answers);
    Ok(rows
        .map(|(machine, (succeeded, output))| {
            ui.last_line(format_args!(
                "\n=== {}, simulated\n\n{output}",
                machine.name
            ));
            Row::new(machine.name, &output, succeeded)
        })
        .collect())
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

//! `cargo xtask lab`.

use std::io::{self, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;

use super::kernels::{self, KERNELS};
use super::machine::MACHINES;
use super::{FileSpec, Machine, Request, Usage, boot};
use crate::platform;
use crate::ui::Ui;

/// What to run, and in which machine.
#[derive(clap::Args)]
pub(crate) struct LabArgs {
    /// The machine (see --list)
    #[arg(required_unless_present = "list", value_parser = machine_names())]
    machine: Option<String>,

    /// Say which machines there are and what each proves, and which kernels
    #[arg(long)]
    list: bool,

    /// Run the kernel of this suite of Debian instead of the machine's own (see --list)
    #[arg(long, value_name = "SUITE", value_parser = kernel_names())]
    kernel: Option<String>,

    /// Plug in a device, in QEMU's -device notation, and bind it to vfio-pci. Its address is in
    /// $BDF, the next one's in $BDF2, ...
    #[arg(long, value_name = "SPEC")]
    device: Vec<String>,

    /// Put a file into the machine, or a directory with all that is in it: into COMMAND's directory or where NAME says
    #[arg(long, value_name = "PATH[:NAME]")]
    file: Vec<String>,

    /// Load one more module of the machine's kernel
    #[arg(long, value_name = "NAME")]
    module: Vec<String>,

    /// Put every module of the machine's kernel where modprobe looks for it
    #[arg(long)]
    all_modules: bool,

    /// Leave the devices to the kernel's own drivers
    #[arg(long)]
    no_bind: bool,

    /// Number of processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: u32,

    /// Size of memory in QEMU's notation, as in 512M or 2G
    #[arg(long, value_name = "M")]
    memory: Option<String>,

    /// More words for the kernel's command line
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    append: Option<String>,

    /// One more argument for QEMU
    #[arg(long, value_name = "A", allow_hyphen_values = true)]
    qemu_arg: Vec<String>,

    /// Seconds that COMMAND may take
    #[arg(long, value_name = "S", default_value_t = 300)]
    timeout: u64,

    /// What to run, as root
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "list")]
    command: Vec<String>,
}

/// The lab failed, not COMMAND. As with env(1) and timeout(1).
const FAILED: u8 = 125;
/// The lab was asked for what it cannot do.
const USAGE: u8 = 2;

/// Runs COMMAND in a machine and exits as it did.
///
/// Says itself what went wrong, so that the exit status can tell it from COMMAND's own.
pub(crate) fn run(args: &LabArgs, ui: &Ui) -> Result<ExitCode> {
    Ok(execute(args, ui).unwrap_or_else(|error| {
        ui.note(format_args!("error: {error:#}"));
        ExitCode::from(if error.is::<Usage>() { USAGE } else { FAILED })
    }))
}

fn execute(args: &LabArgs, ui: &Ui) -> Result<ExitCode> {
    if args.list {
        list(&mut stdout().lock()).context("write the list")?;
        return Ok(ExitCode::SUCCESS);
    }
    platform::require_lab()?;
    let name = args.machine.as_deref().unwrap_or_default();
    let request = Request {
        machine: Machine::find(name).with_context(|| Usage(format!("no machine '{name}'")))?,
        kernel: args.kernel.as_deref().and_then(kernels::find),
        devices: args.device.clone(),
        files: args.file.iter().map(|text| FileSpec::parse(text)).collect(),
        modules: args.module.clone(),
        all_modules: args.all_modules,
        bind: !args.no_bind,
        cpus: args.cpus,
        memory: args.memory.clone(),
        append: args.append.clone(),
        qemu_args: args.qemu_arg.clone(),
        timeout: Duration::from_secs(args.timeout),
        command: args.command.clone(),
    };
    let mut written = Ok(());
    let status = boot(&request, ui, &mut |bytes| {
        if written.is_ok() {
            let mut out = stdout().lock();
            written = out.write_all(bytes).and_then(|()| out.flush());
        }
    })?;
    written.context("write COMMAND's output")?;
    let status = u8::try_from(status).with_context(|| format!("COMMAND's status is {status}"))?;
    Ok(ExitCode::from(status))
}

fn machine_names() -> PossibleValuesParser {
    MACHINES
        .iter()
        .map(|machine| machine.name)
        .collect::<Vec<_>>()
        .into()
}

fn kernel_names() -> PossibleValuesParser {
    KERNELS
        .iter()
        .map(|kernel| kernel.suite.name())
        .collect::<Vec<_>>()
        .into()
}

fn list(out: &mut impl Write) -> io::Result<()> {
    for machine in MACHINES {
        writeln!(out, "{:10} {}", machine.name, machine.proves)?;
    }
    writeln!(out, "\n--kernel:")?;
    for kernel in KERNELS {
        writeln!(out, "{:18} {}", kernel.suite.name(), kernel.what)?;
    }
    Ok(())
}

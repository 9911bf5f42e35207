//! The lab: real kernels with VFIO and an IOMMU, in emulated machines.
//!
//! [`boot`] runs one command in one machine:
//!
//! - `machine`: the table of machines. A new one is added there and nowhere else.
//! - `kernels`: the table of kernels that they can run besides their own.
//! - `device`, `file`: what the user puts into a machine.
//! - `kernel`, `initramfs`, `settings`, `init`: what it boots.
//! - `qemu`, `session`, `console`: QEMU's command line, its process, what the machine says.
//! - `command`: `cargo xtask lab` itself.
//!
//! A run leaves nothing behind, even when it is killed: its files have no names, and its QEMU
//! dies with it.

mod command;
mod console;
mod device;
mod file;
mod initramfs;
mod kernel;
mod kernels;
mod machine;
mod qemu;
mod session;
mod settings;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::cross::{self, Binaries};
use crate::packages::{self, Suite, bundles};
use crate::ui::{Phase, Ui};
use console::{Console, Report};
use device::Placed;
use file::{Content, Kind};
use initramfs::Initramfs;
use kernel::Kernel;
use session::Limits;

pub(crate) use command::{LabArgs, run};
pub(crate) use file::FileSpec;
pub(crate) use machine::Machine;

/// One command in one machine.
pub(crate) struct Request {
    pub(crate) machine: &'static Machine,
    /// Where its kernel comes from; the machine's own otherwise.
    pub(crate) kernel: Option<Suite>,
    /// QEMU's `-device` texts, see [`device`].
    pub(crate) devices: Vec<String>,
    /// With the directories that are to have all their files.
    pub(crate) files: Vec<FileSpec>,
    /// Modules that are loaded after the machine's own.
    pub(crate) modules: Vec<String>,
    /// Whether every module of its kernel is where modprobe looks for it, as its package has it.
    pub(crate) all_modules: bool,
    /// Whether the devices are bound to vfio-pci before the command.
    pub(crate) bind: bool,
    pub(crate) cpus: u32,
    /// In QEMU's notation; the machine's own default otherwise.
    pub(crate) memory: Option<String>,
    /// More of the kernel's command line.
    pub(crate) append: Option<String>,
    pub(crate) qemu_args: Vec<String>,
    /// For the command alone: how long the machine may take to boot is the machine's matter.
    pub(crate) timeout: Duration,
    pub(crate) command: Vec<String>,
}

impl Request {
    /// `command` in `machine`, with nothing plugged in, and five minutes' time.
    pub(crate) fn new<const N: usize>(machine: &'static Machine, command: [&str; N]) -> Self {
        Self {
            machine,
            kernel: None,
            devices: Vec::new(),
            files: Vec::new(),
            modules: Vec::new(),
            all_modules: false,
            bind: true,
            cpus: 1,
            memory: None,
            append: None,
            qemu_args: Vec::new(),
            timeout: Duration::from_secs(300),
            command: command.map(str::to_owned).to_vec(),
        }
    }
}

/// Fetches and builds what a machine needs, so that [`boot`] finds it.
pub(crate) fn prepare(machine: &Machine, ui: &Ui) -> Result<()> {
    Parts::get(machine, None, ui).map(drop)
}

/// The user asked for something that there is not. Everything else that fails is the lab's fault.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Boots a machine and runs the command there. `sink` gets the command's output as it comes.
///
/// Returns the command's exit status as a shell gives it: 127 if there is no such command, 128 and
/// the signal's number if a signal ended it. A machine that hangs or panics is an error.
pub(crate) fn boot(request: &Request, ui: &Ui, sink: &mut dyn FnMut(&[u8])) -> Result<i32> {
    let machine = request.machine;
    let devices = device::place(machine.slots, &request.devices)?;
    let files = request.files.iter().map(FileSpec::read);
    let files = files.collect::<Result<Vec<_>>>()?;
    let mut files: Vec<_> = files.into_iter().flatten().collect();
    let parts = Parts::get(machine, request.kernel, ui)?;
    let more = request.modules.iter().map(String::as_str);
    let modules: Vec<_> = machine.modules.iter().copied().chain(more).collect();
    let kernel = Kernel::load(&parts.kernel, &modules)?;
    if request.all_modules {
        let tree = FileSpec {
            path: kernel.tree.clone(),
            name: format!("/lib/modules/{}", kernel.release),
        };
        files.extend(tree.read()?);
    }

    let mut console = Console::new();
    let settings = settings::settings(request, &devices, &kernel.modules, console.token());
    let image = image(&parts, &kernel, &settings, &files).with_context(|| {
        let dir = std::env::temp_dir();
        format!(
            "put the machine's files together in {} (TMPDIR says where)",
            dir.display()
        )
    })?;
    let devices = devices
        .into_iter()
        .map(with_drive)
        .collect::<Result<Vec<_>>>()?;
    let mut qemu = packages::qemu(machine.emulator, &parts.qemu, &parts.libraries);
    qemu::add_machine(&mut qemu, request, &kernel.image, &image, &devices);

    let limits = Limits {
        boot: machine.boot_limit,
        command: request.timeout,
    };
    let timing = ui.time(Phase::Boot);
    let step = ui.step(format!("boot {}", machine.name));
    let begun = || {
        step.done(format_args!("Linux {}", kernel.release));
        drop(timing);
    };
    let report = session::run(&qemu, &mut console, &limits, begun, sink)
        .with_context(|| format!("machine {}", machine.name))?;
    match report {
        Report::Status(status) => Ok(status),
        Report::Failed(why) => bail!("machine {}: {why}", machine.name),
    }
}

/// Everything that a run needs and that outlives it in the cache.
struct Parts {
    libraries: PathBuf,
    qemu: PathBuf,
    kernel: PathBuf,
    busybox: PathBuf,
    binaries: Binaries,
}

impl Parts {
    /// Fetches and builds what is not there yet, side by side.
    fn get(machine: &Machine, kernel: Option<Suite>, ui: &Ui) -> Result<Self> {
        thread::scope(|scope| {
            let binaries = scope.spawn(|| cross::binaries(machine.arch, ui));
            let bundles = [
                &bundles::QEMU_7,
                machine.qemu,
                &machine.kernel(kernel),
                machine.busybox,
            ];
            let [libraries, qemu, kernel, busybox] = packages::prefixes(bundles, ui)?;
            let binaries = binaries.join();
            Ok(Self {
                libraries,
                qemu,
                kernel,
                busybox,
                binaries: binaries.unwrap_or_else(|_| Err(anyhow!("a build ended in a panic")))?,
            })
        })
    }
}

/// Writes the machine's file system into a file without a name.
fn image(parts: &Parts, kernel: &Kernel, settings: &str, files: &[Content]) -> Result<File> {
    let read = |path: &PathBuf| fs::read(path).with_context(|| format!("read {}", path.display()));

    let mut image = Initramfs::new(BufWriter::new(tempfile::tempfile()?));
    image.console()?;
    image.file("init", 0o755, include_bytes!("init"))?;
    image.file("lab/settings", 0o644, settings.as_bytes())?;
    for module in &kernel.modules {
        image.file(
            &format!("lab/modules/{}.ko", module.name),
            0o644,
            &module.content,
        )?;
    }
    image.file(
        "bin/busybox",
        0o755,
        &read(&parts.busybox.join("bin/busybox"))?,
    )?;
    image.file("bin/vfioctl", 0o755, &read(&parts.binaries.vfioctl)?)?;
    image.file(
        "bin/hardware-tests",
        0o755,
        &read(&parts.binaries.hardware_tests)?,
    )?;
    for Content { path, kind } in files {
        match kind {
            Kind::File { permissions, bytes } => image.file(path, *permissions, bytes)?,
            Kind::Link(target) => image.link(path, target)?,
            Kind::Directory => image.directory(path)?,
        }
    }
    let mut out = image.finish()?;
    out.flush()?;
    Ok(out
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?)
}

/// Makes the drive that a device needs: a file without a name, in which only what is written
/// takes space.
fn with_drive(device: Placed) -> Result<qemu::Device> {
    const SIZE: u64 = 64 << 20;

    let mut file = None;
    if device.drive.is_some() {
        let drive = tempfile::tempfile().context("make a drive")?;
        drive.set_len(SIZE).context("make a drive")?;
        file = Some(drive);
    }
    Ok((device, file))
}

//! QEMU's command line.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use super::Request;
use super::device::Placed;

/// A device, and the file behind the drive that the lab makes for it.
pub(super) type Device = (Placed, Option<File>);

/// Adds the machine to `command`, which runs an emulator that knows its own parts.
///
/// The files must stay open for as long as QEMU runs.
pub(super) fn add_machine(
    command: &mut Command,
    request: &Request,
    kernel: &Path,
    initramfs: &File,
    devices: &[Device],
) {
    let machine = request.machine;
    command
        .args(["-no-user-config", "-no-reboot", "-display", "none"])
        .args(["-monitor", "none", "-serial", "stdio"])
        .args(machine.arguments)
        .args(machine.iommu)
        .args(["-smp", &request.cpus.to_string()])
        .args(["-m", request.memory.as_deref().unwrap_or(machine.memory)])
        .arg("-kernel")
        .arg(kernel)
        .args(["-initrd", &path(initramfs)])
        .args(["-append", &append(request)]);
    for (device, file) in devices {
        if let (Some(name), Some(file)) = (&device.drive, file) {
            let file = path(file);
            let drive =
                format!("driver=raw,node-name={name},file.driver=file,file.filename={file}");
            command.args(["-blockdev", &drive]);
        }
        command.args(["-device", &device.text]);
    }
    command.args(&request.qemu_args);
}

/// The kernel's command line. A panic ends the machine, and so does a fault that the kernel might
/// survive: a run on a broken kernel proves nothing. The user has the last word.
fn append(request: &Request) -> String {
    let machine = request.machine;
    let console = format!("console={}", machine.console);
    let user = request.append.as_deref().unwrap_or_default();
    let words = [&console, "panic=-1", "oops=panic", machine.append, user];
    let words: Vec<&str> = words.into_iter().filter(|it| !it.is_empty()).collect();
    words.join(" ")
}

/// A name for an open file that has no name of its own.
fn path(file: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
}

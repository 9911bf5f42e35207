//! Runs programs from where they are unpacked, which is not where they expect to be.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Where the amd64 packages have their libraries.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// An emulator (`qemu-system-ppc64`, …) from the bundle that is unpacked in `qemu`.
///
/// `libraries` is where [`QEMU_7`](super::bundles::QEMU_7) is: the loader, the C library and all
/// others come from there, and the firmware of network cards. Nothing of the host is loaded.
pub(crate) fn qemu(emulator: &str, qemu: &Path, libraries: &Path) -> Command {
    let loader = libraries.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    let mut command = Command::new(loader);
    command
        .arg("--library-path")
        .arg(library_path(libraries))
        .arg(qemu.join("usr/bin").join(emulator))
        // QEMU looks for its parts from its own executable, which is the loader here.
        .env("QEMU_MODULE_DIR", qemu.join(LIBRARIES[0]).join("qemu"));
    for firmware in [
        qemu.join("usr/share/qemu"),
        qemu.join("usr/share/seabios"),
        libraries.join("usr/lib/ipxe/qemu"),
    ] {
        command.arg("-L").arg(firmware);
    }
    command
}

/// Valgrind from the bundle that is unpacked in `prefix`.
pub(crate) fn valgrind(prefix: &Path) -> Command {
    // What is called `valgrind` is a script that looks for this one where it would be installed.
    let mut command = Command::new(prefix.join("usr/bin/valgrind.bin"));
    command.env("VALGRIND_LIB", prefix.join("usr/libexec/valgrind"));
    command.env_remove("VALGRIND_OPTS");
    command
}

/// The directories of `prefix` that hold libraries, as the dynamic loader takes them.
pub(crate) fn library_path(prefix: &Path) -> OsString {
    let mut path = OsString::new();
    for directory in LIBRARIES {
        if !path.is_empty() {
            path.push(":");
        }
        path.push(prefix.join(directory));
    }
    path
}

//! A cross compiler put together from Debian packages: one compiler, a standard library for each
//! architecture, and Debian's cross gcc, which serves as the linker.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::triple;
use crate::cache::{self, Cache};
use crate::packages::{self, Arch, bundles};
use crate::ui::Ui;

/// The two programs that cargo has to be told about.
pub(super) struct Toolchain {
    pub(super) rustc: PathBuf,
    pub(super) linker: PathBuf,
}

/// The cross compiler for `arch`; none for the architecture of the host, which has its own.
pub(super) fn of(arch: Arch, ui: &Ui) -> Result<Option<Toolchain>> {
    let (std, gcc) = match arch {
        Arch::Amd64 => return Ok(None),
        Arch::Ppc64el => (&bundles::RUST_STD_PPC64EL, &bundles::GCC_PPC64EL),
        Arch::Arm64 => (&bundles::RUST_STD_ARM64, &bundles::GCC_ARM64),
    };
    let [rustc, std, gcc] = packages::prefixes([&bundles::RUSTC, std, gcc], ui)?;

    let name = format!("toolchain-{}", arch.debian());
    let definition = (&rustc, &std, &gcc);
    let entry = Cache::open()?.entry(&name, definition, ui, |draft| {
        let libraries = draft.tree.join("sysroot/lib/rustlib");
        cache::create_dir(&libraries)?;
        for (prefix, triple) in [(&rustc, triple(Arch::Amd64)), (&std, triple(arch))] {
            let library = prefix.join("usr/lib/rustlib").join(triple);
            symlink(&library, libraries.join(triple))
                .with_context(|| format!("link to {}", library.display()))?;
        }
        // The loader is named, rather than LD_LIBRARY_PATH set, because the compiler starts the
        // host's linker, which needs the host's libraries.
        script(
            &draft.tree.join("rustc"),
            &format!(
                "here=$(dirname \"$0\")\n\
                 exec /lib64/ld-linux-x86-64.so.2 --library-path {} {} --sysroot \"$here/sysroot\" \"$@\"",
                quote(&packages::library_path(&rustc)),
                quote(rustc.join("usr/bin/rustc").as_os_str()),
            ),
        )?;
        script(
            &draft.tree.join("linker"),
            &format!(
                "LD_LIBRARY_PATH={} exec {} \"$@\"",
                quote(&packages::library_path(&gcc)),
                quote(gcc.join("usr/bin").join(gcc_name(arch)).as_os_str()),
            ),
        )
    })?;
    Ok(Some(Toolchain {
        rustc: entry.join("rustc"),
        linker: entry.join("linker"),
    }))
}

/// The driver of gcc, in `usr/bin`.
fn gcc_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "x86_64-linux-gnu-gcc",
        Arch::Ppc64el => "powerpc64le-linux-gnu-gcc",
        Arch::Arm64 => "aarch64-linux-gnu-gcc",
    }
}

fn script(path: &Path, body: &str) -> Result<()> {
    cache::write(path, format!("#!/bin/sh\n{body}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("make {} executable", path.display()))
}

/// A path list as one word of the shell.
fn quote(text: &OsStr) -> String {
    format!("'{}'", text.to_string_lossy().replace('\'', r"'\''"))
}

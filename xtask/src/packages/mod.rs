//! Debian packages, unpacked into the cache. Nothing is installed and nobody has to be root.
//!
//! [`bundles`] is the table of what there is. [`prefix`] gives the directory in which a bundle is
//! unpacked and fetches it at first use, [`prefixes`] does so for several at the same time, from
//! any number of threads and processes. [`qemu`] starts an emulator from such directories:
//!
//! ```ignore
//! let [libraries, qemu] = packages::prefixes([&bundles::QEMU_7, &bundles::QEMU_10], &ui)?;
//! let mut command = packages::qemu("qemu-system-x86_64", &qemu, &libraries);
//! let kernel = packages::prefix(&bundles::KERNEL_PPC64EL, &ui)?;
//! // boot/vmlinu?-VERSION, lib/modules/VERSION/**/*.ko.xz, without modules.dep
//! let busybox = packages::prefix(&bundles::BUSYBOX_PPC64EL, &ui)?.join("bin/busybox");
//! ```
//!
//! - `sources`: the mirror, from the machine's own apt sources.
//! - `index`: a private package index for one suite and one architecture.
//! - `apt`: runs apt-get and puts its complaints into words.
//! - `launch`: runs programs from where they are unpacked.

pub(crate) mod bundles;

mod apt;
mod index;
mod launch;
mod sources;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

pub(crate) use launch::{library_path, qemu, valgrind};

use crate::cache::{Cache, DISK_FULL, Draft};
use crate::ui::{Phase, Ui, megabytes};
use index::{Archive, Index};

/// Packages of one suite and architecture that are unpacked into one directory.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Bundle {
    /// What people and the cache call it.
    pub(crate) name: &'static str,
    pub(crate) suite: Suite,
    pub(crate) arch: Arch,
    /// Names, never versions: the mirror drops old versions.
    pub(crate) packages: &'static [&'static str],
    pub(crate) dependencies: Dependencies,
}

/// What happens with the packages that a bundle's packages depend on.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Dependencies {
    /// They are not needed.
    Ignore,
    /// They are unpacked too, all but `except` and what only those need.
    Unpack { except: &'static [&'static str] },
}

/// A suite of the Debian archive.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Suite {
    Bookworm,
    Backports,
    Trixie,
    TrixieBackports,
    Forky,
}

impl Suite {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Backports => "bookworm-backports",
            Self::Trixie => "trixie",
            Self::TrixieBackports => "trixie-backports",
            Self::Forky => "forky",
        }
    }
}

/// An architecture of the Debian archive.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    Ppc64el,
    Arm64,
}

impl Arch {
    /// Debian's name for it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Ppc64el => "ppc64el",
            Self::Arm64 => "arm64",
        }
    }
}

/// Where packages of `suite` come from: the mirror's address, and the file with its keys.
pub(crate) fn mirror(suite: Suite) -> Result<(String, String)> {
    let source = sources::of_this_machine(suite)?;
    Ok((source.uri, source.keyring))
}

/// The directory in which `bundle` is unpacked.
pub(crate) fn prefix(bundle: &Bundle, ui: &Ui) -> Result<PathBuf> {
    let cache = Cache::open()?;
    cache
        .entry(bundle.name, bundle, ui, |draft| {
            let archives = fetch(&cache, bundle, &draft.downloads, ui)?;
            unpack(bundle, &archives, draft, ui)
        })
        .with_context(|| format!("get {}", bundle.name))
}

/// The directories of several bundles, fetched at the same time.
pub(crate) fn prefixes<const N: usize>(bundles: [&Bundle; N], ui: &Ui) -> Result<[PathBuf; N]> {
    let mut found = std::array::from_fn(|_| PathBuf::new());
    std::thread::scope(|scope| {
        let threads = bundles.map(|bundle| scope.spawn(move || prefix(bundle, ui)));
        for (slot, thread) in found.iter_mut().zip(threads) {
            *slot = thread
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a download ended in a panic")))?;
        }
        Ok(found)
    })
}

/// Brings all archives of `bundle` into `directory`. What an earlier try left there is used.
fn fetch(cache: &Cache, bundle: &Bundle, directory: &Path, ui: &Ui) -> Result<Vec<Archive>> {
    const TRIES: u32 = 3;

    let _timing = ui.time(Phase::Download);
    let index = Index::new(cache, bundle.suite, bundle.arch)?;
    let mut tries = 1;
    loop {
        // The mirror may have dropped what an index of this hour names.
        let max_age = if tries == 1 {
            Index::RECENT
        } else {
            Duration::ZERO
        };
        let reader = index.read(max_age, ui)?;
        let result = reader
            .plan(bundle, directory)
            .and_then(|archives| reader.download(bundle, archives, directory, ui));
        match result {
            Ok(archives) => return Ok(archives),
            Err(error) if tries < TRIES && apt::may_pass(&error) => {
                ui.note(format_args!("{}: {error:#}; trying again", bundle.name));
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn unpack(bundle: &Bundle, archives: &[Archive], draft: &Draft, ui: &Ui) -> Result<()> {
    let _timing = ui.time(Phase::Unpack);
    let step = ui.step(format!("unpack {}", bundle.name));
    for archive in archives {
        step.message(&archive.file);
        let file = draft.downloads.join(&archive.file);
        let output = Command::new("dpkg-deb")
            .arg("--extract")
            .args([&file, &draft.tree])
            .output()
            .context("run dpkg-deb: install the package dpkg")?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            let next = if message.contains("No space left") {
                DISK_FULL
            } else {
                // apt-get checked the file when it arrived, so it broke since.
                std::fs::remove_file(&file).ok();
                "the file is deleted: run the command again to fetch it anew"
            };
            // tar may complain about each file.
            let message = message.lines().next().unwrap_or_default();
            bail!("unpack {}: {message}: {next}", archive.file);
        }
    }
    let bytes = archives.iter().map(|archive| archive.bytes).sum();
    step.done(format_args!(
        "{} packages, {}",
        archives.len(),
        megabytes(bytes)
    ));
    Ok(())
}

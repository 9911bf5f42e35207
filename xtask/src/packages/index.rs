//! A private package index for one suite and one architecture, apart from the machine's own.
//!
//! One each, because a mirror in the middle of an update spoils a joint one: only an index that
//! is needed can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Arch, Bundle, Dependencies, Suite, apt, sources};
use crate::cache::{self, Cache, Lock};
use crate::ui::{Ui, megabytes};

/// A package file, as apt plans to fetch it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Archive {
    pub(super) file: String,
    pub(super) bytes: u64,
    /// `NAME=VERSION`.
    selector: String,
}

/// The index, which may be missing or old.
pub(super) struct Index {
    suite: Suite,
    arch: Arch,
    directory: PathBuf,
}

impl Index {
    /// Younger than this, the bundles of one run share it.
    pub(super) const RECENT: Duration = Duration::from_secs(3600);
    /// How long to wait before each further try: the mirror may be in the middle of an update.
    const PAUSES: [u64; 3] = [2, 5, 10];

    pub(super) fn new(cache: &Cache, suite: Suite, arch: Arch) -> Result<Self> {
        let name = format!("index-{}-{}", suite.name(), arch.debian());
        Ok(Self {
            suite,
            arch,
            directory: cache.directory(&name)?,
        })
    }

    /// Opens the index, refreshed if it is older than `max_age`. If that fails, an old one is
    /// better than none.
    pub(super) fn read(&self, max_age: Duration, ui: &Ui) -> Result<Reader> {
        let is_young = || self.age().is_some_and(|age| age < max_age);
        if !is_young() {
            let _lock = Lock::exclusive(&self.lock_path(), ui)?;
            if !is_young() {
                if let Err(error) = self.refresh(ui) {
                    if self.age().is_none() {
                        return Err(error);
                    }
                    ui.note(format_args!(
                        "{error:#}; going on with the index that is here"
                    ));
                }
            }
        }
        Ok(Reader {
            _lock: Lock::shared(&self.lock_path())?,
            configuration: self.configuration_path(),
        })
    }

    fn refresh(&self, ui: &Ui) -> Result<()> {
        let name = self.name();
        self.configure()?;
        let step = ui.step(&name);
        let mut pauses = Self::PAUSES.iter();
        loop {
            let mut command = apt::command(&self.configuration_path());
            command.arg("update");
            match apt::run(&mut command, |_| {}) {
                Ok(_) => break,
                Err(error) => match pauses.next() {
                    Some(&seconds) if apt::may_pass(&error) => {
                        ui.note(format_args!("{name}: {error:#}; trying again"));
                        std::thread::sleep(Duration::from_secs(seconds));
                    }
                    _ => return Err(error).with_context(|| format!("fetch the {name}")),
                },
            }
        }
        cache::write(&self.stamp_path(), "")?;
        step.done("up to date");
        Ok(())
    }

    /// Writes what apt needs to work here and nowhere else. The rest of the machine's apt
    /// configuration stays in force: a proxy or credentials, for instance.
    fn configure(&self) -> Result<()> {
        let source = sources::of_this_machine(self.suite)?;
        let arch = self.arch.debian();
        let path = |name: &str| self.directory.join(name);
        cache::create_dir(&path("lists/partial"))?;
        cache::write(&path("status"), "")?;
        cache::write(
            &path("sources.list"),
            format!(
                "deb [arch={arch} target=Packages signed-by={}] {} {} main\n",
                source.keyring,
                source.uri,
                self.suite.name(),
            ),
        )?;
        let configuration = format!(
            r#"// Hooks of the machine would work on its own index and packages.
#clear APT::Update;
#clear DPkg;
#clear APT::Architectures;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "{root}";
Dir::State::status "{root}/status";
Dir::State::lists "{root}/lists";
Dir::Cache "{root}";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
"#,
            root = self.directory.display(),
        );
        cache::write(&self.configuration_path(), configuration)
    }

    /// How long ago the index was refreshed.
    fn age(&self) -> Option<Duration> {
        let refreshed = fs::metadata(self.stamp_path()).ok()?.modified().ok()?;
        Some(refreshed.elapsed().unwrap_or_default())
    }

    fn name(&self) -> String {
        format!("index of {} {}", self.suite.name(), self.arch.debian())
    }

    fn stamp_path(&self) -> PathBuf {
        self.directory.join("refreshed")
    }

    fn lock_path(&self) -> PathBuf {
        self.directory.join("lock")
    }

    fn configuration_path(&self) -> PathBuf {
        self.directory.join("apt.conf")
    }
}

/// An index that nobody refreshes while it is read.
pub(super) struct Reader {
    _lock: Lock,
    configuration: PathBuf,
}

impl Reader {
    /// Which archives make up `bundle`.
    pub(super) fn plan(&self, bundle: &Bundle, directory: &Path) -> Result<Vec<Archive>> {
        let mut command = apt::command(&self.configuration);
        match bundle.dependencies {
            Dependencies::Ignore => command.arg("download"),
            Dependencies::Unpack { except } => {
                // For apt's resolver, a package that need not be unpacked is installed already.
                let status = directory.join("status");
                cache::write(&status, installed(except))?;
                command
                    .arg("-o")
                    .arg(format!("Dir::State::status={}", status.display()))
                    .args(["install", "--assume-yes", "--no-install-recommends"])
            }
        };
        // Archives that are here already must be in the plan too: it is made in an empty place.
        let empty = tempfile::tempdir_in(directory).context("make a temporary directory")?;
        fs::create_dir(empty.path().join("partial")).context("make a temporary directory")?;
        command
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", empty.path().display()))
            .arg("--print-uris")
            .args(bundle.packages)
            .current_dir(empty.path());
        let output = apt::run(&mut command, |_| {})
            .with_context(|| format!("find {}", bundle.packages.join(", ")))?;
        let archives: Vec<Archive> = output.lines().filter_map(archive).collect();
        ensure!(
            !archives.is_empty(),
            "apt-get found nothing for {}",
            bundle.packages.join(", ")
        );
        Ok(archives)
    }

    /// Fetches `archives` into `directory`; apt-get checks them against the signed index.
    pub(super) fn download(
        &self,
        bundle: &Bundle,
        archives: Vec<Archive>,
        directory: &Path,
        ui: &Ui,
    ) -> Result<Vec<Archive>> {
        let bytes: u64 = archives.iter().map(|archive| archive.bytes).sum();
        let step = ui.download(format!("download {}", bundle.name), bytes);
        let mut command = apt::command(&self.configuration);
        command
            .args(["-o", "APT::Status-Fd=1", "download"])
            .args(archives.iter().map(|archive| &archive.selector))
            .current_dir(directory);
        apt::run(&mut command, |percent| {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a position on a progress bar"
            )]
            step.position((bytes as f64 * percent / 100.0) as u64);
        })?;
        for archive in &archives {
            let arrived = fs::metadata(directory.join(&archive.file)).map_or(0, |it| it.len());
            ensure!(
                arrived == archive.bytes,
                "{} has {arrived} of {} bytes: run the command again",
                archive.file,
                archive.bytes
            );
        }
        step.done(megabytes(bytes));
        Ok(archives)
    }
}

/// A dpkg status file that says that `packages` are there, in a version that suits everybody.
fn installed(packages: &[&str]) -> String {
    packages
        .iter()
        .map(|name| {
            format!(
                "Package: {name}\nStatus: install ok installed\nVersion: 999:1\n\
                 Architecture: all\nMulti-Arch: foreign\nMaintainer: nobody\n\
                 Description: not needed here\n\n"
            )
        })
        .collect()
}

/// An archive from a line such as `'http://mirror/x.deb' name_1%3a2.0_amd64.deb 123 SHA256:…`.
fn archive(line: &str) -> Option<Archive> {
    let mut fields = line.strip_prefix('\'')?.split("' ").nth(1)?.split(' ');
    let file = fields.next()?;
    let bytes = fields.next()?.parse().ok()?;
    let mut parts = file.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    // apt quotes the two characters that would be ambiguous in a file name.
    let version = version.replace("%3a", ":").replace("%5f", "_");
    Some(Archive {
        file: file.to_owned(),
        bytes,
        selector: format!("{name}={version}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_of_a_plan() {
        let line = "'http://mirror/pool/main/libl/llvm/libllvm19_19.1.7-3%7edeb12u1_amd64.deb' \
                    libllvm19_1%3a19.1.7-3~deb12u1_amd64.deb 25913856 SHA256:00ff";
        assert_eq!(
            archive(line),
            Some(Archive {
                file: "libllvm19_1%3a19.1.7-3~deb12u1_amd64.deb".into(),
                bytes: 25_913_856,
                selector: "libllvm19=1:19.1.7-3~deb12u1".into(),
            })
        );
        assert_eq!(archive("Need to get 165 MB of archives."), None);
    }
}

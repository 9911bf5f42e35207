//! A fresh machine, whenever one is wanted: the README's first command in a bare Debian, which has
//! what the README asks for and nothing else.
//!
//! The bare Debian comes from debootstrap and stays in the cache. Each run copies it, puts the
//! checkout in, lends it what no machine can make itself (the Rust toolchain, the way to the
//! network), and enters it with namespaces of its own: mounts and processes end with them. The copy
//! is a [`Scratch`] directory.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::tally::{Outcome, Tally};
use crate::cache::{self, Cache, DISK_FULL};
use crate::packages::{self, Suite, bundles};
use crate::platform;
use crate::ui::{Ui, megabytes};
use crate::workspace;

/// What a person types on the fresh machine.
const COMMAND: &[&str] = &["cargo", "xtask", "demo"];

/// What the README asks for, beyond a network, apt and Rust: a C linker.
const PACKAGES: &[&str] = &["gcc", "libc6-dev"];

/// For the copy, the cache inside, and what is built there.
const DISK_NEEDED: u64 = 5_000_000_000;

/// The way to the network: names, mirrors with their keys, certificates.
const NETWORK: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/apt",
    "/usr/share/keyrings",
    "/etc/ssl",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
];

// Where things are inside.
const PROJECT: &str = "project";
const TOOLCHAIN: &str = "/opt/rust";
const HOME: &str = "/root";

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let name = format!("`{}` on a fresh machine", COMMAND.join(" "));
    if !rustix::process::geteuid().is_root() {
        let why = "needs root to make a chroot: run it as root".to_owned();
        tally.record(&name, Outcome::Skipped(why));
        return Ok(());
    }
    platform::require_lab()?;
    tally.check(&name, fresh_machine);
    Ok(())
}

fn fresh_machine(ui: &Ui) -> Result<()> {
    let toolchain = toolchain()?;
    let cache = Cache::open()?;
    let scratch = Scratch::new(&cache.directory("fresh-machine")?.join("run"), ui)?;
    require_space(&scratch.path)?;
    let base = base(&cache, ui)?;

    let step = ui.step("copy the bare Debian and the checkout");
    let root = scratch.path.join("root");
    let project = root.join(PROJECT);
    copy(
        scratch
            .command("cp")?
            .arg("--reflink=auto")
            .args([&base, &root]),
    )?;
    cache::create_dir(&project)?;
    copy(
        scratch
            .command("cp")?
            .current_dir(workspace::root())
            .args(["--parents", "--target-directory"])
            .arg(&project)
            .args(checkout()?),
    )?;
    let home = root.join(HOME.trim_start_matches('/'));
    cache::create_dir(&home.join(".cargo"))?;
    cache::write(&home.join(".cargo/config.toml"), registry_settings())?;
    step.done("a machine without a cache");

    let mut command = scratch.command("setpriv")?;
    command
        .args(ISOLATED.split(' '))
        .args([ENTER, "sh"])
        .arg(&root)
        .args(lent(&toolchain))
        .arg("--")
        .args(COMMAND)
        .env_clear()
        .envs(environment());
    let mut last = String::new();
    let status = follow(command, |line| {
        ui.note(format_args!("    {line}"));
        if !line.trim().is_empty() {
            line.clone_into(&mut last);
        }
    })?;
    ensure!(status.success(), "it failed ({status}): see above");
    ensure!(
        all_passed(&last),
        "its last line does not say that all passed: {last:?}"
    );
    Ok(())
}

/// Whether a line such as `demo: 3 machines, 3 passed` is good news.
fn all_passed(line: &str) -> bool {
    let numbers: Vec<u32> = line
        .split(' ')
        .filter_map(|word| word.parse().ok())
        .collect();
    matches!(numbers[..], [machines, passed] if machines == passed && passed > 0)
        && line.ends_with(" passed")
}

/// The bare Debian, made at first use.
fn base(cache: &Cache, ui: &Ui) -> Result<PathBuf> {
    let (mirror, keyring) = packages::mirror(Suite::Bookworm)?;
    let debootstrap = packages::prefix(&bundles::DEBOOTSTRAP, ui)?;
    let definition = (&mirror, PACKAGES);
    cache.entry("fresh-machine", definition, ui, |draft| {
        let step = ui.step("make a bare Debian");
        let mut command = Command::new("setpriv");
        command
            .args(ISOLATED.split(' '))
            .args([BOOTSTRAP, "sh"])
            .arg(&draft.tree)
            .arg(debootstrap.join("usr/sbin/debootstrap"))
            .args(["--variant=minbase", "--merged-usr"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg(format!("--keyring={keyring}"))
            .arg(format!("--cache-dir={}", draft.downloads.display()))
            .arg(Suite::Bookworm.name())
            .args([&draft.tree, Path::new(&mirror)])
            .env("DEBOOTSTRAP_DIR", debootstrap.join("usr/share/debootstrap"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        let mut words = String::new();
        let status = follow(command, |line| {
            step.message(line);
            words.push_str(line);
            words.push('\n');
        })?;
        if !status.success() {
            let log = fs::read_to_string(draft.tree.join("debootstrap/debootstrap.log"));
            words.push_str(&log.unwrap_or_default());
            ui.note(tail(&words));
            let next = if words.contains("No space left") {
                DISK_FULL
            } else {
                "check the network and the mirror, and run the command again"
            };
            bail!("debootstrap failed ({status}), see above: {next}");
        }
        step.done(PACKAGES.join(", "));
        Ok(())
    })
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Arguments of setpriv: a script of the shell, in namespaces that end when this thread does. Its
/// text, its name and its arguments follow.
const ISOLATED: &str =
    "--pdeathsig KILL -- unshare --mount --pid --fork --kill-child --mount-proc sh -euc";

/// ROOT [FROM TO]... -- COMMAND...: lends each FROM as ROOT/TO, and runs COMMAND in ROOT.
const ENTER: &str = r#"
exec 2>&1 3<&0 </dev/null   # 3: the scratch directory is in use
root=$1; shift

at() {  # FROM TO: where FROM can be mounted
    if [ -d "$1" ]; then mkdir -p "$2"
    elif [ ! -e "$2" ]; then mkdir -p "${2%/*}"; : >"$2"
    fi
}

mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done

while [ "$1" != -- ]; do
    at "$1" "$root$2"
    mount -o bind,ro "$1" "$root$2"
    shift 2
done
shift

# Not the last command: the shell stays, and collects orphans.
chroot "$root" env --chdir=/project "$@" || exit $?
"#;

/// ROOT DEBOOTSTRAP...: runs DEBOOTSTRAP, which makes ROOT.
const BOOTSTRAP: &str = r#"
exec 2>&1
root=$1; shift
# Its wget takes apt's proxy, as all other packages do.
eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
export http_proxy
"$@"
chroot "$root" apt-get clean
"#;

/// What the machine lends, read-only: pairs of where it is here and there.
fn lent(toolchain: &Path) -> Vec<OsString> {
    let network = NETWORK
        .iter()
        .map(|path| (PathBuf::from(path), PathBuf::from(path)));
    let certificates = ["SSL_CERT_FILE", "SSL_CERT_DIR", "CARGO_HTTP_CAINFO"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(|path| (PathBuf::from(&path), PathBuf::from(&path)));
    let credentials = cargo_home().map(|home| {
        (
            home.join("credentials.toml"),
            format!("{HOME}/.cargo/credentials.toml").into(),
        )
    });
    [(toolchain.to_owned(), TOOLCHAIN.into())]
        .into_iter()
        .chain(network)
        .chain(certificates)
        .chain(credentials)
        .filter(|(here, _)| here.is_absolute() && here.exists())
        .flat_map(|(here, there)| [here.into(), there.into()])
        .collect()
}

/// The environment inside: nothing of this one but the way to the network.
fn environment() -> Vec<(OsString, OsString)> {
    let path =
        format!("{TOOLCHAIN}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    let own = [("PATH", path.as_str()), ("HOME", HOME), ("LANG", "C.UTF-8")];
    std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(is_about_the_network))
        .chain(own.map(|(name, value)| (name.into(), value.into())))
        .collect()
}

fn is_about_the_network(variable: &str) -> bool {
    const NAMES: [&str; 6] = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ];
    const PREFIXES: [&str; 4] = [
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRY_",
        "CARGO_REGISTRIES_",
    ];
    NAMES.contains(&variable.to_uppercase().as_str())
        || PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// The toolchain that builds this project. A distribution's own is spread over `/usr`, and would
/// bring the rest of the machine along.
fn toolchain() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let (success, text) = workspace::output(
        Command::new(rustc)
            .args(["--print", "sysroot"])
            .current_dir(workspace::root()),
    )?;
    let sysroot = PathBuf::from(text.trim_end());
    ensure!(
        success,
        "rustc does not say where it is: {}",
        sysroot.display()
    );
    ensure!(
        sysroot != Path::new("/usr") && sysroot.join("bin/cargo").is_file(),
        "the Rust toolchain in {} cannot be lent: use one from rustup, which has a directory of its own",
        sysroot.display()
    );
    Ok(sysroot)
}

fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"));
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

/// What the machine's own cargo configuration says about registries.
fn registry_settings() -> String {
    cargo_home()
        .into_iter()
        .flat_map(|home| ["config.toml", "config"].map(|name| home.join(name)))
        .find_map(|path| fs::read_to_string(path).ok())
        .map_or_else(String::new, |text| about_registries(&text))
}

/// Those tables of a cargo configuration that say where crates come from. How they are built, with
/// which linker or wrapper, is the fresh machine's own matter.
fn about_registries(configuration: &str) -> String {
    const TABLES: [&str; 5] = ["source", "registry", "registries", "http", "net"];
    let is_one = |key: &str| {
        let first = key
            .trim_start_matches('[')
            .split(['.', '=', ']', ' '])
            .next();
        first.is_some_and(|first| TABLES.contains(&first))
    };
    let mut table = None;
    let mut text = String::new();
    for line in configuration.lines() {
        if line.trim_start().starts_with('[') {
            table = Some(is_one(line.trim_start()));
        }
        if table.unwrap_or_else(|| is_one(line)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    text
}

/// The files of the checkout: what git tracks, and what it would.
fn checkout() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        // The checkout may be another user's than root's.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(workspace::root())
        .output()
        .context("run git: it knows what belongs to the project; install it")?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "git does not say what belongs to the project: {}: use a checkout made by git",
        words.trim()
    );
    let names = output
        .stdout
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty());
    Ok(names
        .map(|name| PathBuf::from(OsStr::from_bytes(name)))
        // git still tracks what was deleted a moment ago.
        .filter(|name| workspace::root().join(name).symlink_metadata().is_ok())
        .collect())
}

/// Runs cp.
fn copy(command: &mut Command) -> Result<()> {
    let output = command
        .arg("--archive")
        .env("LC_ALL", "C")
        .output()
        .context("run cp")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let next = if words.contains("No space left") {
            DISK_FULL
        } else {
            "run the command again"
        };
        bail!("copy: {}: {next}", words.lines().next().unwrap_or_default());
    }
    Ok(())
}

fn require_space(path: &Path) -> Result<()> {
    let disk =
        rustix::fs::statvfs(path).with_context(|| format!("ask the disk of {}", path.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= DISK_NEEDED,
        "a fresh machine needs {} in {}, and {} are free: {DISK_FULL}",
        megabytes(DISK_NEEDED),
        path.display(),
        megabytes(free)
    );
    Ok(())
}

/// Runs `command` out of reach of the terminal's Ctrl-C, which is for this process, and hands over
/// the lines of its output as they come.
fn follow(mut command: Command, mut line: impl FnMut(&str)) -> Result<ExitStatus> {
    let mut child = command
        .process_group(0)
        .stdout(Stdio::piped())
        .spawn()
        .context("run setpriv: install the package util-linux")?;
    let output = child.stdout.take().context("setpriv has no output")?;
    // What cannot be read ends the output, and nothing more: the child is waited for in any case.
    for bytes in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        line(String::from_utf8_lossy(&bytes).trim_end());
    }
    child.wait().context("wait for setpriv")
}

/// A directory that is removed, by a janitor, when the last process that uses it has ended: at the
/// end, and also when this process is killed.
struct Scratch {
    path: PathBuf,
    /// It waits for the end of its standard input, of which every user holds the other side.
    janitor: Child,
}

impl Scratch {
    const JANITOR: &str = r#"
        exec 9>"$1.lock"
        flock --nonblock 9 || { echo waiting; flock 9; }
        rm -rf --one-file-system "$1"
        mkdir -m 700 "$1" && echo ready
        exec >/dev/null
        cat
        rm -rf --one-file-system "$1"
    "#;

    /// Waits until nobody else uses a directory of this name.
    fn new(path: &Path, ui: &Ui) -> Result<Self> {
        let mut janitor = Command::new("sh")
            .args(["-uc", Self::JANITOR, "sh"])
            .arg(path)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("run sh")?;
        let words = janitor.stdout.take().context("sh has no output")?;
        let scratch = Self {
            path: path.to_owned(),
            janitor,
        };
        for word in BufReader::new(words).lines().map_while(Result::ok) {
            match word.as_str() {
                "waiting" => ui.note("another fresh machine is at work: waiting for its end"),
                _ => return Ok(scratch),
            }
        }
        bail!("make {}, see above: {DISK_FULL}", path.display());
    }

    /// A command that uses the directory.
    fn command(&self, program: &str) -> Result<Command> {
        let lifeline = self.janitor.stdin.as_ref().context("the janitor is gone")?;
        let lifeline = lifeline
            .as_fd()
            .try_clone_to_owned()
            .context("use the scratch directory")?;
        let mut command = Command::new(program);
        command.stdin(lifeline);
        Ok(command)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Closes our side of the janitor's input first.
        self.janitor.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines() {
        assert!(all_passed("demo: 3 machines, 3 passed"));
        assert!(!all_passed("demo: 3 machines, 2 passed"));
        assert!(!all_passed("demo: 0 machines, 0 passed"));
        assert!(!all_passed("error: no network"));
    }

    #[test]
    fn only_the_way_to_the_network_is_lent() {
        for variable in [
            "https_proxy",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "CARGO_REGISTRIES_MINE_TOKEN",
        ] {
            assert!(is_about_the_network(variable), "{variable}");
        }
        for variable in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "RUSTFLAGS",
            "XDG_CACHE_HOME",
        ] {
            assert!(!is_about_the_network(variable), "{variable}");
        }
    }

    #[test]
    fn settings_of_registries() {
        let configuration = "net.retry = 5\nbuild.jobs = 1\n\n[build]\nrustc-wrapper = \"w\"\n\
            [source.crates-io]\nreplace-with = \"mine\"\n[target.x]\nlinker = \"l\"\n\
            [http]\nproxy = \"p\"\n[registries]\nmine = { index = \"i\" }\n";
        assert_eq!(
            about_registries(configuration),
            "net.retry = 5\n[source.crates-io]\nreplace-with = \"mine\"\n\
             [http]\nproxy = \"p\"\n[registries]\nmine = { index = \"i\" }\n"
        );
    }
}

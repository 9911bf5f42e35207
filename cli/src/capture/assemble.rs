//! From notes to a capture: what may be told, where it belongs.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use crate::host::Host;
use crate::root::manifest::{Code, Manifest, Operation, Refusal, SCHEMA_VERSION};
use crate::root::tree::{Entry, Tree};

use super::contents;
use super::notes::Noted;
use super::redact::redact;

/// A captured host.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) manifest: Manifest,
    pub(super) files: Tree,
    /// What was read, and is not in it: no rule says that it holds nothing secret.
    pub(super) left_out: Vec<PathBuf>,
}

/// Puts what was noted of that host together.
pub(super) fn assemble(noted: Noted, host: &Host) -> Capture {
    let processes = Processes::of(&noted);
    let mut files = Tree::default();
    let mut left_out = Vec::new();
    // Links first: they decide where the rest belongs. A place is taken by something else if the host has changed while it
    // was asked.
    for (path, target) in &noted.links {
        let is_told = path.starts_with("/sys") || processes.fds.contains(path);
        if is_told && files.insert(path, Entry::Link(target.clone())).is_err() {
            left_out.push(path.clone());
        }
    }
    for (path, bytes) in &noted.files {
        let entry = match contents::rule(path) {
            Some(keep) => Entry::File(redact(keep, bytes)),
            None if processes.has_name(path) => Entry::File(bytes.clone()),
            None if process_of(path).is_some() => continue,
            None => Entry::Unread,
        };
        let is_left_out = entry == Entry::Unread;
        if files.insert(path, entry).is_err() || is_left_out {
            left_out.push(path.clone());
        }
    }
    let mut listed = BTreeSet::new();
    for (path, names) in &noted.lists {
        let Some(names) = processes.names(path, names) else {
            continue;
        };
        match files.add_names(path, names) {
            Ok(place) => drop(listed.insert(place)),
            Err(_) => left_out.push(path.clone()),
        }
    }
    files.mark(&listed);
    let refused = refusals(&noted, &files, &processes);
    Capture {
        manifest: manifest(noted, refused, host),
        files,
        left_out,
    }
}

fn manifest(noted: Noted, refused: Vec<Refusal>, host: &Host) -> Manifest {
    let kernel = host.kernel();
    let (architecture, release) = kernel.identity();
    let nodes = noted.nodes.into_iter();
    Manifest {
        schema_version: SCHEMA_VERSION,
        made_by: concat!("vfioctl ", env!("CARGO_PKG_VERSION")).to_owned(),
        simulated: host.simulated.clone(),
        architecture,
        release,
        page_size: kernel.page_size(),
        memlock_limit: kernel.memlock_limit(),
        container: noted.container,
        nodes: nodes
            .filter(|(path, _)| path.to_str().is_some())
            .map(|(path, node)| (path, node.into()))
            .collect(),
        refused,
    }
}

/// The calls that failed, and that the files alone would answer otherwise.
fn refusals(noted: &Noted, files: &Tree, processes: &Processes) -> Vec<Refusal> {
    let says = |path: &Path, operation| match operation {
        Operation::Open | Operation::Node => None,
        Operation::Read => files.read(path).err(),
        Operation::List => files.list(path).err(),
        Operation::ReadLink => files.read_link(path).err(),
    };
    let may_be_told = |path: &Path| {
        path.to_str().is_some() // the manifest has no other names
            && process_of(path).is_none_or(|pid| processes.holders.contains(pid))
    };
    noted
        .refused
        .iter()
        .filter(|((path, operation), errno)| {
            may_be_told(path) && says(path, *operation) != Some(**errno)
        })
        .map(|((path, operation), errno)| Refusal {
            path: path.clone(),
            operation: *operation,
            errno: Code(*errno),
        })
        .collect()
}

/// The processes that have a node of VFIO open. Of no other is anything told.
struct Processes {
    holders: BTreeSet<OsString>,
    /// The links in `/proc/PID/fd` that lead to such a node.
    fds: BTreeSet<PathBuf>,
}

impl Processes {
    fn of(noted: &Noted) -> Self {
        let is_node =
            |target: &Path| target.starts_with("/dev/vfio") || target == Path::new("/dev/iommu");
        let fds: BTreeSet<_> = noted
            .links
            .iter()
            .filter(|(path, target)| process_of(path).is_some() && is_node(target))
            .map(|(path, _)| path.clone())
            .collect();
        let holders = fds.iter().filter_map(|fd| process_of(fd));
        Self {
            holders: holders.map(OsStr::to_owned).collect(),
            fds,
        }
    }

    /// Whether this is the file with the name of such a process.
    fn has_name(&self, path: &Path) -> bool {
        path.file_name() == Some(OsStr::new("comm"))
            && path.components().count() == "/proc/PID/comm".split('/').count()
            && process_of(path).is_some_and(|pid| self.holders.contains(pid))
    }

    /// The names in a directory that may be told; `None` if it may not be told that it was listed.
    fn names(&self, directory: &Path, names: &[OsString]) -> Option<Vec<OsString>> {
        let is_told = |name: &OsStr| match process_of(directory) {
            Some(_) => self.fds.contains(&directory.join(name)),
            None if directory == Path::new("/proc") => self.holders.contains(name),
            None => true,
        };
        let may_be_told = match process_of(directory) {
            Some(pid) => self.holders.contains(pid),
            None => contents::may_list(directory),
        };
        may_be_told.then(|| {
            let told = names.iter().filter(|name| is_told(name));
            told.cloned().collect()
        })
    }
}

/// The process that a path of proc is about, by its number.
fn process_of(path: &Path) -> Option<&OsStr> {
    let mut parts = path.strip_prefix("/proc").ok()?.components();
    match parts.next()? {
        Component::Normal(name) => {
            let is_number = name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
            is_number.then_some(name)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use vfio_core::kernel::Errno;
    use vfio_sim::Machine;

    use crate::host::Source;

    use super::*;

    #[test]
    fn what_has_no_rule_is_left_out_and_said_to_be() {
        let secret = PathBuf::from("/sys/class/dmi/id/product_serial");
        let mut noted = Noted::default();
        noted.files.insert(secret.clone(), b"1234".to_vec());
        noted.lists.insert("/home".into(), vec!["alice".into()]);
        let host = Host::new(Source::Simulated(Machine::x86_64())).unwrap();
        let capture = assemble(noted, &host);
        assert_eq!(capture.left_out, std::slice::from_ref(&secret));
        assert_eq!(capture.files.read(&secret), Err(Errno::NODATA));
        assert_eq!(capture.files.list("/home".as_ref()), Err(Errno::NOENT));
    }

    #[test]
    fn a_failure_is_written_down_where_the_files_say_otherwise() {
        let mut noted = Noted::default();
        let mut refuse = |path: &str, operation, errno| {
            noted.refused.insert((path.into(), operation), errno);
        };
        refuse("/sys/absent", Operation::Read, Errno::NOENT);
        refuse("/sys/denied", Operation::Read, Errno::ACCESS);
        refuse("/dev/vfio/1", Operation::Node, Errno::NOENT);
        refuse("/proc/7/fd", Operation::List, Errno::ACCESS);
        let host = Host::new(Source::Simulated(Machine::x86_64())).unwrap();
        let refused = assemble(noted, &host).manifest.refused;
        let paths: Vec<_> = refused.iter().map(|it| it.path.as_path()).collect();
        assert_eq!(paths, [Path::new("/dev/vfio/1"), Path::new("/sys/denied")]);
    }
}

//! Who has a node open.

use std::path::{Path, PathBuf};

use crate::kernel::{Errno, Kernel};

/// A process that has a node open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// What it calls itself (`comm`).
    pub name: String,
    /// The node.
    pub node: PathBuf,
    /// Where proc shows that: the link of the fd.
    pub fd: PathBuf,
}

/// The processes that have a node open, as far as this one may know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// Those that were found: each once.
    pub found: Vec<Holder>,
    /// How many processes this one may not look into.
    pub unseen: usize,
}

/// Looks for processes that have one of these nodes open.
pub fn holders(kernel: &dyn Kernel, nodes: &[PathBuf]) -> Holders {
    let mut holders = holders_of(kernel, &|node| nodes.iter().any(|it| it == node));
    holders.found.dedup_by_key(|it| it.pid);
    holders
}

/// Looks for processes that have such nodes open: each once a node.
pub(crate) fn holders_of(kernel: &dyn Kernel, is_wanted: &dyn Fn(&Path) -> bool) -> Holders {
    let mut holders = Holders::default();
    let names = kernel.list(Path::new("/proc")).unwrap_or_default();
    for pid in names.iter().filter_map(|name| name.to_str()?.parse().ok()) {
        match held_by(kernel, pid, is_wanted) {
            Ok(found) => holders.found.extend(found),
            Err(Errno::ACCESS | Errno::PERM) => holders.unseen += 1,
            Err(_) => {} // it has ended
        }
    }
    holders
}

fn held_by(
    kernel: &dyn Kernel,
    pid: u32,
    is_wanted: &dyn Fn(&Path) -> bool,
) -> Result<Vec<Holder>, Errno> {
    let dir = PathBuf::from(format!("/proc/{pid}/fd"));
    let mut held: Vec<Holder> = Vec::new();
    for fd in kernel.list(&dir)? {
        let fd = dir.join(fd);
        let Ok(node) = kernel.read_link(&fd) else {
            continue;
        };
        if is_wanted(&node) && held.iter().all(|it| it.node != node) {
            held.push(Holder {
                pid,
                name: name(kernel, pid),
                node,
                fd,
            });
        }
    }
    Ok(held)
}

fn name(kernel: &dyn Kernel, pid: u32) -> String {
    let name = kernel.read(format!("/proc/{pid}/comm").as_ref());
    String::from_utf8_lossy(&name.unwrap_or_default())
        .trim()
        .to_owned()
}

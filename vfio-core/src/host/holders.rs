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
    let mut holders = Holders::default();
    let names = kernel.list(Path::new("/proc")).unwrap_or_default();
    for pid in names.iter().filter_map(|name| name.to_str()?.parse().ok()) {
        match holder(kernel, pid, nodes) {
            Ok(found) => holders.found.extend(found),
            Err(Errno::ACCESS | Errno::PERM) => holders.unseen += 1,
            Err(_) => {} // it has ended
        }
    }
    holders
}

fn holder(kernel: &dyn Kernel, pid: u32, nodes: &[PathBuf]) -> Result<Option<Holder>, Errno> {
    let dir = PathBuf::from(format!("/proc/{pid}/fd"));
    let fds = kernel.list(&dir)?;
    let found = fds.iter().map(|fd| dir.join(fd)).find_map(|fd| {
        let target = kernel.read_link(&fd).ok()?;
        nodes.contains(&target).then_some((target, fd))
    });
    Ok(found.map(|(node, fd)| {
        let name = kernel.read(format!("/proc/{pid}/comm").as_ref());
        let name = name.unwrap_or_default();
        Holder {
            pid,
            name: String::from_utf8_lossy(&name).trim().to_owned(),
            node,
            fd,
        }
    }))
}

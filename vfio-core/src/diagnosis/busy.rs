//! VFIO-10: somebody else has the group open.

use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::kernel::Kernel;

use super::{Diagnosis, Evidence, names};

pub(super) fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if error.kind() != ErrorKind::Busy || error.operation() != "open" {
        return None;
    }
    let node = group_node(error.group()?);
    let holders: Vec<_> = names(kernel, "/proc")
        .into_iter()
        .filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
        .flat_map(|pid| holders(kernel, &pid, &node))
        .collect();
    let cause = match holders.first() {
        Some(holder) => format!("{} has it open", holder.found),
        None => {
            "a process that this user may not look into has it open, or this one has".to_owned()
        }
    };
    Some(Diagnosis {
        code: "VFIO-10",
        name: "group-busy",
        cause,
        evidence: holders,
        remedies: vec![
            "stop that process; a group can be opened once".to_owned(),
            format!("to see every holder: fuser -v {}", node.display()),
        ],
    })
}

/// The fds of a process that are the node.
fn holders(kernel: &dyn Kernel, pid: &str, node: &std::path::Path) -> Option<Evidence> {
    let dir = format!("/proc/{pid}/fd");
    let fd = names(kernel, &dir)
        .into_iter()
        .map(|fd| format!("{dir}/{fd}"))
        .find(|fd| {
            kernel
                .read_link(fd.as_ref())
                .is_ok_and(|target| target == node)
        })?;
    let name = kernel
        .read(format!("/proc/{pid}/comm").as_ref())
        .unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    Some(Evidence::new(
        fd,
        format!("{} (process {pid})", name.trim()),
    ))
}

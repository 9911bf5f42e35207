//! VFIO-10: somebody else has the group open.

use std::path::Path;

use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight, names};

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-10",
    name: "group-busy",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if error.kind() != ErrorKind::Busy || error.operation() != "open" {
        return None;
    }
    let node = group_node(error.group()?);
    Some(finding(&node, Holders::of(kernel, &node).known))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let Some(group) = patient.bound().and_then(|device| device.group) else {
        return;
    };
    let node = group_node(group);
    let holders = Holders::of(patient.kernel, &node);
    if !holders.known.is_empty() {
        examination.findings.push(finding(&node, holders.known));
    } else if holders.unseen > 0 {
        let why = format!(
            "{} processes of others may have {} open; as root it can be seen",
            holders.unseen,
            node.display()
        );
        examination.unknown.push(ENTRY.unknown(why));
    }
}

fn finding(node: &Path, holders: Vec<Evidence>) -> Diagnosis {
    let cause = match holders.first() {
        Some(holder) => format!("{} has {} open", holder.found, node.display()),
        None => format!(
            "{} is open: a process that this user may not look into has it, or this one",
            node.display()
        ),
    };
    ENTRY.found(
        Weight::Blocks,
        cause,
        holders,
        vec![
            Remedy::disrupts("stop that process; a group can be opened once"),
            Remedy::safe(format!("to see every holder: fuser -v {}", node.display())),
        ],
    )
}

/// The processes that have a node open.
#[derive(Default)]
struct Holders {
    known: Vec<Evidence>,
    /// How many processes may not be looked into.
    unseen: usize,
}

impl Holders {
    fn of(kernel: &dyn Kernel, node: &Path) -> Self {
        let mut holders = Self::default();
        for pid in names(kernel, "/proc") {
            if pid.bytes().all(|byte| byte.is_ascii_digit()) {
                holders.look_into(kernel, &pid, node);
            }
        }
        holders
    }

    fn look_into(&mut self, kernel: &dyn Kernel, pid: &str, node: &Path) {
        let dir = format!("/proc/{pid}/fd");
        let fds = match kernel.list(dir.as_ref()) {
            Ok(fds) => fds,
            Err(Errno::ACCESS | Errno::PERM) => {
                self.unseen += 1;
                return;
            }
            Err(_) => return, // it has ended
        };
        let mut fds = fds.iter().map(|fd| Path::new(&dir).join(fd));
        let fd = fds.find(|fd| kernel.read_link(fd).is_ok_and(|target| target == node));
        if let Some(fd) = fd {
            let name = kernel.read(format!("/proc/{pid}/comm").as_ref());
            let name = name.unwrap_or_default();
            let name = String::from_utf8_lossy(&name);
            let who = format!("{} (process {pid})", name.trim());
            self.known.push(Evidence::new(fd, who));
        }
    }
}

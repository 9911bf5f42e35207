//! VFIO-08: a node may not be opened.

use std::path::Path;

use crate::container::CONTAINER_NODE;
use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::host::User;
use crate::kernel::{Errno, Kernel};

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

pub(super) const ENTRY: Entry = Entry {
    code: "VFIO-08",
    name: "permission",
    of_error: diagnose,
    examine,
};

fn diagnose(error: &Error, kernel: &dyn Kernel) -> Option<Diagnosis> {
    if error.kind() != ErrorKind::NotPermitted || error.operation() != "open" {
        return None;
    }
    Some(finding(kernel, error.object(), error.errno()?))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let group = patient.bound().and_then(|device| device.group);
    let nodes = [Some(CONTAINER_NODE.into()), group.map(group_node)];
    for node in nodes.into_iter().flatten() {
        let answer = patient.kernel.node(&node).map(|it| it.access);
        if let Ok(Err(errno @ (Errno::ACCESS | Errno::PERM))) = answer {
            let node = node.display().to_string();
            examination
                .findings
                .push(finding(patient.kernel, &node, errno));
        }
    }
}

fn finding(kernel: &dyn Kernel, node: &str, errno: Errno) -> Diagnosis {
    let found = match kernel.node(Path::new(node)) {
        Ok(it) => format!(
            "mode {:04o}, user {}, group {}; {errno}",
            it.mode, it.owner, it.group
        ),
        Err(_) => errno.to_string(),
    };
    let mut evidence = vec![Evidence::new(node, found)];
    let user = User::of(kernel);
    if let Some(user) = &user {
        let groups: Vec<_> = user.groups.iter().map(ToString::to_string).collect();
        let who = format!("user {}, groups {}", user.id, groups.join(" "));
        evidence.push(Evidence::new("/proc/self/status", who));
    }
    let who = user.filter(|user| user.id != 0);
    let who = who.map_or_else(|| "USER".to_owned(), |user| user.id.to_string());
    let (cause, remedies) = match errno {
        Errno::PERM => (
            format!(
                "the kernel forbids this process to open {node}: a container's device rules, or a missing capability"
            ),
            vec![
                Remedy::safe(format!(
                    "in a container: allow the device {node} (docker: --device {node})"
                )),
                Remedy::safe("for a noiommu group: CAP_SYS_RAWIO is needed"),
            ],
        ),
        _ => (
            format!("this user may not open {node}: its owner and mode, or SELinux or AppArmor"),
            vec![
                Remedy::safe(match node == CONTAINER_NODE {
                    false => format!("give the node to the user, as root: chown {who} {node}"),
                    true => format!("the container node is for everybody: chmod 0666 {node}"),
                }),
                Remedy::safe("or keep it so with a udev rule; or run as root"),
            ],
        ),
    };
    ENTRY.found(Weight::Blocks, cause, evidence, remedies)
}

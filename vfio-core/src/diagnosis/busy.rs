//! VFIO-10: somebody else has the group open.

use std::path::Path;

use crate::error::{Error, ErrorKind};
use crate::group::group_node;
use crate::host::{Holder, holders};
use crate::kernel::Kernel;

use super::{Diagnosis, Entry, Evidence, Examination, Patient, Remedy, Weight};

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
    let holders = holders(kernel, std::slice::from_ref(&node));
    Some(finding(&node, &holders.found))
}

fn examine(patient: &Patient<'_>, examination: &mut Examination) {
    let Some(group) = patient.bound().and_then(|device| device.group) else {
        return;
    };
    let node = group_node(group);
    let (found, unseen) = patient.surroundings.holders(&node);
    if !found.is_empty() {
        examination.findings.push(finding(&node, &found));
    } else if unseen > 0 {
        let why = format!(
            "{unseen} processes of others may have {} open; as root it can be seen",
            node.display()
        );
        examination.unknown.push(ENTRY.unknown(why));
    }
}

fn finding(node: &Path, holders: &[Holder]) -> Diagnosis {
    let evidence: Vec<_> = holders
        .iter()
        .map(|it| Evidence::new(&it.fd, format!("{} (process {})", it.name, it.pid)))
        .collect();
    let cause = match evidence.first() {
        Some(holder) => format!("{} has {} open", holder.found, node.display()),
        None => format!(
            "{} is open: a process that this user may not look into has it, or this one",
            node.display()
        ),
    };
    ENTRY.found(
        Weight::Blocks,
        cause,
        evidence,
        vec![
            Remedy::safe(format!("to see every holder: fuser -v {}", node.display())),
            Remedy::disrupts("stop that process; a group can be opened once"),
        ],
    )
}

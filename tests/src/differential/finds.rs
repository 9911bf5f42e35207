//! Sequences that differed once, and must not again. Each is what a run has printed, shortened, in a file of `finds/`.

use anyhow::{Context, Result};
use vfio_sim::Machine;

use super::sequence::Sequence;

/// A sequence that differed.
struct Find {
    /// On what architecture, or on all.
    arch: Option<&'static str>,
    /// What was wrong.
    name: &'static str,
    text: &'static str,
}

const FINDS: &[Find] = &[
    Find {
        arch: Some("x86_64"),
        name: "B21: from 6.16 on, a device cannot read what it may write alone",
        text: include_str!("finds/b21-write-only.json"),
    },
    Find {
        arch: Some("x86_64"),
        name: "B32: a mapping that is given a new address keeps the pages that were pinned",
        text: include_str!("finds/b32-pinned-pages.json"),
    },
    Find {
        arch: Some("x86_64"),
        name: "F75: a PCI Express device behind a bridge to conventional PCI has 256 bytes of config space",
        text: include_str!("finds/f75-config-size.json"),
    },
    Find {
        arch: None,
        name: "F77, F78: a device that sleeps is woken up by an access through its fd, not for a mapping",
        text: include_str!("finds/f78-asleep.json"),
    },
    Find {
        arch: Some("ppc64le"),
        name: "C44: on powernv, a device can read what it may write alone",
        text: include_str!("finds/c44-write-only.json"),
    },
    Find {
        arch: Some("ppc64le"),
        name: "D54c: a window of less than one IOMMU page",
        text: include_str!("finds/d54c-small-window.json"),
    },
    Find {
        arch: Some("ppc64le"),
        name: "D57b: a group that leaves clears the windows of the others",
        text: include_str!("finds/d57b-group-leaves.json"),
    },
];

/// The finds that are about a machine.
pub(super) fn of(machine: &Machine) -> impl Iterator<Item = Result<(&'static str, Sequence)>> {
    let arch = machine.arch.clone();
    let finds = FINDS.iter();
    let here = finds.filter(move |find| find.arch.is_none_or(|it| it == arch));
    here.map(|find| {
        let sequence = serde_json::from_str(find.text).with_context(|| find.name)?;
        Ok((find.name, sequence))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_find_can_be_read() {
        for machine in Machine::all() {
            for find in of(&machine) {
                find.unwrap();
            }
        }
    }
}

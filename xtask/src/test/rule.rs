//! The dependency rule: which crate of the house may use which.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, Metadata};

use super::tally::Tally;

/// Each member of the workspace, and the siblings that it may depend on when it is built. Development
/// dependencies are free, because nobody inherits them.
const RULE: &[(&str, &[&str])] = &[
    ("vfio-core", &[]),
    ("iommu-type1", &["vfio-core"]),
    ("iommu-spapr", &["vfio-core"]),
    ("vfio-sim", &["vfio-core"]),
    ("pci-device", &["vfio-core"]),
    ("rust-vmm-compat", &["vfio-core"]),
    (
        "vfioctl",
        &[
            "vfio-core",
            "iommu-type1",
            "iommu-spapr",
            "pci-device",
            "vfio-sim",
        ],
    ),
    (
        "vfio-tests",
        &[
            "vfio-core",
            "iommu-type1",
            "iommu-spapr",
            "pci-device",
            "vfio-sim",
            "vfioctl",
        ],
    ),
    ("xtask", &[]),
];

pub(super) fn check(tally: &mut Tally) -> Result<()> {
    tally.check("dependency rule", |_| {
        let metadata = super::metadata()?;
        let broken = violations(&siblings(&metadata));
        if broken.is_empty() {
            return Ok(());
        }
        bail!(
            "{}; the rule is in xtask/src/test/rule.rs and ARCHITECTURE.md",
            broken.join("; ")
        )
    });
    Ok(())
}

/// The siblings that each member uses when it is built.
fn siblings(metadata: &Metadata) -> BTreeMap<String, Vec<String>> {
    let members = metadata.workspace_packages();
    members
        .iter()
        .map(|package| {
            let used = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.kind != DependencyKind::Development)
                .map(|dependency| dependency.name.to_string())
                .filter(|name| members.iter().any(|member| *member.name == *name))
                .collect();
            (package.name.to_string(), used)
        })
        .collect()
}

/// What breaks the rule, in words.
fn violations(siblings: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    siblings
        .iter()
        .flat_map(|(member, used)| {
            let allowed = RULE
                .iter()
                .find(|(name, _)| name == member)
                .map(|(_, allowed)| *allowed);
            let unknown = allowed
                .is_none()
                .then(|| format!("{member} is not in the rule"));
            let forbidden = used
                .iter()
                .filter(move |name| {
                    allowed.is_some_and(|allowed| !allowed.contains(&name.as_str()))
                })
                .map(move |name| format!("{member} may not depend on {name}"));
            unknown.into_iter().chain(forbidden)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(member: &str, used: &[&str]) -> Vec<String> {
        let used = used.iter().map(ToString::to_string).collect();
        violations(&BTreeMap::from([(member.to_owned(), used)]))
    }

    #[test]
    fn a_forbidden_sibling_and_an_unknown_member_are_seen() {
        assert!(one("iommu-type1", &["vfio-core"]).is_empty());
        assert_eq!(
            one("iommu-type1", &["vfio-core", "iommu-spapr"]),
            ["iommu-type1 may not depend on iommu-spapr"]
        );
        assert_eq!(
            one("vfio-core", &["vfio-sim"]),
            ["vfio-core may not depend on vfio-sim"]
        );
        assert_eq!(one("newcomer", &[]), ["newcomer is not in the rule"]);
    }
}

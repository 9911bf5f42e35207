//! What can be told of a host whose files somebody has copied by hand: there is no manifest.

use std::path::Path;

use super::Source;

/// What is said where nothing is known.
const UNKNOWN: &str = "unknown";

/// The architecture and the release of its kernel.
pub(super) fn identity(files: &Source) -> (String, String) {
    let line = |path: &str| {
        let bytes = files.read(Path::new(path)).ok()?;
        let text = String::from_utf8(bytes).ok()?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let architecture = line("/proc/sys/kernel/arch")
        .or_else(|| architecture(files).map(str::to_owned))
        .unwrap_or_else(|| UNKNOWN.to_owned());
    let release = line("/proc/sys/kernel/osrelease").unwrap_or_else(|| UNKNOWN.to_owned());
    (architecture, release)
}

/// By the IOMMUs that it has, each kind of which is at home on one architecture.
fn architecture(files: &Source) -> Option<&'static str> {
    const KINDS: &[(&str, &str)] = &[
        ("dmar", "x86_64"),
        ("ivhd", "x86_64"),
        ("smmu", "aarch64"),
        ("iommu-phb", "ppc64le"),
    ];
    let names = files.list(Path::new("/sys/class/iommu")).ok()?;
    names.iter().find_map(|name| {
        let name = name.to_str()?;
        KINDS
            .iter()
            .find_map(|(kind, architecture)| name.starts_with(kind).then_some(*architecture))
    })
}

/// What is usual: hosts with larger pages exist on arm64, too.
pub(super) fn page_size(architecture: &str) -> usize {
    match architecture {
        "ppc64le" => 65536,
        _ => 4096,
    }
}

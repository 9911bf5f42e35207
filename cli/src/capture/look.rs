//! Looks at what a capture has beside what the queries read. The kernel that is asked notes it down, so that the answers are
//! dropped here.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use vfio_core::kernel::Kernel;
use vfio_core::{CONTAINER_NODE, group_node, host};

use super::contents;
use super::notes::Notes;

/// The node of iommufd.
const IOMMUFD_NODE: &str = "/dev/iommu";

/// Everything that the table of contents names.
pub(super) fn at_contents(kernel: &dyn Kernel) {
    for (directory, names) in contents::directories() {
        for directory in expand(kernel, directory, names) {
            let _ = kernel.list(&directory);
        }
    }
    for (directory, names) in contents::files() {
        for file in expand(kernel, directory, names) {
            let _ = kernel.read(&file);
        }
    }
    for (directory, names) in contents::links() {
        for link in expand(kernel, directory, names) {
            let _ = kernel.read_link(&link);
        }
    }
}

/// The nodes of VFIO, of each group and of each device, and how the processor reaches each device.
pub(super) fn at_groups_and_devices(kernel: &dyn Kernel) {
    for node in [CONTAINER_NODE, IOMMUFD_NODE] {
        let _ = kernel.node(Path::new(node));
    }
    for directory in ["/dev/vfio", "/dev/vfio/devices"].map(Path::new) {
        for name in names(kernel, directory) {
            let _ = kernel.node(&directory.join(name));
        }
    }
    for name in names(kernel, Path::new("/sys/kernel/iommu_groups")) {
        if let Some(id) = name.to_str().and_then(|name| name.parse().ok()) {
            let _ = kernel.node(&group_node(id));
        }
    }
    for name in names(kernel, Path::new("/sys/bus/pci/devices")) {
        if let Some(bdf) = name.to_str().and_then(|name| name.parse().ok()) {
            let _ = host::bridge_windows(kernel, bdf);
            let _ = host::io_space(kernel, bdf);
        }
    }
}

/// Who has which node open.
pub(super) fn at_processes(kernel: &dyn Kernel) {
    for pid in names(kernel, Path::new("/proc")) {
        if !pid.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let process = Path::new("/proc").join(pid);
        let fds = process.join("fd");
        for fd in names(kernel, &fds) {
            let _ = kernel.read_link(&fds.join(fd));
        }
        let _ = kernel.read(&process.join("comm"));
    }
}

/// The links on the way to what was noted: in sysfs, a device is known by a link, and its files are where that leads.
pub(super) fn at_the_way(kernel: &dyn Kernel, notes: &Notes) {
    let sysfs = Path::new("/sys");
    let ways: BTreeSet<PathBuf> = {
        let noted = notes.noted();
        let paths = noted.files.keys().chain(noted.links.keys());
        paths
            .filter_map(|path| path.parent())
            .chain(noted.lists.keys().map(PathBuf::as_path))
            .filter_map(|path| path.strip_prefix(sysfs).ok())
            .flat_map(Path::ancestors)
            .map(|way| sysfs.join(way))
            .filter(|way| !noted.links.contains_key(way))
            .collect()
    };
    for way in ways {
        let _ = kernel.read_link(&way);
    }
}

/// Those names in that directory, where `*` is each name that is there.
fn expand(kernel: &dyn Kernel, directory: &str, wanted: &[&str]) -> Vec<PathBuf> {
    let mut directories = vec![PathBuf::from("/")];
    for part in directory.split('/').filter(|part| !part.is_empty()) {
        directories = directories
            .iter()
            .flat_map(|directory| entries(kernel, directory, part))
            .collect();
    }
    directories
        .iter()
        .flat_map(|directory| {
            wanted
                .iter()
                .flat_map(move |name| entries(kernel, directory, name))
        })
        .collect()
}

fn entries(kernel: &dyn Kernel, directory: &Path, name: &str) -> Vec<PathBuf> {
    match name {
        "*" => {
            let names = names(kernel, directory);
            names.iter().map(|name| directory.join(name)).collect()
        }
        name => vec![directory.join(name)],
    }
}

fn names(kernel: &dyn Kernel, directory: &Path) -> Vec<OsString> {
    kernel.list(directory).unwrap_or_default()
}

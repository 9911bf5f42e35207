//! A large host as a tree of files: what sysfs has of its devices and groups.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

/// Writes so many devices in so many groups, each of them behind a root port of its own bus.
pub(super) fn write(root: &Path, devices: usize, groups: usize) -> io::Result<()> {
    let sys = root.join("sys");
    let all = sys.join("bus/pci/devices");
    let driver = sys.join("bus/pci/drivers/vfio-pci");
    for directory in [
        &all,
        &driver,
        &sys.join("class/iommu/dmar0"),
        &sys.join("class/misc/vfio"),
        &root.join("proc/self"),
    ] {
        fs::create_dir_all(directory)?;
    }
    fs::write(root.join("proc/self/status"), "VmLck:\t0 kB\nCapEff:\t0\n")?;
    for number in 0..devices {
        let bdf = format!(
            "{:04x}:{:02x}:{:02x}.{}",
            number >> 12,
            number >> 8 & 0xf,
            number >> 3 & 0x1f,
            number & 7
        );
        let place = format!("devices/pci0000:00/{bdf}");
        write_device(&sys.join(&place))?;
        symlink(format!("../../../{place}"), all.join(&bdf))?;
        symlink(
            "../../../bus/pci/drivers/vfio-pci",
            sys.join(&place).join("driver"),
        )?;
        let id = number % groups;
        let group = sys.join(format!("kernel/iommu_groups/{id}/devices"));
        fs::create_dir_all(&group)?;
        symlink(format!("../../../../{place}"), group.join(&bdf))?;
        symlink(
            format!("../../../kernel/iommu_groups/{id}"),
            sys.join(&place).join("iommu_group"),
        )?;
    }
    Ok(())
}

/// A network card of Intel's.
fn write_device(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut config = [0_u8; 64];
    config[..4].copy_from_slice(&[0x86, 0x80, 0xd3, 0x10]);
    config[9..12].copy_from_slice(&[0, 0, 2]);
    fs::write(directory.join("config"), config)?;
    let none = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
    for (name, text) in [
        ("vendor", "0x8086\n"),
        ("device", "0x10d3\n"),
        ("class", "0x020000\n"),
        ("revision", "0x00\n"),
        ("subsystem_vendor", "0x8086\n"),
        ("subsystem_device", "0xa01f\n"),
        ("irq", "10\n"),
        ("numa_node", "-1\n"),
        ("resource", &none.repeat(7)),
    ] {
        fs::write(directory.join(name), text)?;
    }
    Ok(())
}

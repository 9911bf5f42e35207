//! Devices go to VFIO and come back, on real kernels; and go there again when the host starts anew.

use std::path::Path;

use anyhow::{Context, Result};

use super::machines::{record, unbound};
use super::tally::Tally;
use crate::lab::FileSpec;
use crate::packages::{self, bundles};

const DISKS: &[&str] = &["nvme", "nvme"];
/// Each behind a host bridge of its own, and so in a group of its own.
const APART: &[&str] = &[
    "nvme",
    "spapr-pci-host-bridge,index=1,id=phb",
    "nvme,bus=phb.0,addr=1",
];

/// What some kernels have as modules, and others have built in.
const MODULES: &[&str] = &["nvme", "crc32c_generic", "ext4"];
const BUILT_IN: &[&str] = &[];

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    for (name, devices, modules, append) in [
        ("x86_64", DISKS, BUILT_IN, None),
        ("aarch64", DISKS, BUILT_IN, None),
        ("pseries", APART, MODULES, Some("disable_ddw")), // H13, H14
        ("powernv9", DISKS, MODULES, None),
    ] {
        let mut request = unbound(name, devices, "bind.sh")?;
        request.modules = modules.iter().map(ToString::to_string).collect();
        request.append = append.map(str::to_owned);
        record(tally, &format!("bind on {name}"), &request);
    }
    refusals(tally)?;
    persist(tally)
}

/// A group of two disks behind a bridge, a network, and a physical function, which vfio-pci does not take while it has
/// virtual ones.
fn refusals(tally: &mut Tally) -> Result<()> {
    let devices = [
        "pcie-pci-bridge,id=bridge",
        "nvme,bus=bridge,addr=1",
        "nvme,bus=bridge,addr=2",
        "virtio-net-pci",
    ];
    let mut request = unbound("x86_64", &devices, "bind-refusals.sh")?;
    request.modules = vec!["virtio_net".to_owned()];
    let physical = [
        "-device",
        "nvme-subsys,id=subsystem",
        "-device",
        "nvme,subsys=subsystem,serial=sriov,sriov_max_vfs=1,sriov_vq_flexible=2,sriov_vi_flexible=1,\
         max_ioqpairs=4,msix_qsize=5,addr=0x1c",
    ];
    request.qemu_args = physical.map(str::to_owned).to_vec();
    record(tally, "bind, refused", &request);
    Ok(())
}

/// Bound at one boot, and again at the next, by Debian's udev: a disk whose driver is built in, and a controller whose
/// driver is a module.
fn persist(tally: &mut Tally) -> Result<()> {
    let udev = packages::prefix(&bundles::UDEV_AMD64, tally.ui)?;
    let disk = tempfile::NamedTempFile::new().context("make a disk")?;
    disk.as_file().set_len(64 << 20).context("make a disk")?;
    for boot in ["first", "second", "third", "exchanged", "undone"] {
        let card = if boot == "exchanged" { "edu" } else { "nvme" };
        let devices = [card, "ich9-ahci", "nvme", "virtio-blk-pci,drive=kept"];
        let mut request = unbound("x86_64", &devices, "bind-persist.sh")?;
        request.modules = vec!["virtio_blk".to_owned()];
        request.command.push(boot.to_owned());
        request
            .files
            .push(FileSpec::parse(&format!("{}:/", udev.display())));
        request.all_modules = true;
        request.memory = Some("1G".to_owned());
        request.qemu_args = kept(disk.path());
        record(tally, &format!("bind --persist, the {boot} boot"), &request);
    }
    Ok(())
}

/// A drive that outlives the machine.
fn kept(file: &Path) -> Vec<String> {
    let file = file.display();
    let drive = format!("driver=raw,node-name=kept,file.driver=file,file.filename={file}");
    vec!["-blockdev".to_owned(), drive]
}

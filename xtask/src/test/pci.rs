//! Devices in a guest, on real kernels: everything of QEMU's that shows something of its own.

use anyhow::Result;

use super::machines::{record, script};
use super::tally::Tally;

/// What there is everywhere but on powernv, where each port has one device.
const ZOO: &[&str] = &[
    "edu",
    "nvme",
    "qemu-xhci",
    "e1000e",
    "pci-testdev,membar=16M",
    "ivshmem-plain,memdev=shared",
    "sdhci-pci",
    "rtl8139",
    "lsi53c895a",
    "pci-serial",
    "virtio-rng-pci,disable-legacy=on",
    "secondary-vga",
    "intel-hda",
];

/// With virtual functions, whose numbers must fit behind its own; QEMU 7 does not have it.
const IGB: &str = "igb";

/// The same on powernv: what is not on PCI Express shares a bus. `edu` would take seconds each time that it is opened.
const ON_PORTS: &[&str] = &[
    "nvme",
    "qemu-xhci",
    "e1000e",
    "pcie-pci-bridge,id=bridge",
    "pci-testdev,membar=16M,bus=bridge,addr=1",
    "ivshmem-plain,memdev=shared,bus=bridge,addr=2",
    "sdhci-pci,bus=bridge,addr=3",
    "rtl8139,bus=bridge,addr=4",
    "lsi53c895a,bus=bridge,addr=5",
    "pci-serial,bus=bridge,addr=6",
    "secondary-vga,bus=bridge,addr=7",
    "intel-hda,bus=bridge,addr=8",
];

/// What `ivshmem` shares.
const SHARED: [&str; 2] = ["-object", "memory-backend-ram,id=shared,size=4M,share=on"];

pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let with_igb: Vec<_> = [IGB].iter().chain(ZOO).copied().collect();
    for (name, devices) in [
        ("x86_64", with_igb.as_slice()),
        ("aarch64", ZOO),
        // With pages of 64 KiB.
        ("pseries", ZOO),
        ("powernv9", ON_PORTS),
    ] {
        let bridges = devices
            .iter()
            .filter(|it| it.contains("bridge,id="))
            .count();
        let named = (1..=devices.len() - bridges).map(|number| match number {
            1 => "--device $BDF".to_owned(),
            number => format!("--device $BDF{number}"),
        });
        let named = named.collect::<Vec<_>>().join(" ");
        let mut request = script(name, devices, &format!("hardware-tests --assigned {named}"))?;
        request.qemu_args = SHARED.map(str::to_owned).to_vec();
        record(tally, &format!("in a guest on {name}"), &request);
    }
    Ok(())
}

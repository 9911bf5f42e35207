//! What must not be in a capture.

use crate::hosts::{DEVICE, Host, capture, packed, text};

/// What is nobody's business.
const CANARY: &str = "canary";

#[test]
fn nothing_secret_is_in_a_capture() {
    let host = Host::with_device();
    let serial = CANARY.repeat(2);
    let mut config = vec![0_u8; 4096];
    config[..0x40].fill(0x5a);
    config[0x34] = 0x40;
    config[0x40..0x48].copy_from_slice(b"\x03\x00\x00\x80cana");
    config[0x100..0x104].copy_from_slice(&[0x03, 0, 1, 0]);
    config[0x104..0x110].copy_from_slice(serial.as_bytes());
    host.file(&format!("{DEVICE}/config"), config);
    for path in [
        &format!("{DEVICE}/vpd"),
        &format!("{DEVICE}/net/{CANARY}0/address"),
        "sys/class/dmi/id/product_serial",
        "sys/firmware/devicetree/base/serial-number",
        "sys/firmware/acpi/tables/DMAR",
        "sys/module/other/parameters/password",
        "proc/7/environ",
        "proc/7/cmdline",
        "proc/8/comm",
        "etc/hostname",
        "etc/passwd",
    ] {
        host.file(path, CANARY);
    }
    host.file(
        "proc/cmdline",
        "iommu=pt root=canary canary=1 ip=canary quiet",
    );
    host.file(
        "proc/self/status",
        "Name:\tcanary\nUid:\t1000\nVmLck:\t 8 kB\nShdPnd:\tcanary\n",
    );
    host.file(
        "proc/iomem",
        "1000-1fff : System RAM\n  1000-10ff : Kernel code canary\n2000-2fff : PCI Bus 0000:00\n",
    );
    host.file("proc/interrupts", " 24:  1  PCI-MSI  0-edge  canary\n");
    host.file(
        "etc/os-release",
        "ID=debian\nNAME=canary\nBUILD_ID=canary\n",
    );
    host.file("proc/7/comm", "qemu\n");
    host.link("proc/7/fd/3", "/dev/vfio/1");
    host.link("proc/7/fd/4", "/home/canary");
    host.link("proc/8/fd/3", "/home/canary");
    // Links of sysfs lead to sysfs; one of a link's own name would be told.
    let archive = capture(&["--root", host.path()]);
    let contents = packed(&archive);
    let all: Vec<u8> = contents.values().flatten().copied().collect();
    let names: String = contents.keys().map(|it| format!("{it}\n")).collect();
    assert!(!names.contains(CANARY), "{names}");
    for secret in [CANARY, "cana"] {
        let found = all.windows(secret.len()).any(|it| it == secret.as_bytes());
        assert!(!found, "{secret} in {:?}", String::from_utf8_lossy(&all));
    }
    // What is no secret is there: nothing was left out by chance.
    let file = |path: &str| contents.get(path).map(|it| text(it));
    for (path, expected) in [
        ("root/proc/cmdline", "iommu=pt\n"),
        ("root/proc/self/status", "Uid:\t1000\nVmLck:\t 8 kB\n"),
        ("root/proc/iomem", "2000-2fff : PCI Bus 0000:00\n"),
        ("root/proc/interrupts", "24: PCI-MSI 0-edge\n"),
        ("root/etc/os-release", "ID=debian\n"),
        ("root/proc/7/comm", "qemu\n"),
        ("root/proc/7/fd/3", "-> /dev/vfio/1"),
    ] {
        assert_eq!(file(path).as_deref(), Some(expected), "{path} of {names}");
    }
    assert!(!names.contains("proc/8"), "{names}");
    let config = &contents[&format!("root/{DEVICE}/config")];
    assert_eq!(
        config[..0x40],
        [&[0x5a; 0x34][..], &[0x40], &[0x5a; 11]].concat()
    );
    assert_eq!(config[0x100..0x104], [0x03, 0, 1, 0]);
}

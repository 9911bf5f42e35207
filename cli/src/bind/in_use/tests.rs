//! What uses a device, on hosts whose sysfs and proc say so.

use vfio_core::host;
use vfio_core::kernel::Kernel;
use vfio_sim::machine::{Device, Group};
use vfio_sim::{Machine, SimKernel};

use super::*;
use crate::bind::overlay::Overlay;

const BDF: &str = "0000:00:05.0";
/// Where sysfs has it, as links in a class say it.
const PLACE: &str = "../../devices/pci0000:00/0000:00:05.0";
const MOUNTS: &str = "/proc/self/mountinfo";
const SWAPS: &str = "/proc/swaps";
const TITLES: &str = "Filename Type Size Used Priority\n";

fn with(device: Device) -> Overlay {
    Overlay::new(SimKernel::new(Machine {
        groups: vec![Group::new(7, [device])],
        ..Machine::x86_64()
    }))
}

fn disk() -> Overlay {
    with(Device::nvme(BDF).driven_by("nvme"))
        .file(SWAPS, TITLES)
        .file(MOUNTS, "22 1 0:20 / /proc rw - proc proc rw\n")
}

/// The same with a block device below it.
fn block(overlay: Overlay, name: &str, number: &str) -> Overlay {
    let class = format!("/sys/class/block/{name}");
    overlay
        .link(&class, &format!("{PLACE}/nvme/nvme0/{name}"))
        .file(&format!("{class}/dev"), format!("{number}\n"))
        .file(
            &format!("{class}/uevent"),
            format!("MAJOR=259\nDEVNAME={name}\n"),
        )
}

fn network() -> Overlay {
    with(Device::nvme(BDF).driven_by("e1000e"))
        .link("/sys/class/net/eth0", &format!("{PLACE}/net/eth0"))
        .link("/sys/class/net/lo", "../../devices/virtual/net/lo")
        .file("/sys/class/net/eth0/flags", "0x1003\n")
        .file("/sys/class/net/eth0/carrier", "1\n")
        .file(
            "/proc/net/route",
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n",
        )
}

fn uses(kernel: &dyn Kernel) -> Uses {
    let device = host::device(kernel, BDF.parse().unwrap()).unwrap();
    Uses::of(kernel, &device)
}

#[track_caller]
fn says(kernel: &dyn Kernel, words: &[&str]) {
    let uses = uses(kernel);
    let found: Vec<_> = uses.found.iter().map(ToString::to_string).collect();
    assert_eq!(found, words, "{uses:?}");
    assert_eq!(uses.warnings, [""; 0]);
}

#[test]
fn a_disk_that_nobody_uses_is_free() {
    says(&block(disk(), "nvme0n1", "259:0"), &[]);
    says(&disk(), &[]);
}

#[test]
fn a_partition_is_mounted() {
    let host = block(block(disk(), "nvme0n1", "259:0"), "nvme0n1p1", "259:1");
    let mounts = "30 1 259:1 / /srv/a\\040b rw shared:1 - ext4 /dev/nvme0n1p1 rw\n\
                  31 1 259:10 / /other rw - ext4 /dev/sda rw\nnonsense\n";
    let host = host.file(MOUNTS, mounts);
    says(&host, &[r"its disk nvme0n1p1 is mounted at /srv/a\040b"]);
    assert!(!uses(&host).found[0].is_vital());
}

#[test]
fn a_mount_that_shows_a_number_of_its_own_is_found_by_its_source() {
    let host = block(disk(), "nvme0n1p2", "259:2")
        .file(MOUNTS, "30 1 0:44 /@ / rw - btrfs /dev/nvme0n1p2 rw\n");
    says(&host, &["its disk nvme0n1p2 is mounted at /"]);
    assert!(uses(&host).found[0].is_vital());
}

#[test]
fn multipath_has_the_disk_elsewhere() {
    let head = "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1";
    let host = block(disk(), "nvme0c1n1", "259:9")
        .link("/sys/class/block/nvme0n1", head)
        .link("/sys/class/block/nvme0n1p1", &format!("{head}/nvme0n1p1"))
        .file("/sys/class/block/nvme0n1p1/dev", "259:4\n")
        .file(MOUNTS, "30 1 259:4 / /srv rw - ext4 /dev/nvme0n1p1 rw\n");
    says(&host, &["its disk nvme0n1p1 is mounted at /srv"]);
}

#[test]
fn what_is_made_of_a_disk_is_looked_at() {
    let host = || {
        block(disk(), "nvme0n1", "259:0")
            .file("/sys/class/block/nvme0n1/holders/md0", "")
            .file("/sys/class/block/md0/holders/dm-1", "")
            .file("/sys/class/block/dm-1/holders/md0", "") // a circle, which no kernel makes
            .file("/sys/class/block/dm-1/dev", "254:1\n")
            .file("/sys/class/block/dm-1/dm/name", "vg-home\n")
    };
    let mounted = host().file(
        MOUNTS,
        "30 1 254:1 / /home rw - xfs /dev/mapper/vg-home rw\n",
    );
    says(
        &mounted,
        &["its disk nvme0n1 (vg-home, dm-1) is mounted at /home"],
    );
    let swap = host().file(SWAPS, format!("{TITLES}/dev/dm-1 partition 1024 0 -2\n"));
    says(
        &swap,
        &["the host swaps to its disk nvme0n1 (vg-home, dm-1)"],
    );
    assert!(uses(&swap).found[0].is_vital());
    let named = host().link("/dev/mapper/vg-home", "../dm-1").file(
        SWAPS,
        format!("{TITLES}/dev/mapper/vg-home partition 1024 0 -2\n"),
    );
    says(
        &named,
        &["the host swaps to its disk nvme0n1 (vg-home, dm-1)"],
    );

    let idle = block(disk(), "nvme0n1", "259:0")
        .file("/sys/class/block/nvme0n1/holders/dm-0", "")
        .file("/sys/class/block/dm-0/dm/name", "crypt\n");
    says(&idle, &["its disk nvme0n1 is a part of crypt, dm-0"]);
    let btrfs =
        block(disk(), "nvme0n1", "259:0").file("/sys/fs/btrfs/some-uuid/devices/nvme0n1", "");
    says(
        &btrfs,
        &["its disk nvme0n1 is a part of the btrfs some-uuid"],
    );
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let host = with(Device::nvme(BDF).driven_by("nvme"));
    let uses = uses(&block(host, "nvme0n1", "259:0"));
    assert_eq!(uses.found, []);
    assert!(
        uses.warnings[0].contains("what is mounted is unknown"),
        "{uses:?}"
    );
}

#[test]
fn the_default_route_says_most() {
    let titles = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n";
    let subnet = "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    let default = "eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
    let route = |lines: &str| network().file("/proc/net/route", format!("{titles}{lines}"));
    says(&route(subnet), &["a route is over its interface eth0"]);
    let both = route(&format!("{default}{subnet}"));
    says(&both, &["the default route is over its interface eth0"]);
    let others = uses(&route(&subnet.replace("eth0", "eth1")));
    assert_eq!(others.found, []);
    assert_eq!(
        others.warnings,
        [format!("{BDF}: its interface eth0 is up and has a link")]
    );
}

#[test]
fn routes_over_what_is_made_of_an_interface_count() {
    let zeros = "0".repeat(32);
    let line = |destination: &str, len: &str, interface: &str| {
        format!(
            "{destination} {len} {zeros} 00 {zeros} 00000400 00000001 00000000 00000001 {interface}\n"
        )
    };
    let link_local = format!("fe80{}", "0".repeat(28));
    let multicast = format!("ff00{}", "0".repeat(28));
    let own = line(&link_local, "40", "eth0") + &line(&multicast, "08", "eth0");
    assert_eq!(
        uses(&network().file("/proc/net/ipv6_route", &own)).found,
        []
    );
    let host = network()
        .file("/sys/class/net/eth0/upper_br0/ifindex", "")
        .file("/proc/net/ipv6_route", own + &line(&zeros, "00", "br0"));
    says(
        &host,
        &["the default route is over its interface eth0 (br0)"],
    );
}

#[test]
fn the_display_of_the_host_is_in_use() {
    let place = format!("/sys/bus/pci/devices/{BDF}");
    let host = || with(Device::nvme(BDF).driven_by("i915"));
    let boot = host().file(&format!("{place}/boot_vga"), "1\n");
    says(&boot, &["it is the display that this host booted with"]);
    let second = |bound: &str| {
        host()
            .file(&format!("{place}/boot_vga"), "0\n")
            .link("/sys/class/graphics/fb1", &format!("{PLACE}/graphics/fb1"))
            .file(
                "/sys/class/vtconsole/vtcon1/name",
                "(M) frame buffer device\n",
            )
            .file("/sys/class/vtconsole/vtcon1/bind", bound)
    };
    says(&second("1\n"), &["the console is on its fb1"]);
    says(&second("0\n"), &[]);
}

#[test]
fn virtual_functions_would_go() {
    let file = format!("/sys/bus/pci/devices/{BDF}/sriov_numvfs");
    let host = |count| with(Device::nvme(BDF).driven_by("ixgbe")).file(&file, count);
    says(
        &host("4\n"),
        &["it has 4 virtual functions, which would go"],
    );
    says(&host("0\n"), &[]);
}

#[test]
fn whoever_has_a_node_open_is_named() {
    let holding = |host: Overlay, node: &str| {
        host.link("/proc/4242/fd/3", node)
            .file("/proc/4242/comm", "qemu\n")
            .file("/proc/self-made/fd/1", "")
    };
    let vfio = holding(with(Device::nvme(BDF)), "/dev/vfio/7");
    says(&vfio, &["qemu (process 4242) has /dev/vfio/7 open"]);
    let disk = holding(block(disk(), "nvme0n1", "259:0"), "/dev/nvme0n1");
    says(&disk, &["qemu (process 4242) has /dev/nvme0n1 open"]);
    says(&holding(with(Device::nvme(BDF)), "/dev/vfio/8"), &[]);
}

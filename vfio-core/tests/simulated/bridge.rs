//! Host bridges, as device trees describe them.

use proptest::prelude::*;
use vfio_core::ErrorKind;
use vfio_core::host::{BridgeWindow, BusSpace, IoSpace, bridge_windows, io_space};
use vfio_sim::{Machine, SimKernel};

use crate::overlay::Overlay;

const BDF: &str = "0000:01:00.0";
const TREE: &str = "/sys/firmware/devicetree/base";

/// A `ranges` property of numbers of 32 bits.
fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// A device at that place of the tree, the bridges on the way to it.
fn host(machine: Machine, node: &str, ranges: &[u8]) -> Overlay {
    let bridge = node.split('/').next().unwrap();
    Overlay::new(SimKernel::new(machine))
        .link(
            &format!("/sys/bus/pci/devices/{BDF}/of_node"),
            &format!("../../../firmware/devicetree/base/{node}"),
        )
        .file(&format!("{TREE}/{bridge}/device_type"), "pci\0")
        .file(&format!("{TREE}/{bridge}/ranges"), ranges)
        .file(&format!("{TREE}/{bridge}/#size-cells"), cells(&[2]))
        .file(&format!("{TREE}/#address-cells"), cells(&[2]))
}

fn window(space: BusSpace, bus: u64, cpu: u64, size: u64) -> BridgeWindow {
    BridgeWindow {
        space,
        bus,
        cpu,
        size,
    }
}

/// As QEMU's `pseries` has it.
#[test]
fn a_hypervisors_guest_has_its_io_space_in_memory() {
    let ranges = cells(&[
        0x0100_0000,
        0,
        0,
        0x2000,
        0,
        0,
        0x1_0000, //
        0x0200_0000,
        0,
        0x8000_0000,
        0x2000,
        0x8000_0000,
        0,
        0x8000_0000, //
        0x0300_0000,
        0x2100,
        0,
        0x2100,
        0,
        0x100,
        0,
    ]);
    let host = host(
        Machine::pseries(),
        "pci@800000020000000/ethernet@4",
        &ranges,
    );
    let bdf = BDF.parse().unwrap();
    let io = window(BusSpace::Io, 0, 0x2000_0000_0000, 0x1_0000);
    assert_eq!(io_space(&host, bdf).unwrap(), IoSpace::Window(io));
    let low = window(
        BusSpace::Memory32,
        0x8000_0000,
        0x2000_8000_0000,
        0x8000_0000,
    );
    let high = window(
        BusSpace::Memory64,
        0x2100_0000_0000,
        0x2100_0000_0000,
        1 << 40,
    );
    assert_eq!(bridge_windows(&host, bdf).unwrap(), [io, low, high]);
}

/// As QEMU's `powernv9` has it. A bridge between buses has ranges of its own.
#[test]
fn bare_metal_has_no_io_space() {
    let ranges = cells(&[0x0200_0000, 0, 0x8000_0000, 0x600c0, 0, 0, 0x7fff_0000]);
    let host = host(
        Machine::powernv9(),
        "pciex@600c3c0000000/pci@0/ethernet@0",
        &ranges,
    );
    let host = host.file(
        &format!("{TREE}/pciex@600c3c0000000/device_type"),
        "pciex\0",
    );
    let inner = format!("{TREE}/pciex@600c3c0000000/pci@0");
    let host = host
        .file(&format!("{inner}/device_type"), "pci\0")
        .file(&format!("{inner}/ranges"), cells(&[0x0100_0000]))
        .file(
            &format!("{TREE}/pciex@600c3c0000000/ibm,opal-m64-window"),
            cells(&[0x60000, 0, 0x60000, 0, 0x40, 0]),
        );
    let bdf = BDF.parse().unwrap();
    assert_eq!(io_space(&host, bdf).unwrap(), IoSpace::None);
    let memory = window(
        BusSpace::Memory32,
        0x8000_0000,
        0x6_00c0_0000_0000,
        0x7fff_0000,
    );
    let start = 0x6_0000_0000_0000;
    let large = window(BusSpace::Memory64, start, start, 0x40_0000_0000);
    assert_eq!(bridge_windows(&host, bdf).unwrap(), [memory, large]);
}

/// As arm64 has it: the device has no node, and the bridge that it is behind has.
#[test]
fn a_device_without_a_node_has_that_of_its_bridge() {
    let ranges = cells(&[0x0100_0000, 0, 0, 0, 0x3eff_0000, 0, 0x1_0000]);
    let host = host(Machine::aarch64(), "pcie@10000000", &ranges);
    let behind = "/sys/devices/platform/4010000000.pcie";
    let bdf = "0000:00:09.0";
    let host = host
        .link(
            &format!("/sys/bus/pci/devices/{bdf}"),
            &format!("../../..{}/pci0000:00/{bdf}", &behind[4..]),
        )
        .link(
            &format!("{behind}/of_node"),
            "../../../firmware/devicetree/base/pcie@10000000",
        );
    let io = window(BusSpace::Io, 0, 0x3eff_0000, 0x1_0000);
    let found = io_space(&host, bdf.parse().unwrap()).unwrap();
    assert_eq!(found, IoSpace::Window(io));
}

#[test]
fn x86_has_ports_and_no_tree() {
    let sim = SimKernel::new(Machine::x86_64());
    let bdf = "0000:00:04.0".parse().unwrap();
    assert_eq!(io_space(&sim, bdf).unwrap(), IoSpace::Ports);
    let error = bridge_windows(&sim, bdf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let error = io_space(&SimKernel::new(Machine::aarch64()), bdf).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[test]
fn a_tree_that_makes_no_sense_is_an_error() {
    let bdf = BDF.parse().unwrap();
    for ranges in [cells(&[1, 2, 3]), vec![0; 29]] {
        let host = host(Machine::pseries(), "pci@0/ethernet@4", &ranges);
        let error = bridge_windows(&host, bdf).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Kernel, "{error}");
    }
    let odd = host(Machine::pseries(), "pci@0/x@4", &[])
        .file(&format!("{TREE}/pci@0/#size-cells"), cells(&[7]));
    assert_eq!(
        bridge_windows(&odd, bdf).unwrap_err().kind(),
        ErrorKind::Kernel
    );
    let outside =
        host(Machine::pseries(), "soc/x@4", &[]).file(&format!("{TREE}/soc/device_type"), "soc\0");
    assert_eq!(
        bridge_windows(&outside, bdf).unwrap_err().kind(),
        ErrorKind::Kernel
    );
}

proptest! {
    #[test]
    fn any_tree_is_read_without_harm(ranges: Vec<u8>, parent: Vec<u8>, size: Vec<u8>) {
        let host = host(Machine::pseries(), "pci@0/x@4", &ranges)
            .file(&format!("{TREE}/#address-cells"), parent)
            .file(&format!("{TREE}/pci@0/#size-cells"), size);
        let _ = bridge_windows(&host, BDF.parse().unwrap());
    }
}

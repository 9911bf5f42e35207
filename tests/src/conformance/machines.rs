//! The simulated machines that every clause is asked of.

use vfio_sim::Machine;
use vfio_sim::machine::{Bar, Device, Group, Interrupts, Sriov};

/// The machines of the lab, and those with what the lab plugs in beside an `edu` and an `nvme`, so that each clause
/// finds a host with what it needs.
pub fn machines() -> Vec<Machine> {
    let assorted = || Group::new(99, [Device::assorted("0009:00:00.0")]);
    let second_bridge = || Group::new(98, [Device::nvme("0001:00:01.0")]);
    vec![
        with(Machine::x86_64(), [assorted()]),
        with(Machine::aarch64(), [assorted()]),
        with(Machine::pseries(), [second_bridge(), assorted()]),
        with(Machine::powernv9(), [assorted()]),
        crowded(),
    ]
}

fn with(mut machine: Machine, groups: impl IntoIterator<Item = Group>) -> Machine {
    machine.groups.extend(groups);
    machine
}

/// A bus that is reset with all on it, virtual functions, a port that the kernel drives, and devices that are alone on
/// their buses.
fn crowded() -> Machine {
    let serial = Device {
        bars: [Some(Bar::io(8)), None, None, None, None, None],
        interrupts: Interrupts {
            line: true,
            ..Interrupts::default()
        },
        express: false,
        function_reset: false,
        ..Device::bare("0000:01:03.0", 0x1b36, 0x0002, 0x07_0002)
    };
    let bridged = [
        Device::edu("0000:01:01.0"),
        Device::edu("0000:01:02.0"),
        serial,
    ];
    let part = |bdf, sriov| Device {
        sriov,
        ..Device::nvme(bdf)
    };
    let functions = [
        part("0000:02:00.0", Sriov::Physical),
        part("0000:02:10.0", Sriov::Virtual("0000:02:00.0".into())),
        Device::bare("0000:00:07.0", 0x1b36, 0x000c, 0x06_0400).driven_by("pcieport"),
    ];
    let others = Sriov::Virtual("0000:00:1c.0".into());
    let groups = [
        Group::new(4, bridged.map(|device| device.on_reset_bus(1))),
        Group::new(5, functions),
        Group::new(6, [part("0000:00:1c.1", others)]),
        Group::new(7, [Device::nvme("0000:03:00.0").on_reset_bus(3)]),
        Group::new(8, [Device::edu("0000:04:00.0").on_reset_bus(4)]),
    ];
    Machine {
        name: "crowded".into(),
        ..with(Machine::x86_64(), groups)
    }
}

//! The simulated machines that every clause is asked of.

use vfio_sim::Machine;
use vfio_sim::machine::{Device, Group};

/// The machines of the lab, with more devices, so that each clause finds one that it needs.
pub fn machines() -> Vec<Machine> {
    let second_bridge = Group::new(1, [Device::nvme("0001:00:01.0")]);
    vec![
        with(Machine::x86_64(), 10),
        with(Machine::aarch64(), 10),
        Machine {
            groups: [Machine::pseries().groups, vec![second_bridge]].concat(),
            ..Machine::pseries()
        },
        with(Machine::powernv9(), 10),
    ]
}

/// The same with a device of many parts, and two that share a group behind a bridge.
fn with(machine: Machine, group: u32) -> Machine {
    let behind_bridge = ["0000:0a:01.0", "0000:0a:02.0"];
    let shared = behind_bridge.map(|bdf| Device::edu(bdf).on_reset_bus(0x0a));
    let more = vec![
        Group::new(group, [Device::assorted("0000:00:1a.0")]),
        Group::new(group + 1, shared),
    ];
    Machine {
        groups: [machine.groups.clone(), more].concat(),
        ..machine
    }
}

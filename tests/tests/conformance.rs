//! What the page of kernel behaviours says, of every machine that is simulated.

use libtest_mimic::{Arguments, Failed, Trial};
use vfio_sim::Machine;
use vfio_sim::machine::{Bar, Device, Group, Interrupts, Sriov};
use vfio_tests::conformance::{Conformance, Outcome, all};

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1); // where a clause fails is learnt by the process's panic hook
    let machines = Machine::all()
        .into_iter()
        .filter(|machine| machine.name != "noiommu")
        .chain([crowded()]);
    let trials = machines.flat_map(|machine| {
        all().map(move |clause| {
            let machine = machine.clone();
            Trial::test(
                format!("{}: {clause}", machine.name),
                move || match Conformance::simulated(machine).ask(clause) {
                    Outcome::Differ(said) => Err(Failed::from(said)),
                    _ => Ok(()),
                },
            )
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// What the lab plugs in beside an `edu` and an `nvme`: a bus that is reset with all on it, virtual functions, a port
/// that the kernel drives, and devices that are alone on their buses.
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
    let mut machine = Machine {
        name: "crowded".into(),
        ..Machine::x86_64()
    };
    machine.groups.extend([
        Group::new(4, bridged.map(|device| device.on_reset_bus(1))),
        Group::new(5, functions),
        Group::new(6, [part("0000:00:1c.1", others)]),
        Group::new(7, [Device::nvme("0000:03:00.0").on_reset_bus(3)]),
        Group::new(8, [Device::edu("0000:04:00.0").on_reset_bus(4)]),
    ]);
    machine
}

//! Traces: of real machines, which the simulation answers alike; what is in them and what is not. The program that records
//! and checks them is run by the tests of `hardware_tests.rs`: a process that is started here would keep simulated fds open.
//!
//! The fixtures are what the lab's machines answered, which are made again with
//!
//! ```text
//! cargo xtask lab MACHINE --device edu --device nvme -- sh -c 'hardware-tests --record /tmp/t --device …; cat /tmp/t'
//! ```
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::sync::{Arc, Mutex};

use vfio_sim::machine::{Device, Group};
use vfio_sim::wrap::{Again, Call, Outcome, Value, Watch, Watched};
use vfio_sim::{Machine, SimKernel};
use vfio_tests::recording;

/// Each machine of the lab, and how many calls its trace has at least.
const TRACES: [(&str, &str, usize); 4] = [
    ("x86_64", include_str!("../fixtures/x86_64.trace"), 500),
    ("aarch64", include_str!("../fixtures/aarch64.trace"), 500),
    ("pseries", include_str!("../fixtures/pseries.trace"), 300),
    ("powernv9", include_str!("../fixtures/powernv9.trace"), 300),
];

fn said(again: &Again) -> String {
    let differences = again.differences.iter().map(ToString::to_string);
    let lines: Vec<_> = differences.chain(again.not_made.iter().cloned()).collect();
    lines.join("\n")
}

/// Records the whole of a simulated machine.
fn record(machine: &Machine) -> String {
    let sim = SimKernel::new(machine.clone());
    let text = recording::record(Arc::new(sim.clone()), &bound(machine)).unwrap();
    assert!(sim.is_idle(), "{:?}", sim.open_objects());
    assert!(
        sim.hazards().is_empty(),
        "{}: {:?}",
        machine.name,
        sim.hazards()
    );
    text
}

fn bound(machine: &Machine) -> Vec<vfio_core::host::Bdf> {
    let devices = machine.groups.iter().flat_map(|group| &group.devices);
    let bound = devices.filter(|device| device.driver.as_deref() == Some("vfio-pci"));
    bound.map(|device| device.bdf.parse().unwrap()).collect()
}

#[test]
fn the_simulation_answers_as_the_machines_of_the_lab_did() {
    for (machine, trace, calls) in TRACES {
        let again = recording::check(trace).unwrap();
        assert!(again.is_same(), "{machine}:\n{}", said(&again));
        assert!(again.made > calls, "{machine}: {}", again.made);
        assert!(trace.contains(" group ") && trace.contains("VFIO_DEVICE_GET_INFO"));
    }
}

#[test]
fn an_answer_that_was_changed_is_reported() {
    let (_, trace, _) = TRACES[0];
    for (call, from, to) in [
        ("open /dev/vfio/1 ", "E16", "E1"),                  // an errno
        ("VFIO_CHECK_EXTENSION 0 =9 ", "-> 1", "-> 0"),      // a number
        ("VFIO_GROUP_GET_STATUS 1 x08", "000001", "000003"), // a byte that was written
        ("VFIO_IOMMU_MAP_DMA ", "-> 0", "-> E17"),
        ("VFIO_DEVICE_GET_IRQ_INFO ", "-> 0", "-> E22"),
    ] {
        let mut changed = false;
        let lines = trace.lines().map(|line| match line.rfind(from) {
            Some(at) if !changed && line.starts_with(call) => {
                changed = true;
                format!("{}{to}{}", &line[..at], &line[at + from.len()..])
            }
            _ => line.to_owned(),
        });
        let text: Vec<_> = lines.collect();
        assert!(changed, "{call}");
        let again = recording::check(&text.join("\n")).unwrap();
        let [difference] = &again.differences[..] else {
            unreachable!("{call}: {}", said(&again));
        };
        assert!(
            difference.asked.starts_with(call.trim_end()),
            "{difference}"
        );
        assert_ne!(difference.recorded, difference.simulated);
        assert!(again.not_made.is_empty());
    }
}

#[test]
fn what_could_not_be_opened_is_said_and_what_depends_on_it() {
    let (_, trace, _) = TRACES[0];
    // As if the host had a group more.
    let text = trace.replace("open /dev/vfio/1 ", "open /dev/vfio/77 ");
    let again = recording::check(&text).unwrap();
    assert!(again.differences[0].asked.ends_with("/77"));
    assert_eq!(again.differences[0].simulated, "E2");
    let depends = |asked: &String| asked.starts_with("VFIO_DEVICE_GET_INFO 2 ");
    assert!(again.not_made.iter().any(depends) && !again.is_same());
}

#[test]
fn every_simulated_machine_is_described_by_its_trace() {
    let others = Machine {
        groups: vec![
            Group::new(
                4,
                [
                    Device::assorted("0000:02:00.0").on_reset_bus(2),
                    Device::bare("0000:02:00.1", 0x8086, 0x1521, 0x02_0000).on_reset_bus(2),
                ],
            ),
            // Not viable.
            Group::new(
                9,
                [
                    Device::assorted("0000:03:00.0"),
                    Device::nvme("0000:03:01.0").driven_by("nvme"),
                ],
            ),
        ],
        ..Machine::x86_64()
    };
    let machines = [
        Machine::x86_64(),
        Machine::aarch64(),
        Machine::pseries(),
        Machine::powernv9(),
        others,
    ];
    for machine in machines {
        let again = recording::check(&record(&machine)).unwrap();
        assert!(again.is_same(), "{}:\n{}", machine.name, said(&again));
        assert!(again.made > 100);
    }
}

/// Remembers where memory was mapped.
#[derive(Debug, Default)]
struct Addresses(Mutex<Vec<u64>>);

impl Watch for Addresses {
    fn after(&self, _: &Call<'_>, outcome: &Outcome<'_>) {
        if let Ok(Value::Address(addr)) = outcome.answer {
            self.0.lock().unwrap().push(addr.addr().get() as u64);
        }
    }
}

#[test]
fn neither_serial_numbers_nor_addresses_get_into_a_trace() {
    const SECRET: u32 = 0x5ec2_e7a5;
    let device = Device::bare("0000:02:00.0", 0x8086, 0x1521, 0x02_0000).with_config([
        (0x60, 0x0003_a001), // power management, and the next is at 0xa0
        (0xa0, 0x0000_b003), // vital product data, and the next is at 0xb0
        (0xa4, SECRET),
        (0xb0, 0x0000_0009), // a vendor's
        (0xb4, SECRET),
        (0x100, 0x1401_0003), // the serial number, and the next is at 0x140
        (0x104, SECRET),
        (0x108, SECRET),
        (0x140, 0x0001_0002), // virtual channels
        (0x144, SECRET),
    ]);
    let machine = Machine::x86_64().with_devices([device]);
    let addresses = Arc::new(Addresses::default());
    let kernel = Watched::new(Arc::new(SimKernel::new(machine.clone())), addresses.clone());
    let text = recording::record(Arc::new(kernel), &bound(&machine)).unwrap();

    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    // What is around it is there.
    assert!(
        text.contains(&hex(&0x1401_0003_u32.to_le_bytes())),
        "{text}"
    );
    assert!(!text.contains(&hex(&SECRET.to_le_bytes())), "{text}");
    let addresses = addresses.0.lock().unwrap();
    assert!(!addresses.is_empty());
    for address in addresses.iter() {
        // The pages of one mapping differ in their lowest three bytes.
        let page = hex(&address.to_le_bytes()[3..6]);
        assert!(!text.contains(&page), "{address:#x} is in\n{text}");
        assert!(!text.contains(&format!("{address:x}")));
    }
}

//! Two devices of one guest, whose VMM tells each of what comes of the other.

use std::ops::Range;
use std::sync::{Arc, Barrier, Mutex};
use std::thread::scope;

use pci_device::vmm::{Call, Event, Recorder, Trap, Traps};
use pci_device::{AssignedDevice, Settings};
use vfio_core::Result;
use vfio_sim::Machine;
use vfio_sim::machine::Device;

use super::rig::*;

const OTHER: &str = "0000:00:06.0";

/// A bus that calls addresses free, and tells the devices when they no longer are.
#[derive(Debug, Default)]
struct Bus {
    recorder: Arc<Recorder>,
    devices: Mutex<Vec<AssignedDevice>>,
    /// Where those who place something meet, so that both are in the middle of it.
    meeting: Mutex<Option<Arc<Barrier>>>,
}

impl Traps for Bus {
    fn add(&self, trap: &Trap) -> Result<()> {
        let meeting = self.meeting.lock().unwrap().clone();
        if let Some(barrier) = meeting {
            barrier.wait();
        }
        let devices = self.devices.lock().unwrap().clone();
        for other in devices.iter().filter(|it| it.device().bdf() != trap.device) {
            other.address_space_changed();
        }
        self.recorder.add(trap)
    }

    fn remove(&self, trap: &Trap) {
        self.recorder.remove(trap);
    }

    fn is_free(&self, range: &Range<u64>) -> bool {
        self.recorder.is_free(range)
    }
}

#[test]
fn both_are_placed_at_once() {
    let machine = Machine::x86_64().with_devices([BDF, OTHER].map(Device::assorted));
    let bus = Arc::new(Bus::default());
    let rig = Rig::on(machine, &Settings::default(), |vmm| vmm.traps = bus.clone());
    let other = rig.vfio.open(OTHER.parse().unwrap()).unwrap();
    let mut given = recorded(&rig.vmm);
    given.traps = bus.clone();
    let other = AssignedDevice::new(&other, given, &Settings::default()).unwrap();
    *bus.devices.lock().unwrap() = vec![rig.device.clone(), other.clone()];
    let devices = [(&rig.device, 0xfb00_0000_u32), (&other, 0xfc00_0000)];
    // Ports alone, so that one BAR is placed at a time.
    for (device, at) in devices {
        device.write_config(0x14, &(at >> 16).to_le_bytes());
    }
    *bus.meeting.lock().unwrap() = Some(Arc::new(Barrier::new(2)));
    scope(|threads| {
        for (device, _) in devices {
            threads.spawn(move || device.write_config(4, &IO.to_le_bytes()));
        }
    });
    *bus.meeting.lock().unwrap() = None;
    assert_eq!(bus.recorder.traps().len(), 2);
    bus.devices.lock().unwrap().clear();
}

/// A bus that holds its devices lets them go.
#[test]
fn a_device_is_released_although_the_bus_holds_it() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(0, 0xfeb0_0000, false);
    rig.set_command(MEMORY);
    let held = rig.device.clone();
    held.release();
    assert_eq!((rig.vmm.traps(), rig.vmm.slices()), (vec![], vec![]));
    rig.set_command(MEMORY);
    assert_eq!((rig.read(0, 0), rig.vmm.traps()), ([0xff; 4], vec![]));
    rig.device.reset().unwrap();
    rig.set_command(MEMORY);
    assert_eq!(rig.vmm.traps(), []);
}

/// All that is malformed is told, at once.
#[test]
fn every_fault_is_told() {
    let faults = [(0x34, 0xfc), (0xfc, 0xf801), (0xf8, 0x4005)];
    let rig = Rig::new(Device::assorted(BDF).with_config(faults));
    let [Call::Event(Event::Malformed(told))] = &rig.told[..] else {
        panic!("{:?}", rig.told);
    };
    assert_eq!(told.split("; ").count(), 2, "{told}");
}

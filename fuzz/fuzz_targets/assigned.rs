//! A guest that writes anything into the config space and the BARs of its device: whatever it does, what it has of the device
//! is where its registers say, and nothing is left when the device goes.
#![no_main]

use std::sync::{Arc, LazyLock};

use iommu_type1::TYPE1_V2;
use libfuzzer_sys::fuzz_target;
use pci_device::bar::BarRegister;
use pci_device::vmm::{IoSpace, Recorder};
use pci_device::{AssignedDevice, Settings, Vmm, reset_guest};
use vfio_core::iommu::Registry;
use vfio_core::{Device, Vfio};
use vfio_sim::machine::Device as Described;
use vfio_sim::{Machine, SimKernel};

#[path = "../../pci-device/tests/assigned/placed.rs"]
mod placed;

const BDF: &str = "0000:00:05.0";
const RAM: std::ops::Range<u64> = 0..0x8000_0000;

/// The kernel, which every run finds as it was: a device that is closed and opened is reset.
static VFIO: LazyLock<(SimKernel, Vfio)> = LazyLock::new(|| {
    let kernel = SimKernel::new(Machine::x86_64().with_devices([Described::assorted(BDF)]));
    let registry = Registry::of([TYPE1_V2]).expect("one backend");
    (kernel.clone(), Vfio::on(Arc::new(kernel), registry))
});

fn open() -> Device {
    VFIO.0.take_log(); // which would grow with every call
    let bdf = BDF.parse().expect("an address");
    VFIO.1.open(bdf).expect("the simulation has this device")
}

/// What a guest does: what, where, how much, and with which bytes.
const STEP: usize = 12;

fn carry_out(device: &AssignedDevice, step: &[u8; STEP]) {
    let [what, low, high, len, data @ ..] = *step;
    let at = u16::from_le_bytes([low, high]);
    let bar = if what & 0x70 == 0x70 {
        BarRegister::Rom
    } else {
        BarRegister::Bar(what >> 4)
    };
    let bytes = &data[..usize::from(len % 9)];
    let mut read = [0; 8];
    let read = &mut read[..usize::from(len % 9)];
    match what % 8 {
        0..4 => device.write_config(if len & 0x80 == 0 { at % 0x100 } else { at }, bytes),
        4 => device.read_config(at, read),
        5 => device.write(bar, at.into(), bytes),
        6 => device.read(bar, at.into(), read),
        _ if len == 0 => drop(reset_guest(std::slice::from_ref(device))),
        _ => device.address_space_changed(),
    }
}

/// As firmware leaves it: the BARs and the ROM are somewhere, and switched on.
fn place(device: &AssignedDevice) {
    let apart = (0x9000_0000_u32..).step_by(1 << 24);
    for (register, address) in BarRegister::all().zip(apart) {
        device.write_config(register.offset(), &(address | 1).to_le_bytes());
    }
    device.write_config(4, &[7]);
}

fuzz_target!(|steps: &[u8]| {
    let vmm = Arc::new(Recorder::with_ram([RAM]));
    let given = Vmm {
        traps: vmm.clone(),
        slots: vec![vmm.clone()],
        io_space: IoSpace::Ports,
        interrupts: vmm.clone(),
        observer: vmm.clone(),
    };
    let device = AssignedDevice::new(&open(), given, &Settings::default()).expect("it makes sense");
    place(&device);
    for step in steps.chunks_exact(STEP).filter_map(<[u8]>::first_chunk) {
        carry_out(&device, step);
        placed::check(&device, &vmm, &RAM, 4096, &IoSpace::Ports);
    }
    drop(device);
    assert_eq!((vmm.traps(), vmm.slices()), (vec![], vec![]));
});

//! F81, F85, F90: interrupts, where a device is needed that sends any message, and what a simulated kernel alone is asked.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{
    self, DeviceIoEventFd, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX, TYPE1V2_IOMMU,
};
use vfio_sim::machine::Device;
use vfio_sim::{Hazard, Machine};

use crate::door::{call, ioctl};
use crate::probe::{self, KEEP, SEND};
use crate::rig::{Open, Rig, Signal};

const INVALID: Result<u32, Errno> = Err(Errno::INVAL);

fn static_msix() -> (Rig, Open) {
    let machine = Machine {
        dynamic_msix: false,
        ..Machine::x86_64()
    };
    let rig = Rig::new(
        machine.with_devices([probe::device(probe::NAME)]),
        TYPE1V2_IOMMU,
    );
    let device = rig.open(probe::NAME);
    device.master(true);
    (rig, device)
}

fn signals<const N: usize>(rig: &Rig) -> [Signal; N] {
    std::array::from_fn(|_| Signal::new(&rig.sim))
}

#[test]
fn f81_a_struct_that_is_not_all_there() {
    let (rig, device) = Rig::probe();
    let mut short = [0; 19];
    short[0] = 19;
    let answer = ioctl(
        &rig.sim,
        &device.device,
        uapi::DEVICE_SET_IRQS,
        Arg::In(&short),
    );
    assert_eq!(answer, Err(Errno::FAULT));
}

#[test]
fn f85_msi_is_delivered_by_vector() {
    let (rig, device) = Rig::probe();
    let all: [Signal; 4] = signals(&rig);
    device
        .trigger(MSI, 0, &[all[0].number(), -1, all[2].number()])
        .unwrap();
    for vector in 0..4 {
        device.set(SEND, vector);
    }
    assert_eq!([0, 1, 2, 3].map(|n: usize| all[n].count()), [1, 0, 1, 0]);
    device.trigger(MSI, 0, &[-1]).unwrap();
    device.set(SEND, 0);
    assert_eq!(all[0].count(), 0, "taken away");
    device.master(false);
    device.set(SEND, 2);
    assert_eq!(all[2].count(), 0, "a message is a write to memory");
}

#[test]
fn f85_f85b_msix_has_holes_and_grows() {
    let (rig, device) = Rig::probe();
    let all: [Signal; 8] = signals(&rig);
    device.trigger(MSIX, 5, &[all[5].number()]).unwrap();
    for n in [0, 7] {
        assert_eq!(
            device.trigger(MSIX, n, &[all[n as usize].number()]),
            Ok(0),
            "vector {n}"
        );
    }
    (0..8).for_each(|vector| device.set(SEND, vector));
    let counts: Vec<_> = all.iter().map(Signal::count).collect();
    assert_eq!(counts, [1, 0, 0, 0, 0, 1, 0, 1]);

    let (rig, device) = static_msix();
    let all: [Signal; 8] = signals(&rig);
    device.trigger(MSIX, 5, &[all[5].number()]).unwrap();
    assert_eq!(device.trigger(MSIX, 7, &[all[7].number()]), INVALID);
    (0..8).for_each(|vector| device.set(SEND, vector));
    assert_eq!((all[5].count(), all[7].count()), (1, 0));
}

fn ioeventfd(open: &Open, request: DeviceIoEventFd) -> Result<u32, Errno> {
    let mut request = request;
    call(
        &open.sim,
        &open.device,
        uapi::DEVICE_IOEVENTFD,
        &mut request,
    )
}

fn write_of(offset: u64, data: u64, fd: i32) -> DeviceIoEventFd {
    DeviceIoEventFd {
        argsz: 32,
        flags: uapi::DEVICE_IOEVENTFD_32,
        offset,
        data,
        fd,
        reserved: 0,
    }
}

#[test]
fn f90_one_eventfd_writes_several_registers() {
    let (rig, device) = Rig::probe();
    let [kick, first, second] = signals(&rig);
    let numbers = [-1, first.number(), second.number()];
    device.trigger(MSIX, 0, &numbers).unwrap();
    for vector in [1, 2] {
        let request = write_of(SEND, vector, kick.number());
        assert_eq!(ioeventfd(&device, request), Ok(0));
    }
    for _ in 0..3 {
        kick.send();
        assert_eq!((first.wait(), second.wait()), (1, 1));
    }
}

#[test]
fn h10_a_negative_place() {
    let (rig, device) = Rig::with([Device {
        function_reset: false,
        ..probe::device(probe::NAME)
    }]);
    let [kick] = signals(&rig);
    let at = |offset| ioeventfd(&device, write_of(offset, 0, kick.number()));
    assert_eq!((at(KEEP), rig.sim.hazards()), (Ok(0), vec![]));
    assert_eq!(at(1 << 63), INVALID);
    assert_eq!(at(u64::MAX << 40), INVALID);
    assert_eq!(rig.sim.hazards(), [Hazard::H10; 2]);
}

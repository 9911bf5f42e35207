//! What the calls of a device hand to the kernel, and what they make of its answers.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use vfio_core::device::{EventFd, Feature, IrqIndex, RegionIndex};
use vfio_core::iommu::Registry;
use vfio_core::kernel::{Errno, Kernel};
use vfio_core::{Answer, Device, Vfio, uapi};
use vfio_sim::SimKernel;
use vfio_sim::machine;
use vfio_sim::wrap::{Call, Input, Request, Watch, Watched};

use crate::setup::{BDF, host, open, v2};

/// What the next calls of that name answer, and what they were given.
#[derive(Debug, Default)]
struct Script {
    call: Mutex<Option<(&'static str, Errno)>>,
    given: Mutex<Vec<Vec<u8>>>,
    calls: Mutex<usize>,
}

impl Script {
    fn answer(&self, call: &'static str, errno: Errno) {
        *self.call.lock().unwrap() = Some((call, errno));
    }

    fn nothing(&self) {
        *self.call.lock().unwrap() = None;
        self.given.lock().unwrap().clear();
        *self.calls.lock().unwrap() = 0;
    }
}

impl Watch for Script {
    fn before(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        *self.calls.lock().unwrap() += 1;
        if let Request::Ioctl {
            input: Input::Bytes(bytes),
            ..
        } = call.request
        {
            self.given.lock().unwrap().push(bytes.to_vec());
        }
        let asked = call.name().to_string();
        match *self.call.lock().unwrap() {
            Some((name, errno)) if asked == name => Err(errno.into()),
            _ => Ok(()),
        }
    }
}

fn scripted(device: machine::Device) -> (Arc<Script>, Arc<dyn Kernel>, Device) {
    let script = Arc::new(Script::default());
    let sim: Arc<dyn Kernel> = Arc::new(SimKernel::new(host([device])));
    let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(sim, Arc::clone(&script)));
    let vfio = Vfio::on(Arc::clone(&kernel), Registry::of([v2()]).unwrap());
    let device = open(&vfio, BDF).unwrap();
    script.nothing();
    (script, kernel, device)
}

/// Only a refusal is a no; whatever else a call answers is an error.
#[test]
fn a_feature_is_not_said_to_be_missing_because_of_another_error() {
    const CALL: &str = "VFIO_DEVICE_FEATURE";
    let (script, _, device) = scripted(machine::Device::assorted(BDF));
    for errno in [Errno::INTR, Errno::NOMEM, Errno::FAULT] {
        script.answer(CALL, errno);
        let error = device.feature(Feature::VF_TOKEN).unwrap_err();
        assert_eq!((error.operation(), error.errno()), (CALL, Some(errno)));
    }
    for errno in [Errno::NOTTY, Errno::INVAL] {
        script.answer(CALL, errno);
        let support = device.feature(Feature::VF_TOKEN).unwrap();
        assert!(!support.get && !support.set);
    }
}

/// Errors are what a device without PCI Express has none of; any other answer is an error, of any kind of interrupt.
#[test]
fn interrupts_are_not_said_to_be_missing_because_of_another_error() {
    const CALL: &str = "VFIO_DEVICE_GET_IRQ_INFO";
    let (script, _, device) = scripted(machine::Device::assorted(BDF));
    script.answer(CALL, Errno::INVAL);
    assert_eq!(device.irq_info(IrqIndex::Error).unwrap().count, 0);
    let error = device.irq_info(IrqIndex::Msi).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INVAL));
    script.answer(CALL, Errno::INTR);
    let error = device.irq_info(IrqIndex::Error).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::INTR));
}

#[test]
fn a_write_on_a_signal_that_cannot_be_ended_is_said_to_be_so() {
    const CALL: &str = "VFIO_DEVICE_IOEVENTFD";
    let (script, kernel, device) = scripted(machine::Device::edu(BDF));
    let signal = EventFd::new(&kernel).unwrap();
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    let write = bar.write_on_signal(8, 1u32, signal.as_fd()).unwrap();
    script.answer(CALL, Errno::INTR);
    let error = write.close().unwrap_err();
    assert_eq!(
        (error.operation(), error.errno()),
        (CALL, Some(Errno::INTR))
    );
}

#[test]
fn of_a_region_without_capabilities_nothing_is_asked() {
    let (script, _, device) = scripted(machine::Device::edu(BDF));
    let bar = device.region(RegionIndex::Bar(0)).unwrap();
    script.nothing();
    assert_eq!(bar.capabilities().unwrap(), Default::default());
    assert_eq!(*script.calls.lock().unwrap(), 0);
}

/// The size that a struct says it has is the one that it has.
#[test]
fn a_hot_reset_says_how_much_it_hands_over() {
    let on_bus = machine::Device::assorted(BDF).on_reset_bus(1);
    let (script, _, device) = scripted(on_bus);
    device.hot_reset(&[]).unwrap();
    let given = script.given.lock().unwrap();
    let mut sizes = given.iter().map(|bytes| {
        let (said, _) = bytes.split_first_chunk().unwrap();
        (u32::from_ne_bytes(*said) as usize, bytes.len())
    });
    let group = size_of::<uapi::PciHotReset>() + size_of::<i32>();
    assert_eq!(sizes.next_back(), Some((group, group)));
}

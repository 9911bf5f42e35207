//! Models that do what they should not.

use std::panic::{AssertUnwindSafe, catch_unwind};

use vfio_sim::machine::{Bar, Device, MakeModel};
use vfio_sim::model::{Bus, Model};

use crate::rig::Rig;

/// Counts what is read, and panics at a write.
#[derive(Debug, Default)]
struct Brittle {
    reads: u8,
}

impl Model for Brittle {
    fn read(&mut self, _: &mut dyn Bus, _: u8, _: u64, bytes: &mut [u8]) {
        self.reads += 1;
        bytes.fill(self.reads);
    }

    fn write(&mut self, _: &mut dyn Bus, _: u8, _: u64, _: &[u8]) {
        panic!("this test's model panics");
    }

    fn reset(&mut self) {}
}

#[test]
fn one_that_panics_is_not_lost() {
    let (_rig, device) = Rig::with([Device {
        bars: [Some(Bar::registers(4096)), None, None, None, None, None],
        model: MakeModel(|| Box::new(Brittle::default())),
        ..Device::bare("0000:00:04.0", 0x1af4, 0x10f0, 0x05_0000)
    }]);
    assert_eq!(device.pread(0, 0, 1), Ok(vec![1]));
    let write = AssertUnwindSafe(|| device.pwrite(0, 0, &[1]));
    assert!(catch_unwind(write).is_err());
    assert_eq!(device.pread(0, 0, 1), Ok(vec![2]));
}

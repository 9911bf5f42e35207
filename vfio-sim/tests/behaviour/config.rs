//! F79: config space, where the lab has no device for it.

use vfio_sim::machine::Device;

use crate::probe::{self, KEEP};
use crate::rig::Rig;

const RESET: u16 = 1 << 15;

#[test]
fn f79_the_function_level_reset_bit() {
    for (function_reset, kept) in [(true, 0), (false, 5)] {
        let (_rig, device) = Rig::with([Device {
            function_reset,
            ..probe::device(probe::NAME)
        }]);
        let control = device.capability(0x10) + 8;
        device.set(KEEP, 5);
        device.set_config(control, 0x2810);
        assert_eq!((device.get(KEEP), device.config(control)), (5, 0x2810));
        device.set_config(control, 0x2810 | RESET);
        assert_eq!(device.get(KEEP), kept);
        assert_eq!(device.config(control), 0x2810, "reads as 0");
    }
}

//! Several processors of a guest at once.

use std::sync::Barrier;
use std::thread::scope;

use pci_device::bar::BarRegister;
use vfio_sim::machine::Device;

use super::rig::*;

const HIGH: u64 = 0x80_0000_0000;

/// While one processor moves a BAR and switches decode, others read it: each access finds what was written, or ones.
#[test]
fn accesses_while_a_bar_moves() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.place(2, HIGH, true);
    rig.place(0, 0xfeb0_0000, false);
    rig.set_command(MEMORY);
    rig.write(0, 0, &[7; 4]);
    rig.write(2, 0, &[7; 4]);
    let start = Barrier::new(4);
    scope(|threads| {
        for bar in [0, 2, 2] {
            let (rig, start) = (&rig, &start);
            threads.spawn(move || {
                start.wait();
                for _ in 0..3000 {
                    let value: [u8; 4] = rig.read(bar, 0);
                    assert!(value == [7; 4] || value == [0xff; 4], "{value:x?}");
                    if let Some(bar) = rig.device.mapped(BarRegister::Bar(bar), 0) {
                        // The mapping answers as long as we are inside.
                        assert_eq!(bar.read::<u32>(0).unwrap(), 0x0707_0707);
                    }
                }
            });
        }
        start.wait();
        for round in 0..300_u32 {
            rig.write32(0x18, (round % 7) << 24);
            rig.set_command(if round % 3 == 0 { 0 } else { MEMORY });
            if round % 50 == 0 {
                rig.device.write_config(0x64, &[3]);
                rig.device.write_config(0x64, &[0]);
            }
        }
        rig.set_command(MEMORY);
    });
    assert_eq!((rig.read(0, 0), rig.read(2, 0)), ([7; 4], [7; 4]));
    assert_eq!(rig.events(), []);
}

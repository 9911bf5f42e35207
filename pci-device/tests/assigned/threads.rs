//! Several processors of a guest at once.

use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use std::thread::scope;

use pci_device::Settings;
use pci_device::bar::BarRegister;
use pci_device::vmm::Interrupts;
use vfio_core::device::{EventFd, IrqIndex};
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

/// Who delivers interrupts, and takes long to do so.
#[derive(Debug)]
struct Slow {
    begun: Barrier,
    may_end: Barrier,
}

impl Interrupts for Slow {
    fn line(&self, _: bool) {
        self.begun.wait();
        self.may_end.wait();
    }
}

/// While a processor is in the middle of a write to config space, whose lock it has, the others reach the device.
#[test]
fn an_access_waits_for_no_lock() {
    let slow = Arc::new(Slow {
        begun: Barrier::new(2),
        may_end: Barrier::new(2),
    });
    let machine = machine(Device::assorted(BDF), 4096);
    let rig = Rig::on(machine, &Settings::default(), |vmm| {
        vmm.interrupts = slow.clone();
    });
    rig.place(0, 0xfeb0_0000, false);
    rig.place(2, HIGH, true);
    rig.set_command(MEMORY);
    scope(|threads| {
        threads.spawn(|| rig.set_command(MEMORY | NO_LINE));
        slow.begun.wait();
        rig.write(0, 0, &[1; 4]);
        rig.write(2, 0, &[2; 4]);
        assert_eq!((rig.read(0, 0), rig.read(2, 0)), ([1; 4], [2; 4]));
        slow.may_end.wait();
    });
}

/// A guest switches its line off and on while the VMM sets it up (CVE-2024-26810).
#[test]
fn the_line_is_switched_while_it_is_set_up() {
    let rig = Rig::new(Device::assorted(BDF));
    rig.set_command(MEMORY);
    let device = rig.device.device();
    let eventfd = EventFd::new(device.kernel()).unwrap();
    scope(|threads| {
        threads.spawn(|| {
            for round in 0..500 {
                rig.set_command(if round % 2 == 0 {
                    MEMORY | NO_LINE
                } else {
                    MEMORY
                });
            }
        });
        for _ in 0..200 {
            device
                .enable_irqs(IrqIndex::Intx, 0, &[Some(eventfd.as_fd())])
                .unwrap();
            device.mask_irqs(IrqIndex::Intx, 0, 1).unwrap();
            device.unmask_irqs(IrqIndex::Intx, 0, 1).unwrap();
            device.disable_irqs(IrqIndex::Intx).unwrap();
        }
    });
    assert_eq!(rig.read32(4) & 0xffff, u32::from(MEMORY));
    assert_eq!(rig.events(), []);
}

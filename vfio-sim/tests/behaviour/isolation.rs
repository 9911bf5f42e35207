//! D58: what does not pass while a group is frozen, and how it is brought back.

use std::ffi::CString;
use std::os::fd::AsFd;

use vfio_core::kernel::{Arg, Errno, Kernel, Protection, RegionMapping, Result};
use vfio_core::uapi::{
    self, EehPeErr, EehPeOp, PCI_CONFIG_REGION_INDEX as CONFIG, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU,
};
use vfio_sim::machine::{Device, Group};
use vfio_sim::{Fault, Hazard, Machine, SimKernel, Why};
use zerocopy::IntoBytes;

use crate::door::{ioctl, open_device};
use crate::memory::{Memory, random};
use crate::probe::{self, KEEP, NAME};
use crate::rig::{COMMAND, Open, Rig};

const DISABLE: u32 = 0;
const ENABLE: u32 = 1;
const THAW_IO: u32 = 2;
const THAW_DMA: u32 = 3;
const STATE: u32 = 4;
const END: u32 = 5;
const HOT: u32 = 6;
const FUNDAMENTAL: u32 = 7;
const CONFIGURE: u32 = 8;

/// A machine that isolates errors, with these devices.
fn host<const N: usize>(devices: [Device; N]) -> Machine {
    Machine::powernv9().with_devices(devices)
}

fn rig_of(machine: Machine) -> (Rig, Open) {
    let rig = Rig::new(machine, SPAPR_TCE_IOMMU);
    let device = rig.open(NAME);
    device.master(true);
    (rig, device)
}

/// The probe, on hardware that freezes what has made an error, or on QEMU's.
fn rig(freezing: bool) -> (Rig, Open) {
    let machine = host([probe::device(NAME)]);
    rig_of(match freezing {
        true => machine.freezing(),
        false => machine,
    })
}

impl Rig {
    fn operate(&self, op: u32) -> Result<u32> {
        self.operate_on(EehPeOp {
            op,
            ..EehPeOp::default()
        })
    }

    fn operate_on(&self, request: EehPeOp) -> Result<u32> {
        let request = EehPeOp {
            argsz: 40,
            ..request
        };
        let arg = Arg::In(request.as_bytes());
        ioctl(&self.sim, &self.container, uapi::EEH_PE_OP, arg)
    }

    fn inject(&self, func: u32, addr: u64, mask: u64) -> Result<u32> {
        self.operate_on(EehPeOp {
            op: 9,
            err: EehPeErr {
                kind: 1,
                func,
                addr,
                mask,
            },
            ..EehPeOp::default()
        })
    }

    fn state(&self) -> u32 {
        self.operate(STATE).unwrap()
    }

    fn enable_mapping(&self) {
        ioctl(&self.sim, &self.container, uapi::SPAPR_ENABLE, Arg::None).unwrap();
    }
}

fn fault(iova: u64, write: bool, why: Why) -> Vec<Fault> {
    let bdf = NAME.into();
    vec![Fault {
        bdf,
        iova,
        write,
        why,
    }]
}

#[test]
fn nothing_passes_a_frozen_group() {
    let (rig, device) = rig(false);
    rig.enable_mapping();
    let memory = Memory::new(&rig.sim, 1);
    rig.map(0, &memory).unwrap();
    device.set(KEEP, 0x1234);
    assert!(device.dma_write(0, &[1, 2]));

    rig.sim.freeze(NAME).unwrap();
    assert_eq!(rig.state(), 2);
    assert_eq!(device.get(KEEP), u64::MAX);
    device.set(KEEP, 7);
    assert_eq!(rig.sim.take_faults(), []);
    // A load that answers ones is no way to have the probe do DMA; thawed to its registers, it does none either.
    assert_eq!(rig.operate(THAW_IO), Ok(0));
    assert_eq!(rig.state(), 4);
    assert_eq!(device.get(KEEP), 0x1234, "the store was dropped");
    assert!(!device.dma_write(0, &[3, 4]));
    assert_eq!(device.dma_read(0, 2), (false, vec![0xff; 2]));
    let mut faults = fault(0, true, Why::Frozen);
    faults.extend(fault(0, false, Why::Frozen));
    assert_eq!(rig.sim.take_faults(), faults);
    assert!(
        faults[0]
            .to_string()
            .ends_with("its isolation unit is frozen")
    );
    assert_eq!(memory.get(0..2), [1, 2]);

    assert_eq!(rig.operate(THAW_DMA), Ok(0));
    assert_eq!(rig.state(), 0);
    assert!(device.dma_write(0, &[3, 4]));
    assert_eq!(memory.get(0..2), [3, 4]);
}

#[test]
fn config_space_of_a_frozen_device_is_what_vfio_has() {
    let (rig, device) = rig(false);
    let whole = device.pread(CONFIG, 0, 0x40).unwrap();
    rig.sim.freeze(NAME).unwrap();
    let frozen = device.pread(CONFIG, 0, 0x40).unwrap();
    for (at, (byte, before)) in frozen.iter().zip(&whole).enumerate() {
        let expected = match at {
            0..4 | 0x10..0x28 | 0x30..0x35 | 0x3c..0x3e => *before,
            _ => 0xff,
        };
        assert_eq!(*byte, expected, "{at:#x}");
    }
    // What VFIO has is written, the rest is dropped.
    assert_eq!(device.pwrite(CONFIG, COMMAND, &[0, 0]), Ok(2));
    assert_eq!(device.pwrite(CONFIG, 0x3c, &[9]), Ok(1));
    assert_eq!(rig.operate(THAW_IO), Ok(0));
    assert_eq!(device.config(COMMAND).to_le_bytes(), whole[4..6]);
    assert_eq!(device.pread(CONFIG, 0x3c, 1), Ok(vec![9]));
}

#[test]
fn d58b_what_is_thawed_alone_has_no_name() {
    let (rig, _device) = rig(false);
    rig.sim.freeze(NAME).unwrap();
    assert_eq!(rig.operate(THAW_DMA), Ok(0));
    assert_eq!(rig.state(), 5);
    assert_eq!(rig.operate(THAW_IO), Ok(0));
    assert_eq!(rig.state(), 0);
}

#[test]
fn d58b_enabling_opening_and_closing_thaw() {
    let (rig, device) = rig(false);
    rig.sim.freeze(NAME).unwrap();
    for op in [DISABLE, CONFIGURE] {
        assert_eq!((rig.operate(op), rig.state()), (Ok(0), 2));
    }
    assert_eq!((rig.operate(ENABLE), rig.state()), (Ok(0), 0));
    rig.sim.freeze(NAME).unwrap();
    drop(device);
    assert_eq!(rig.state(), 0, "closed");
    rig.sim.freeze(NAME).unwrap();
    let device = rig.open(NAME);
    assert_eq!(rig.state(), 0, "opened");
    rig.sim.freeze(NAME).unwrap();
    let _second = rig.open(NAME);
    assert_eq!(rig.state(), 2, "it was open already");
    drop(device);
    assert_eq!(rig.state(), 2, "it is open still");
}

#[test]
fn d58c_a_reset_blocks_config_space_until_it_ends() {
    for (freezing, state) in [(false, 0), (true, 2)] {
        for reset in [HOT, FUNDAMENTAL] {
            let (rig, device) = rig(freezing);
            device.set(KEEP, 0x1234);
            device.pwrite(CONFIG, 0x3c, &[6]).unwrap();
            assert_eq!(rig.operate(reset), Ok(0));
            assert_eq!(rig.state(), state);
            for (at, len) in [
                (4, 2),
                (6, 2),
                (8, 4),
                (0x2c, 4),
                (0x40, 2),
                (0x3d, 2),
                (0, 5),
            ] {
                assert_eq!(device.pread(CONFIG, at, len), Err(Errno::NODEV), "{at:#x}");
            }
            for (at, len) in [(0, 4), (2, 2), (0x10, 4), (0x34, 1), (0x3c, 2)] {
                assert!(device.pread(CONFIG, at, len).is_ok(), "{at:#x}");
            }
            assert_eq!(device.pwrite(CONFIG, COMMAND, &[6, 0]), Err(Errno::NODEV));
            assert_eq!(device.pwrite(CONFIG, 0x3c, &[7]), Ok(1));
            let reaches = freezing || reset == HOT;
            match (freezing, reset) {
                (true, _) => assert_eq!(device.get(KEEP), u64::MAX),
                (false, HOT) => assert_eq!(device.get(KEEP), 0),
                (false, _) => assert_eq!(device.get(KEEP), 0x1234), // QEMU does not reset it
            }
            assert_eq!(rig.operate(END), Ok(0));
            assert_eq!(rig.state(), 0);
            let master = device.config(COMMAND) & 4 != 0;
            assert_eq!(master, !reaches, "{reset}");
            assert_eq!(device.get(KEEP) == 0x1234, !reaches);
            assert_eq!(device.pread(CONFIG, 0x3c, 1), Ok(vec![7]));
            assert_eq!(device.config(COMMAND) & 2, 2, "memory is decoded again");
        }
    }
}

#[test]
fn a_reset_that_was_not_begun_resets_nothing() {
    let (rig, device) = rig(true);
    device.set(KEEP, 0x1234);
    assert_eq!(rig.operate(END), Ok(0));
    assert_eq!(device.get(KEEP), 0x1234);
    rig.sim.freeze(NAME).unwrap();
    assert_eq!((rig.operate(END), rig.state()), (Ok(0), 0));
    assert_eq!(device.get(KEEP), 0x1234);
}

#[test]
fn d58c_a_function_cannot_be_reset_alone_in_a_reset() {
    let machine = host([Device {
        express: true,
        function_reset: true,
        ..probe::device(NAME)
    }]);
    let (rig, device) = rig_of(machine);
    let reset = || ioctl(&rig.sim, &device.device, uapi::DEVICE_RESET, Arg::None);
    assert_eq!(reset(), Ok(0));
    assert_eq!(rig.operate(HOT), Ok(0));
    assert_eq!(reset(), Err(Errno::NOTTY));
    assert_eq!(rig.operate(END), Ok(0));
    assert_eq!(reset(), Ok(0));
}

#[test]
fn h11_a_device_that_is_closed_in_a_reset_is_lost() {
    let (rig, device) = rig(false);
    assert_eq!(rig.operate(HOT), Ok(0));
    drop(device);
    let name = CString::new(NAME).unwrap();
    let again = open_device(&rig.sim, &rig.group, &name);
    assert_eq!(again.unwrap_err(), Errno::NODEV);
    assert_eq!(rig.sim.hazards(), [Hazard::H12]);
    assert_eq!(rig.operate(END), Ok(0));
    rig.open(NAME);
}

#[test]
fn a_group_freezes_as_a_whole_and_no_other() {
    let other = "0000:02:00.0";
    let mut machine = host([probe::device(NAME), probe::device("0000:01:00.1")]);
    machine.groups.push(Group::new(9, [probe::device(other)]));
    let (rig, device) = rig_of(machine);
    let beside = rig.open("0000:01:00.1");
    rig.sim.freeze("0000:01:00.1").unwrap();
    assert_eq!((device.get(0), beside.get(0)), (u64::MAX, u64::MAX));
    rig.sim.freeze(other).unwrap();
    assert_eq!(rig.operate(ENABLE), Ok(0));
    assert_ne!(device.get(0), u64::MAX);
    assert_eq!(rig.sim.freeze("0000:0f:00.0"), Err(Errno::NODEV));
}

#[test]
fn mapped_memory_and_registers_answer_ones() {
    let (rig, device) = rig(false);
    let bytes = random(64);
    assert_eq!(device.pwrite(2, 0x40, &bytes), Ok(64));
    let place = 2 << 40;
    let mapped = {
        let mapped = rig.sim.map_region(
            device.device.as_fd(),
            place,
            0x1_0000,
            Protection {
                read: true,
                write: true,
            },
            1,
        );
        match mapped.unwrap() {
            RegionMapping::Pages(at) => at,
            RegionMapping::Registers(_) => panic!("memory is mapped as pages"),
        }
    };
    #[allow(unsafe_code)]
    // SAFETY: mapped above, and not unmapped before the end.
    let read = || unsafe { mapped.as_ptr().cast::<u8>().add(0x40).read_volatile() };
    rig.sim.freeze(NAME).unwrap();
    assert_eq!(read(), 0xff);
    assert_eq!(device.pread(2, 0x40, 64), Ok(vec![0xff; 64]));
    assert_eq!(device.pwrite(2, 0x40, &[1; 64]), Ok(64));
    assert_eq!(rig.operate(THAW_IO), Ok(0));
    assert_eq!(read(), bytes[0]);
    assert_eq!(device.pread(2, 0x40, 64), Ok(bytes));
    #[allow(unsafe_code)]
    // SAFETY: it is not used any more.
    unsafe { rig.sim.munmap(mapped, 0x1_0000) }.unwrap();
}

#[test]
fn hardware_freezes_what_reaches_out_of_its_mappings() {
    for freezing in [false, true] {
        let (rig, device) = rig(freezing);
        rig.enable_mapping();
        assert!(!device.dma_write(0x5000, &[1]));
        assert_eq!(rig.sim.take_faults(), fault(0x5000, true, Why::Blocked));
        assert_eq!(rig.state(), if freezing { 2 } else { 0 });
        let reached = device.get(0) != u64::MAX;
        assert_eq!(reached, !freezing);
    }
}

#[test]
fn an_error_that_was_injected_comes_once_with_its_access() {
    type Trigger = fn(&Open);
    let (load, store): (Trigger, Trigger) = (
        |it| {
            it.pread(0, 0x100, 4).unwrap();
        },
        |it| it.set(0x100, 1),
    );
    let read: Trigger = |it| {
        it.config(8);
    };
    let write: Trigger = |it| it.set_config(COMMAND, 6);
    let dma_read: Trigger = |it| {
        it.dma_read(0x1000, 16);
    };
    let dma_write: Trigger = |it| {
        it.dma_write(0x1000, &[1; 16]);
    };
    let triggers: [(&[u32], Trigger); 6] = [
        (&[0, 1], load),
        (&[4, 5], read),
        (&[6, 7], store),
        (&[10, 11], write),
        (&[12, 13, 14, 15], dma_read),
        (&[16, 17, 18, 19], dma_write),
    ];
    for (functions, trigger) in triggers {
        for function in functions {
            let (rig, device) = rig(true);
            rig.enable_mapping();
            let memory = Memory::new(&rig.sim, 1);
            rig.map(0, &memory).unwrap();
            assert_eq!(rig.inject(*function, 0, 0), Ok(0));
            assert_eq!(rig.state(), 0, "{function}");
            trigger(&device);
            assert_eq!(rig.state(), 2, "{function}");
            assert_eq!(rig.operate(ENABLE), Ok(0));
            trigger(&device);
            assert_eq!(rig.state(), 0, "{function} again");
        }
    }
}

#[test]
fn an_error_is_at_its_address() {
    let (rig, device) = rig(true);
    rig.enable_mapping();
    let memory = Memory::new(&rig.sim, 1);
    rig.map(0, &memory).unwrap();
    assert_eq!(rig.inject(12, 0x2010, !0xf), Ok(0));
    assert!(device.dma_read(0x2000, 16).0);
    assert!(device.dma_read(0x2020, 16).0);
    assert_eq!(rig.state(), 0);
    assert!(!device.dma_read(0x2008, 9).0);
    assert_eq!(rig.state(), 2);
    assert_eq!(rig.operate(ENABLE), Ok(0));
    assert_eq!(rig.inject(0, 0x7_0108, !7), Ok(0)); // where the BAR is, nobody compares
    device.get(0x100);
    assert_eq!(rig.state(), 0);
    device.get(0x108);
    assert_eq!(rig.state(), 2);
}

#[test]
fn without_isolation_there_is_nothing_to_freeze() {
    for machine in [Machine::pseries(), Machine::x86_64()] {
        let bdf = machine.groups[0].devices[0].bdf.clone();
        let sim = SimKernel::new(machine.freezing());
        assert_eq!(sim.freeze(&bdf), Err(Errno::NODEV));
    }
    let rig = Rig::new(Machine::pseries().freezing(), SPAPR_TCE_V2_IOMMU);
    assert_eq!(rig.operate(STATE), Err(Errno::NODEV));
}

//! F80 to F86, F90: interrupts, delivered to eventfds.

use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{
    self, DeviceIoEventFd, IrqInfo, PCI_ERR_IRQ_INDEX as ERR, PCI_INTX_IRQ_INDEX as INTX,
    PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX, PCI_REQ_IRQ_INDEX as REQ, TYPE1V2_IOMMU,
};
use vfio_sim::Machine;
use vfio_sim::machine::Device;
use zerocopy::IntoBytes;

use crate::door::{call, ioctl};
use crate::probe::{self, KEEP, LINE, SEND, TABLE};
use crate::rig::{COMMAND, Open, Rig, Signal};

const NONE: u32 = uapi::IRQ_SET_DATA_NONE;
const BOOL: u32 = uapi::IRQ_SET_DATA_BOOL;
const EVENTFD: u32 = uapi::IRQ_SET_DATA_EVENTFD;
const TRIGGER: u32 = uapi::IRQ_SET_ACTION_TRIGGER;
const MASK: u32 = uapi::IRQ_SET_ACTION_MASK;
const UNMASK: u32 = uapi::IRQ_SET_ACTION_UNMASK;
const INVALID: Result<u32, Errno> = Err(Errno::INVAL);
const LINE_OFF: u16 = 1 << 10;

fn irq(open: &Open, index: u32) -> Result<(u32, u32), Errno> {
    let mut info = IrqInfo {
        argsz: 16,
        index,
        ..IrqInfo::default()
    };
    let answer = call(
        &open.sim,
        &open.device,
        uapi::DEVICE_GET_IRQ_INFO,
        &mut info,
    );
    answer.map(|_| (info.count, info.flags))
}

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
fn f80_irq_info() {
    let (_rig, device) = Rig::probe();
    assert_eq!(irq(&device, INTX), Ok((1, 7)));
    assert_eq!(irq(&device, MSI), Ok((4, 9)));
    assert_eq!(irq(&device, MSIX), Ok((8, 1)), "can grow");
    assert_eq!(irq(&device, ERR), Ok((1, 9)));
    assert_eq!(irq(&device, REQ), Ok((1, 9)));
    assert_eq!(irq(&device, 5), Err(Errno::INVAL));
    let (_rig, device) = static_msix();
    assert_eq!(irq(&device, MSIX), Ok((8, 9)));
    let edu = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU).open("0000:00:04.0");
    assert_eq!(irq(&edu, ERR), Err(Errno::INVAL), "no PCI Express");
}

#[test]
fn f81_what_makes_no_sense() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    let fd = signal.number();
    let two = [fd, -1];
    let ask = |index, flags, range, data: &[u8]| device.irqs(index, flags, range, data);
    // While it is on, nothing else is wrong with these.
    assert_eq!(ask(MSIX, EVENTFD | TRIGGER, (0, 2), two.as_bytes()), Ok(0));
    assert_eq!(ask(MSIX, NONE | TRIGGER, (0, 8), &[]), Ok(0));
    assert_eq!(ask(5, NONE | TRIGGER, (0, 0), &[]), INVALID, "index");
    assert_eq!(
        ask(MSIX, NONE | TRIGGER, (8, 0), &[]),
        INVALID,
        "start, of none"
    );
    assert_eq!(ask(MSIX, NONE | TRIGGER, (7, 2), &[]), INVALID, "end");
    assert_eq!(
        ask(MSIX, NONE | TRIGGER, (1, u32::MAX), &[]),
        INVALID,
        "overflow"
    );
    assert_eq!(
        ask(MSIX, NONE | TRIGGER, (2, u32::MAX - 1), &[]),
        INVALID,
        "overflow to 0"
    );
    assert_eq!(
        ask(MSIX, 1 << 6 | NONE | TRIGGER, (0, 1), &[]),
        INVALID,
        "flags"
    );
    assert_eq!(ask(MSIX, TRIGGER, (0, 1), &[]), INVALID, "no data");
    assert_eq!(
        ask(MSIX, NONE | BOOL | TRIGGER, (0, 1), &[1]),
        INVALID,
        "two kinds"
    );
    assert_eq!(
        ask(MSIX, EVENTFD | TRIGGER, (0, 3), two.as_bytes()),
        INVALID,
        "too short"
    );
    assert_eq!(
        ask(MSIX, BOOL | TRIGGER, (0, 2), &[1]),
        INVALID,
        "too short"
    );
    let mut short = [0; 20];
    short[0] = 19;
    let arg = Arg::In(&short);
    assert_eq!(
        ioctl(&rig.sim, &device.device, uapi::DEVICE_SET_IRQS, arg),
        INVALID,
        "argsz"
    );
    let arg = Arg::In(&short[..19]);
    let answer = ioctl(&rig.sim, &device.device, uapi::DEVICE_SET_IRQS, arg);
    assert_eq!(answer, Err(Errno::FAULT));
}

#[test]
fn f82_what_an_index_cannot_do() {
    let (_rig, device) = Rig::probe();
    for (index, flags) in [
        (MSI, MASK),
        (MSIX, UNMASK),
        (ERR, MASK),
        (REQ, UNMASK),
        (INTX, 0),
        (INTX, MASK | TRIGGER),
    ] {
        let answer = device.irqs(index, NONE | flags, (0, 1), &[]);
        assert_eq!(answer, Err(Errno::NOTTY), "{index} {flags:#x}");
    }
    device.trigger(INTX, 0, &[-1]).unwrap();
    let answer = device.irqs(INTX, EVENTFD | MASK, (0, 1), (-1i32).as_bytes());
    assert_eq!(answer, Err(Errno::NOTTY), "masking by eventfd");
    let edu = Rig::new(Machine::x86_64(), TYPE1V2_IOMMU).open("0000:00:04.0");
    assert_eq!(
        edu.irqs(ERR, NONE | TRIGGER, (0, 0), &[]),
        INVALID,
        "there are none (F81)"
    );
}

#[test]
fn f83_the_line_masks_itself() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    device.trigger(INTX, 0, &[signal.number()]).unwrap();
    device.set(LINE, 1);
    assert_eq!(signal.count(), 1);
    device.set(LINE, 0);
    device.set(LINE, 1);
    assert_eq!(signal.count(), 0, "masked");
    let unmask = || device.irqs(INTX, NONE | UNMASK, (0, 1), &[]);
    assert_eq!(
        (unmask(), signal.count()),
        (Ok(0), 1),
        "it is asserted still"
    );
    device.set(LINE, 0);
    assert_eq!((unmask(), signal.count()), (Ok(0), 0));
    device.set(LINE, 1);
    assert_eq!(signal.count(), 1);
}

#[test]
fn f83_mask_and_unmask() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    device.trigger(INTX, 0, &[signal.number()]).unwrap();
    assert_eq!(device.irqs(INTX, BOOL | MASK, (0, 1), &[0]), Ok(0));
    device.set(LINE, 1);
    assert_eq!(signal.count(), 1, "a mask of false is none");
    device.set(LINE, 0);
    device.irqs(INTX, NONE | UNMASK, (0, 1), &[]).unwrap();
    assert_eq!(device.irqs(INTX, BOOL | MASK, (0, 1), &[1]), Ok(0));
    device.set(LINE, 1);
    assert_eq!(signal.count(), 0);
    assert_eq!(device.irqs(INTX, BOOL | UNMASK, (0, 1), &[0]), Ok(0));
    assert_eq!(signal.count(), 0);
    assert_eq!(device.irqs(INTX, BOOL | UNMASK, (0, 1), &[1]), Ok(0));
    assert_eq!(signal.count(), 1);
}

#[test]
fn f83_unmasking_by_eventfd() {
    let (rig, device) = Rig::probe();
    let [signal, unmask] = signals(&rig);
    device.trigger(INTX, 0, &[signal.number()]).unwrap();
    let set = |fd: i32| device.irqs(INTX, EVENTFD | UNMASK, (0, 1), fd.as_bytes());
    assert_eq!(set(unmask.number()), Ok(0));
    assert_eq!(set(unmask.number()), Err(Errno::BUSY));
    assert_eq!(
        set(i32::MAX),
        Err(Errno::BADF),
        "no fd at all is found first"
    );
    device.set(LINE, 1);
    assert_eq!(signal.count(), 1);
    for _ in 0..3 {
        unmask.send();
        assert_eq!(signal.wait(), 1, "it is asserted still");
    }
    assert_eq!(set(-1), Ok(0));
    assert_eq!(
        set(unmask.number()),
        Ok(0),
        "another, once the first was taken away"
    );
}

#[test]
fn f83_the_one_line() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    let fire = |flags, data: &[u8]| device.irqs(INTX, flags | TRIGGER, (0, 1), data);
    assert_eq!(
        (fire(NONE, &[]), fire(BOOL, &[1])),
        (INVALID, INVALID),
        "not on"
    );
    assert_eq!(device.irqs(INTX, NONE | UNMASK, (0, 1), &[]), INVALID);
    assert_eq!(device.trigger(INTX, 0, &[]), INVALID, "none of it");
    assert_eq!(device.trigger(INTX, 0, &[i32::MAX]), Err(Errno::BADF));
    assert_eq!(fire(NONE, &[]), INVALID, "still not on");
    assert_eq!(device.trigger(INTX, 0, &[signal.number()]), Ok(0));
    assert_eq!(
        (fire(NONE, &[]), fire(BOOL, &[1]), fire(BOOL, &[0])),
        (Ok(0), Ok(0), Ok(0))
    );
    assert_eq!(signal.count(), 2, "loopback");
    assert_eq!(device.irqs(INTX, NONE | TRIGGER, (0, 0), &[]), Ok(0));
    assert_eq!(fire(NONE, &[]), INVALID, "off again");
}

#[test]
fn f83_f79_the_command_register_switches_the_line() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    device.trigger(INTX, 0, &[signal.number()]).unwrap();
    let command = device.config(COMMAND);
    device.set_config(COMMAND, command | LINE_OFF);
    device.set(LINE, 1);
    device.irqs(INTX, NONE | TRIGGER, (0, 1), &[]).unwrap();
    device.irqs(INTX, NONE | UNMASK, (0, 1), &[]).unwrap();
    assert_eq!(signal.count(), 0, "neither the device nor loopback");
    device.set_config(COMMAND, command);
    assert_eq!(signal.count(), 1, "it is asserted still");
    device.set_config(COMMAND, command | LINE_OFF);
    device.set_config(COMMAND, command);
    assert_eq!(
        signal.count(),
        1,
        "on again is unmasked, whatever masked it"
    );
}

#[test]
fn f84_the_kinds_exclude_each_other() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    let on = |index| device.trigger(index, 0, &[signal.number()]);
    let off = |index| device.irqs(index, NONE | TRIGGER, (0, 0), &[]);
    for index in [INTX, MSI, MSIX] {
        assert_eq!(on(index), Ok(0));
        for other in [INTX, MSI, MSIX].into_iter().filter(|it| *it != index) {
            assert_eq!(
                (on(other), off(other)),
                (INVALID, INVALID),
                "{other} while {index}"
            );
        }
        assert_eq!((off(index), off(index)), (Ok(0), INVALID));
    }
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
    assert_eq!(
        device.trigger(MSI, 1, &[all[1].number()]),
        Ok(0),
        "one that was left free"
    );
    device.set(SEND, 1);
    assert_eq!(all[1].count(), 1);
    assert_eq!(
        device.trigger(MSI, 3, &[all[3].number()]),
        INVALID,
        "beyond the first count"
    );
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
    assert_eq!(
        device.trigger(MSIX, 0, &[all[0].number()]),
        Ok(0),
        "six were allocated"
    );
    assert_eq!(device.trigger(MSIX, 7, &[all[7].number()]), INVALID);
    assert_eq!(
        device.trigger(MSIX, 7, &[-1]),
        Ok(0),
        "nothing is taken away from nothing"
    );
}

#[test]
fn f85_a_block_that_fails_is_undone() {
    let (rig, device) = Rig::probe();
    let [first, second] = signals(&rig);
    let fds = |last| [first.number(), last];
    assert_eq!(device.trigger(MSIX, 0, &fds(i32::MAX)), Err(Errno::BADF));
    let own = std::os::fd::AsRawFd::as_raw_fd(&device.device);
    assert_eq!(device.trigger(MSIX, 0, &fds(own)), INVALID, "no eventfd");
    assert_eq!(
        device.irqs(MSIX, NONE | TRIGGER, (0, 1), &[]),
        INVALID,
        "it is not on"
    );
    assert_eq!(device.trigger(MSIX, 0, &[-1, second.number()]), Ok(0));
    assert_eq!(device.trigger(MSIX, 0, &fds(i32::MAX)), Err(Errno::BADF));
    device.irqs(MSIX, NONE | TRIGGER, (0, 2), &[]).unwrap();
    assert_eq!((first.count(), second.count()), (0, 0), "neither is left");
    assert_eq!(
        device.trigger(MSIX, 1, &[second.number()]),
        Ok(0),
        "it is on still"
    );
}

#[test]
fn f85_loopback_and_no_vectors_at_all() {
    let (rig, device) = Rig::probe();
    let all: [Signal; 3] = signals(&rig);
    let numbers = [all[0].number(), -1, all[2].number()];
    assert_eq!(
        device.irqs(MSIX, BOOL | TRIGGER, (0, 1), &[1]),
        INVALID,
        "not on"
    );
    assert_eq!(device.trigger(MSIX, 0, &[]), Err(Errno::RANGE));
    device.trigger(MSIX, 0, &numbers).unwrap();
    device
        .irqs(MSIX, BOOL | TRIGGER, (0, 3), &[1, 1, 0])
        .unwrap();
    assert_eq!((all[0].count(), all[2].count()), (1, 0));
    device.irqs(MSIX, NONE | TRIGGER, (1, 7), &[]).unwrap();
    assert_eq!(
        (all[0].count(), all[2].count()),
        (0, 1),
        "those that there are not are passed over"
    );
}

#[test]
fn f86_errors_and_release_requests() {
    let (rig, device) = Rig::probe();
    for index in [ERR, REQ] {
        let [signal] = signals(&rig);
        let none = |count| device.irqs(index, NONE | TRIGGER, (0, count), &[]);
        let bools = |value| device.irqs(index, BOOL | TRIGGER, (0, 1), &[value]);
        assert_eq!((none(1), none(0)), (INVALID, INVALID), "not set");
        assert_eq!(bools(1), Ok(0), "nothing is fired");
        assert_eq!(device.trigger(index, 0, &[]), INVALID);
        assert_eq!(device.trigger(index, 0, &[i32::MAX]), Err(Errno::BADF));
        assert_eq!(device.trigger(index, 0, &[signal.number()]), Ok(0));
        assert_eq!((none(1), bools(1), bools(0)), (Ok(0), Ok(0), Ok(0)));
        assert_eq!(signal.count(), 2);
        assert_eq!(device.trigger(index, 0, &[-2]), Ok(0), "changes nothing");
        assert_eq!((none(1), signal.count()), (Ok(0), 1));
        assert_eq!(device.trigger(index, 0, &[-1]), Ok(0));
        assert_eq!(none(1), INVALID, "cleared");
        device.trigger(index, 0, &[signal.number()]).unwrap();
        assert_eq!((none(0), none(0)), (Ok(0), INVALID), "cleared with no data");
    }
}

#[test]
fn f91_closing_ends_interrupts() {
    let (rig, device) = Rig::probe();
    let [signal] = signals(&rig);
    device.trigger(MSIX, 0, &[signal.number()]).unwrap();
    drop(device);
    let device = rig.open(probe::NAME);
    device.master(true);
    device.set(SEND, 0);
    assert_eq!(signal.count(), 0);
    assert_eq!(
        device.trigger(INTX, 0, &[signal.number()]),
        Ok(0),
        "nothing is on"
    );
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

fn write_of(offset: u64, data: u64, flags: u32, fd: i32) -> DeviceIoEventFd {
    DeviceIoEventFd {
        argsz: 32,
        flags,
        offset,
        data,
        fd,
        reserved: 0,
    }
}

#[test]
fn f90_an_eventfd_writes_a_register() {
    let (rig, device) = Rig::probe();
    let [kick, told] = signals(&rig);
    device.trigger(MSIX, 0, &[-1, told.number()]).unwrap();
    let request = write_of(SEND, 1, uapi::DEVICE_IOEVENTFD_32, kick.number());
    assert_eq!(ioeventfd(&device, request), Ok(0));
    for _ in 0..3 {
        kick.send();
        assert_eq!(told.wait(), 1, "the device was told, and sent its message");
    }
    assert_eq!(ioeventfd(&device, request), Err(Errno::EXIST));
    let gone = DeviceIoEventFd { fd: -1, ..request };
    assert_eq!(
        (ioeventfd(&device, gone), ioeventfd(&device, gone)),
        (Ok(0), Err(Errno::NODEV))
    );
    assert_eq!(ioeventfd(&device, request), Ok(0));
}

#[test]
fn f90_what_no_eventfd_can_write() {
    let (rig, device) = Rig::probe();
    let [kick] = signals(&rig);
    let fd = kick.number();
    let word = uapi::DEVICE_IOEVENTFD_32;
    let at = |offset| write_of(offset, 0, word, fd);
    for (request, why) in [
        (
            DeviceIoEventFd {
                argsz: 27,
                ..at(KEEP)
            },
            "argsz",
        ),
        (
            DeviceIoEventFd {
                flags: 0,
                ..at(KEEP)
            },
            "no size",
        ),
        (
            DeviceIoEventFd {
                flags: 3,
                ..at(KEEP)
            },
            "two sizes",
        ),
        (
            DeviceIoEventFd {
                flags: 16,
                ..at(KEEP)
            },
            "no such size",
        ),
        (DeviceIoEventFd { fd: -2, ..at(KEEP) }, "fd"),
        (at((64 << 10) - 2), "past the end"),
        (at(TABLE), "the MSI-X table"),
        (at(TABLE - 2), "into the MSI-X table"),
        (at(3 << 40), "no such BAR"),
        (at(7 << 40), "config space"),
    ] {
        assert_eq!(ioeventfd(&device, request), INVALID, "{why}");
    }
    assert_eq!(
        ioeventfd(
            &device,
            DeviceIoEventFd {
                fd: i32::MAX,
                ..at(KEEP)
            }
        ),
        Err(Errno::BADF)
    );
    assert_eq!(
        ioeventfd(
            &device,
            DeviceIoEventFd {
                argsz: 28,
                ..at(KEEP + 1)
            }
        ),
        Ok(0)
    );
}

#[test]
fn f90_there_is_an_end_to_it() {
    let (rig, device) = Rig::with([Device {
        function_reset: false,
        ..probe::device(probe::NAME)
    }]);
    let [kick] = signals(&rig);
    let mut set = 0;
    let last = loop {
        match ioeventfd(
            &device,
            write_of(KEEP, set, uapi::DEVICE_IOEVENTFD_8, kick.number()),
        ) {
            Ok(_) => set += 1,
            Err(errno) => break errno,
        }
    };
    assert_eq!((set, last), (1000, Errno::NOSPC));
}

//! F87: resets of a device alone.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{
    self, PCI_INTX_IRQ_INDEX as INTX, PCI_MSI_IRQ_INDEX as MSI, PCI_MSIX_IRQ_INDEX as MSIX,
    PCI_REQ_IRQ_INDEX as REQUEST,
};

use super::feature::feature;
use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{AloneOnBus, Controller, NoReset, Sleeper};
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{call, ioctl};
use crate::conformance::rig::{COMMAND, Open, Rig, Signal};

/// Of an nvme controller: each 1 that is written stays until a reset.
pub(super) const INTERRUPT_MASK: u64 = 0x0c;
pub(super) const MASKED: [u8; 4] = [0x1f, 0, 0x1f, 0];

const POWER: u8 = 0x01;
const MSI_CAPABILITY: u8 = 0x05;
const MSIX_CAPABILITY: u8 = 0x11;
const FIRE: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_ACTION_TRIGGER;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F87"],
        "a device that cannot be reset alone is EINVAL",
        &[Device(NoReset)],
        |host| {
            let (_rig, open) = host.open(NoReset);
            assert_eq!(reset(&open), Err(Errno::INVAL));
        },
    ),
    both(
        &["F87"],
        "one that has a reset is reset, whatever the argument",
        &[Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            assert_eq!(reset(&open), Ok(0));
            let other = ioctl(
                rig.kernel(),
                &open.device,
                uapi::DEVICE_RESET,
                Arg::Value(8),
            );
            assert_eq!(other, Ok(0));
        },
    ),
    both(
        &["F87"],
        "one that is alone on a bus is reset with it",
        &[Device(AloneOnBus)],
        |host| {
            let (_rig, open) = host.open(AloneOnBus);
            assert_eq!(reset(&open), Ok(0));
        },
    ),
    both(
        &["F74", "F87"],
        "the device's flags say whether it can be reset",
        &[],
        |host| {
            for like in [NoReset, Controller, AloneOnBus] {
                if like.find(host.machine()).is_none() {
                    continue;
                }
                let (_rig, open) = host.open(like);
                let flag = flags(&open) & uapi::DEVICE_FLAGS_RESET;
                let works = u32::from(reset(&open).is_ok());
                assert_eq!(flag, works * uapi::DEVICE_FLAGS_RESET, "{like:?}");
            }
        },
    ),
    both(
        &["F87"],
        "the device forgets its registers",
        &[Device(Controller)],
        |host| {
            let (_rig, open) = written(host);
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.pread(0, INTERRUPT_MASK, 4), Ok(vec![0; 4]));
        },
    ),
    both(
        &["F87"],
        "for everybody who has it open",
        &[Device(Controller)],
        |host| {
            let (rig, open) = written(host);
            let other = rig.open(&host.place(Controller).1);
            assert_eq!(reset(&other), Ok(0));
            assert_eq!(open.pread(0, INTERRUPT_MASK, 4), Ok(vec![0; 4]));
        },
    ),
    both(
        &["F87"],
        "the command register, the BARs and the line stay as they were",
        &[Device(Controller)],
        |host| {
            let (_rig, open) = host.open(Controller);
            open.set_config(LINE, 0x155);
            let seen = || [COMMAND, 0x10, 0x12, 0x14, 0x16, LINE].map(|at| open.config(at));
            let before = seen();
            assert_eq!(before[0] & 6, 6, "a bus master that decodes memory");
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(seen(), before);
        },
    ),
    both(
        &["F87"],
        "MSI-X and its eventfds stay",
        &[Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            let signals = [(); 2].map(|()| Signal::new(rig.kernel()));
            let fds = [signals[0].number(), signals[1].number()];
            assert_eq!(open.trigger(MSIX, 0, &fds), Ok(0));
            let control = open.capability(MSIX_CAPABILITY) + 2;
            let before = open.config(control);
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.config(control), before, "it is on");
            assert_eq!(open.irqs(MSIX, FIRE, (0, 2), &[]), Ok(0));
            assert_eq!(signals.map(|signal| signal.count()), [1, 1]);
        },
    ),
    both(
        &["F87"],
        "the line and its eventfd stay",
        &[Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(INTX, 0, &[signal.number()]), Ok(0));
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.irqs(INTX, FIRE, (0, 1), &[]), Ok(0));
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["F87"],
        "MSI stays on, and what a driver wrote of it",
        &[Device(AloneOnBus)],
        |host| {
            let (rig, open) = host.open(AloneOnBus);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(MSI, 0, &[signal.number()]), Ok(0));
            let control = open.capability(MSI_CAPABILITY) + 2;
            open.set_config(control, open.config(control) | 1);
            let before = open.config(control);
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.config(control), before);
            assert_eq!(open.irqs(MSI, FIRE, (0, 1), &[]), Ok(0));
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["F87"],
        "the request's eventfd stays",
        &[Device(Controller)],
        |host| {
            let (rig, open) = host.open(Controller);
            let signal = Signal::new(rig.kernel());
            assert_eq!(open.trigger(REQUEST, 0, &[signal.number()]), Ok(0));
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.irqs(REQUEST, FIRE, (0, 1), &[]), Ok(0));
            assert_eq!(signal.count(), 1);
        },
    ),
    both(
        &["F87"],
        "a device in D3 is woken up",
        &[Device(Sleeper)],
        |host| {
            let (_rig, open) = host.open(Sleeper);
            let control = open.capability(POWER) + 4;
            open.set_config(control, open.config(control) | 3);
            assert_eq!(open.config(control) & 3, 3);
            assert_eq!(open.pread(0, 8, 4), Err(Errno::IO));
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.config(control) & 3, 0);
            assert!(open.pread(0, 8, 4).is_ok());
        },
    ),
    both(
        &["F87", "F89"],
        "a device that sleeps is reset, and sleeps on",
        &[Device(Controller)],
        |host| {
            const SLEEP: u32 = uapi::DEVICE_FEATURE_SET | uapi::DEVICE_FEATURE_LOW_POWER_ENTRY;
            let (_rig, open) = written(host);
            assert_eq!(feature(&open, 8, SLEEP, &[]).0, Ok(0));
            assert_eq!(reset(&open), Ok(0));
            assert_eq!(open.pread(0, INTERRUPT_MASK, 4), Ok(vec![0; 4]));
            assert_eq!(feature(&open, 8, SLEEP, &[]).0, Err(Errno::INVAL));
        },
    ),
    both(
        &["F87"],
        "while somebody else holds the device, who takes it from its driver: EAGAIN, and nothing is reset",
        &[Device(Controller)],
        |host| {
            let (rig, open) = written(host);
            let (answer, kept) = while_asked_for(host, Controller, open, |open| {
                (reset(open), open.pread(0, INTERRUPT_MASK, 4))
            });
            assert_eq!((answer, kept), (Err(Errno::AGAIN), Ok(MASKED.to_vec())));
            drop(rig);
        },
    ),
];

/// Where the interrupt line and pin are.
const LINE: u64 = 0x3c;

pub(super) fn reset(open: &Open) -> Result<u32> {
    ioctl(open.kernel(), &open.device, uapi::DEVICE_RESET, Arg::None)
}

/// A controller with something in a register.
fn written(host: &Host) -> (Rig, Open) {
    let (rig, open) = host.open(Controller);
    assert_eq!(open.pwrite(0, INTERRUPT_MASK, &MASKED), Ok(4));
    assert_eq!(open.pread(0, INTERRUPT_MASK, 4).unwrap(), MASKED);
    (rig, open)
}

fn flags(open: &Open) -> u32 {
    let mut info = uapi::DeviceInfo {
        argsz: 20,
        ..uapi::DeviceInfo::default()
    };
    let answer = call(
        open.kernel(),
        &open.device,
        uapi::DEVICE_GET_INFO,
        &mut info,
    );
    assert_eq!(answer, Ok(0));
    info.flags
}

/// What is answered while the device is to be given back by its driver, which then has it again.
pub(super) fn while_asked_for<T>(
    host: &Host,
    like: Trait,
    open: Open,
    ask: impl FnOnce(&Open) -> T,
) -> T {
    let asked = Signal::new(open.kernel());
    open.trigger(REQUEST, 0, &[asked.number()]).unwrap();
    let (_, bdf) = host.place(like);
    std::thread::scope(|scope| {
        let without = scope.spawn(|| host.without(&bdf));
        assert_eq!(asked.wait(), 1);
        let answer = ask(&open);
        drop(open); // now the driver gives it back
        drop(without.join().unwrap());
        answer
    })
}

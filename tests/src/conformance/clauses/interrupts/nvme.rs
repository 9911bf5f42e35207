//! F84, F85: an NVMe controller, which tells that it has done a command with its line or with its vector 0.

use std::cell::Cell;

use vfio_core::kernel::Result;
use vfio_core::uapi::{
    self, PCI_INTX_IRQ_INDEX as INTX, PCI_MSIX_IRQ_INDEX as MSIX, SpaprRegisterMemory,
};

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::{Clause, Trait, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::call;
use crate::conformance::rig::{COMMAND, Open, Rig, Signal};
use crate::engine::nvme::{
    COMPLETIONS, CONFIGURATION, ENABLE, QUEUE_SIZES, STATE, SUBMISSIONS, SUBMITTED, TAKEN,
};

use super::{fire, off, set, signals};

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F85"],
        "a message of MSI-X signals the eventfd of its vector, and no other",
        &[Device(Trait::Nvme)],
        |host| {
            let nvme = Nvme::open(host);
            let all: [Signal; 3] = signals(&nvme.open);
            let numbers = all.each_ref().map(Signal::number);
            nvme.open.trigger(MSIX, 0, &numbers).unwrap();
            nvme.enable();
            for _ in 0..3 {
                nvme.command();
                assert_eq!(all[0].wait(), 1);
            }
            assert_eq!([all[1].count(), all[2].count()], [0, 0]);
        },
    ),
    both(
        &["F85"],
        "a message of MSI-X without an eventfd is kept on x86 and arm64, and lost on POWER",
        &[Device(Trait::Nvme)],
        |host| {
            let nvme = Nvme::open(host);
            let [first, second] = signals(&nvme.open);
            let kept = u64::from(host.spapr().is_none());
            set(&nvme.open, MSIX, 0, &first).unwrap();
            nvme.enable();
            nvme.command();
            assert_eq!(first.wait(), 1);
            nvme.open.trigger(MSIX, 0, &[-1]).unwrap();
            nvme.command();
            nvme.wait_done();
            set(&nvme.open, MSIX, 0, &second).unwrap();
            fire(&nvme.open, MSIX, 0).unwrap();
            let mut came = 0;
            while came < 1 + kept {
                came += second.wait();
            }
            fire(&nvme.open, MSIX, 0).unwrap();
            assert_eq!((came, second.wait(), first.count()), (1 + kept, 1, 0));
        },
    ),
    both(
        &["F84", "F85"],
        "a device that had MSI-X has its line when that is off",
        &[Device(Trait::Nvme)],
        |host| {
            let nvme = Nvme::open(host);
            let [message, line] = signals(&nvme.open);
            set(&nvme.open, MSIX, 0, &message).unwrap();
            nvme.enable();
            nvme.command();
            assert_eq!(message.wait(), 1);
            nvme.take();
            off(&nvme.open, MSIX).unwrap();
            set(&nvme.open, INTX, 0, &line).unwrap();
            nvme.command();
            assert_eq!((line.wait(), message.count()), (1, 0));
        },
    ),
];

const READY: u8 = 1;

/// Each queue has as many, and they are never all used.
const ENTRIES: usize = 16;
/// Where the commands are; the completions are this much behind them.
const PLACE: u64 = 1 << 20;
const APART: usize = 4096;
/// Not a command: it is answered with an error.
const NO_COMMAND: u8 = 0x7f;
/// It is asked so often whether it is ready, at the very most.
const PATIENCE: u32 = 10_000_000;

/// The controller, with its admin queue in memory.
struct Nvme {
    open: Open,
    submitted: Cell<u32>,
    _rig: Rig,
    memory: Memory,
}

impl Nvme {
    fn open(host: &Host) -> Self {
        const MEMORY_SPACE: u16 = 1 << 1;
        let memory = host.memory(2);
        memory.put(0, &vec![0; 2 * APART]);
        let (rig, open) = host.open(Trait::Nvme);
        open.set_config(COMMAND, open.config(COMMAND) | MEMORY_SPACE);
        if host.spapr().is_some() {
            register(&rig, &memory).unwrap();
        }
        rig.map(PLACE, &memory).unwrap();
        Self {
            open,
            submitted: Cell::new(0),
            _rig: rig,
            memory,
        }
    }

    /// From now on it does commands. It takes MSI-X into account if that is on now.
    fn enable(&self) {
        let size = u32::try_from(ENTRIES - 1).unwrap();
        self.write(QUEUE_SIZES, size << 16 | size);
        for (register, at) in [(SUBMISSIONS, PLACE), (COMPLETIONS, PLACE + APART as u64)] {
            self.write(register, u32::try_from(at).unwrap());
            self.write(register + 4, 0);
        }
        self.write(CONFIGURATION, ENABLE);
        wait_for(|| self.open.pread(0, STATE, 4).unwrap()[0] & READY != 0);
    }

    /// Gives it a command. What it answers is told with an interrupt.
    fn command(&self) {
        let number = self.submitted.get();
        let mut command = [0; 64];
        command[0] = NO_COMMAND;
        self.memory.put(64 * number as usize, &command);
        self.submitted.set(number + 1);
        assert!(self.submitted.get() < u32::try_from(ENTRIES).unwrap());
        self.write(SUBMITTED, self.submitted.get());
    }

    /// Until the last command was answered: the queue is used once, and the phase of an answer is 1.
    fn wait_done(&self) {
        let answer = APART + 16 * (self.submitted.get() as usize - 1);
        wait_for(|| self.memory.get(answer + 14..answer + 15)[0] & 1 != 0);
    }

    /// Takes all that was answered.
    fn take(&self) {
        self.write(TAKEN, self.submitted.get());
    }

    fn write(&self, register: u64, value: u32) {
        let done = self.open.pwrite(0, register, &value.to_le_bytes());
        assert_eq!(done, Ok(4));
    }
}

fn wait_for(is_so: impl Fn() -> bool) {
    for _ in 0..PATIENCE {
        if is_so() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("the controller does not answer");
}

/// What sPAPR wants before memory is mapped.
fn register(rig: &Rig, memory: &Memory) -> Result<u32> {
    let mut register = SpaprRegisterMemory {
        argsz: 24,
        flags: 0,
        vaddr: memory.at(),
        size: memory.len(),
    };
    call(
        rig.kernel(),
        &rig.container,
        uapi::SPAPR_REGISTER_MEMORY,
        &mut register,
    )
}

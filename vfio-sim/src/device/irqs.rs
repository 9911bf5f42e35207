//! VFIO_DEVICE_SET_IRQS: what it is asked, before it is done (F81, F82).

use std::os::fd::RawFd;

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, IrqSet};
use zerocopy::FromBytes;

use crate::arg;
use crate::eventfd::EventFd;
use crate::machine::{Machine, Profile};
use crate::watch::Watch;
use crate::world::World;

use super::State;
use super::info::IRQS;

const DATA: u32 = uapi::IRQ_SET_DATA_NONE | uapi::IRQ_SET_DATA_BOOL | uapi::IRQ_SET_DATA_EVENTFD;
const ACTIONS: u32 =
    uapi::IRQ_SET_ACTION_MASK | uapi::IRQ_SET_ACTION_UNMASK | uapi::IRQ_SET_ACTION_TRIGGER;

/// The interrupts of a device.
#[derive(Debug, Clone)]
pub(super) struct Irqs {
    /// The one index of INTx, MSI and MSI-X that is on (F84).
    pub(super) on: Option<u32>,
    /// The line's eventfd, or those of the vectors.
    pub(super) vectors: Vec<Vector>,
    /// Whether the line is masked.
    pub(super) is_masked: bool,
    /// The eventfd that unmasks the line.
    pub(super) unmask: Option<Watch>,
    pub(super) error: Option<EventFd>,
    pub(super) request: Option<EventFd>,
    is_dynamic: bool,
    profile: Profile,
    most_msi: Option<u32>,
    /// Those of MSI and MSI-X whose messages wait for an eventfd.
    kept: &'static [u32],
}

/// A vector that the host may have allocated.
#[derive(Debug, Default, Clone)]
pub(super) struct Vector {
    pub(super) is_allocated: bool,
    /// Whether the device has sent its message while there was no eventfd.
    pub(super) is_pending: bool,
    pub(super) eventfd: Option<EventFd>,
}

/// The data of a call.
pub(super) enum Data {
    None,
    Bools(Vec<bool>),
    EventFds(Vec<RawFd>),
}

/// A call that makes sense.
pub(super) struct Call {
    pub(super) index: u32,
    pub(super) start: u32,
    pub(super) count: u32,
    pub(super) data: Data,
}

impl Irqs {
    pub(super) fn of(machine: &Machine) -> Self {
        let profile = machine.profile();
        Self {
            on: None,
            vectors: Vec::new(),
            is_masked: false,
            unmask: None,
            error: None,
            request: None,
            is_dynamic: machine.can_grow_msix(),
            profile,
            most_msi: machine.most_msi,
            kept: match machine.arch.as_str() {
                "x86_64" => &[uapi::PCI_MSI_IRQ_INDEX, uapi::PCI_MSIX_IRQ_INDEX],
                "aarch64" => &[uapi::PCI_MSIX_IRQ_INDEX],
                _ => &[],
            },
        }
    }

    /// How many vectors of an index the machine has to give.
    pub(super) fn most(&self, index: u32) -> u32 {
        let most = self.most_msi.filter(|_| index == uapi::PCI_MSI_IRQ_INDEX);
        most.unwrap_or(u32::MAX)
    }

    /// Whether MSI-X vectors can be added while others are in use.
    pub(super) fn is_dynamic(&self) -> bool {
        self.is_dynamic
    }

    /// Whether a call may reach so far, where that is asked of the call as a whole (F85).
    pub(super) fn has_vectors(&self, end: usize) -> bool {
        self.profile.adds_vectors() || end <= self.vectors.len()
    }

    /// Whether a message waits for an eventfd where its vector has none.
    pub(super) fn keeps_messages(&self) -> bool {
        self.on.is_some_and(|index| self.kept.contains(&index))
    }

    pub(super) fn sends_messages(&self) -> bool {
        matches!(
            self.on,
            Some(uapi::PCI_MSI_IRQ_INDEX | uapi::PCI_MSIX_IRQ_INDEX)
        )
    }

    /// Takes INTx, MSI or MSI-X away, whichever is on.
    pub(super) fn disable(&mut self) {
        self.on = None;
        self.vectors.clear();
        self.unmask = None;
        self.is_masked = false;
    }

    pub(super) fn disable_all(&mut self) {
        self.disable();
        self.error = None;
        self.request = None;
    }
}

impl World {
    pub(crate) fn request_release(&mut self, bdf: &str) {
        self.notice_closed();
        if let Some(eventfd) = &self.state(bdf).irqs.request {
            eventfd.signal();
        }
    }

    pub(super) fn set_irqs(&mut self, bdf: &str, arg: &Arg<'_>) -> Result<u32> {
        let (set, data) = self.state(bdf).validate(arg)?;
        let call = Call {
            index: set.index,
            start: set.start,
            count: set.count,
            data,
        };
        match (set.index, set.flags & ACTIONS) {
            (uapi::PCI_INTX_IRQ_INDEX, uapi::IRQ_SET_ACTION_MASK) => self.state(bdf).mask(&call),
            (uapi::PCI_INTX_IRQ_INDEX, uapi::IRQ_SET_ACTION_UNMASK) => self.unmask(bdf, &call),
            (uapi::PCI_INTX_IRQ_INDEX, uapi::IRQ_SET_ACTION_TRIGGER) => {
                self.state(bdf).trigger_line(&call)
            }
            (uapi::PCI_MSI_IRQ_INDEX | uapi::PCI_MSIX_IRQ_INDEX, uapi::IRQ_SET_ACTION_TRIGGER) => {
                self.state(bdf).trigger_vectors(&call)
            }
            (uapi::PCI_ERR_IRQ_INDEX, uapi::IRQ_SET_ACTION_TRIGGER)
                if self.state(bdf).reports_errors() =>
            {
                event(&mut self.state(bdf).irqs.error, &call)
            }
            (uapi::PCI_REQ_IRQ_INDEX, uapi::IRQ_SET_ACTION_TRIGGER) => {
                event(&mut self.state(bdf).irqs.request, &call)
            }
            _ => Err(Errno::NOTTY), // F82
        }
    }
}

impl State {
    /// F81
    fn validate(&self, arg: &Arg<'_>) -> Result<(IrqSet, Data)> {
        let set: IrqSet = arg::sized(arg)?;
        let count = self.irq_count(set.index);
        let end = set.start.checked_add(set.count);
        let known = set.index < IRQS
            && set.flags & !(DATA | ACTIONS) == 0
            && set.count < u32::MAX - set.start
            && set.start < count
            && end.is_some_and(|end| end <= count);
        if !known {
            return Err(Errno::INVAL);
        }
        let size = match set.flags & DATA {
            uapi::IRQ_SET_DATA_NONE => return Ok((set, Data::None)),
            uapi::IRQ_SET_DATA_BOOL => 1,
            uapi::IRQ_SET_DATA_EVENTFD => size_of::<RawFd>(),
            _ => return Err(Errno::INVAL),
        };
        let head = size_of::<IrqSet>();
        let needed = set.count as usize * size;
        if (set.argsz as usize) - head < needed {
            return Err(Errno::INVAL);
        }
        let bytes = arg::bytes(arg)?
            .get(head..head + needed)
            .ok_or(Errno::FAULT)?;
        let data = if size == 1 {
            Data::Bools(bytes.iter().map(|&byte| byte != 0).collect())
        } else {
            let fds = bytes.chunks_exact(size);
            Data::EventFds(
                fds.map(|fd| RawFd::read_from_bytes(fd).unwrap_or(-1))
                    .collect(),
            )
        };
        Ok((set, data))
    }
}

/// Errors and release requests: one interrupt each (F86).
fn event(slot: &mut Option<EventFd>, call: &Call) -> Result<u32> {
    match &call.data {
        Data::None => {
            let eventfd = slot.as_ref().ok_or(Errno::INVAL)?;
            match call.count {
                0 => *slot = None,
                _ => eventfd.signal(),
            }
        }
        _ if call.count == 0 => return Err(Errno::INVAL),
        Data::Bools(bools) => {
            if let Some(eventfd) = slot.as_ref().filter(|_| bools.contains(&true)) {
                eventfd.signal();
            }
        }
        Data::EventFds(fds) => match fds.first() {
            Some(-1) => *slot = None,
            Some(&fd) if fd >= 0 => *slot = Some(EventFd::of_number(fd)?),
            _ => return Err(Errno::INVAL),
        },
    }
    Ok(0)
}

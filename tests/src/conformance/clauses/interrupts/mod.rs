//! F80 to F86, F90, P4: interrupts, delivered to eventfds.

mod actions;
mod edu;
mod events;
mod exclusive;
mod growing;
mod info;
mod ioeventfd;
mod ioeventfd_writes;
mod line;
mod line_delivery;
mod line_unmask;
mod loopback;
mod messages;
mod nvme;
mod release;
mod request;
mod scarce;
mod vectors;

use vfio_core::kernel::{Errno, Result};
use vfio_core::uapi;

use crate::conformance::clause::Clause;
use crate::conformance::rig::{Open, Signal};

pub(super) const CLAUSES: &[&[Clause]] = &[
    info::CLAUSES,
    request::CLAUSES,
    actions::CLAUSES,
    line::CLAUSES,
    line_delivery::CLAUSES,
    line_unmask::CLAUSES,
    exclusive::CLAUSES,
    vectors::CLAUSES,
    loopback::CLAUSES,
    messages::CLAUSES,
    nvme::CLAUSES,
    growing::CLAUSES,
    scarce::CLAUSES,
    events::CLAUSES,
    release::CLAUSES,
    ioeventfd::CLAUSES,
    ioeventfd_writes::CLAUSES,
];

const NONE: u32 = uapi::IRQ_SET_DATA_NONE;
const BOOL: u32 = uapi::IRQ_SET_DATA_BOOL;
const EVENTFD: u32 = uapi::IRQ_SET_DATA_EVENTFD;
const TRIGGER: u32 = uapi::IRQ_SET_ACTION_TRIGGER;
const MASK: u32 = uapi::IRQ_SET_ACTION_MASK;
const UNMASK: u32 = uapi::IRQ_SET_ACTION_UNMASK;

const INVALID: Result<u32> = Err(Errno::INVAL);
/// The number of no fd.
const NO_FD: i32 = i32::MAX;

/// Eventfds that nobody signals yet.
fn signals<const N: usize>(device: &Open) -> [Signal; N] {
    std::array::from_fn(|_| Signal::new(device.kernel()))
}

/// Sets one interrupt by an eventfd.
fn set(device: &Open, index: u32, vector: u32, signal: &Signal) -> Result<u32> {
    device.trigger(index, vector, &[signal.number()])
}

/// Fires one interrupt, without the device.
fn fire(device: &Open, index: u32, vector: u32) -> Result<u32> {
    device.irqs(index, NONE | TRIGGER, (vector, 1), &[])
}

/// Switches an index off.
fn off(device: &Open, index: u32) -> Result<u32> {
    device.irqs(index, NONE | TRIGGER, (0, 0), &[])
}

/// The fd of a device, which is no eventfd.
fn no_eventfd(device: &Open) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&device.device)
}

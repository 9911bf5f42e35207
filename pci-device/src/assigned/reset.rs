//! Resets: what a guest asks for in its device's registers, and what a VMM does with a whole guest.

use std::sync::Arc;

use vfio_core::host::Bdf;
use vfio_core::{Error, ErrorKind, Result};

use super::{AssignedDevice, Inner, State};
use crate::config::Command;
use crate::quirk::Quirk;
use crate::virtual_config::PowerState;
use crate::vmm::Event;

/// How a device is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetMethod {
    /// By itself, by its function level reset, or by another way that the kernel knows for it alone.
    Function,
    /// With its bus, and everything that is on it.
    Bus,
    /// By itself, by the way through its sleeping state: what that resets is up to the device.
    Power,
    /// By the sequence that a [quirk](crate::quirk) knows.
    Sequence,
}

impl AssignedDevice {
    /// How it will be reset, if everything in `guest` may be reset with it.
    ///
    /// A function level reset is taken before one of the bus, which resets more than was asked for, and that before one by
    /// the sleeping state, after which devices often are as before.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`]: there is no way, or only one that would reset devices that are not in `guest`; the error
    /// names them. [`Error::diagnose`](vfio_core::Error::diagnose) says what can be done (VFIO-11). What the kernel
    /// answered.
    pub fn reset_method(&self, guest: &[Self]) -> Result<ResetMethod> {
        let inner = &*self.0;
        if inner.sequence().is_some() {
            return Ok(ResetMethod::Sequence);
        }
        let (has_flr, by_power) = {
            let state = inner.lock();
            (
                state.config.has_function_reset(),
                state.config.wakes_up_reset(),
            )
        };
        let alone = inner.device.info()?.can_reset;
        if alone && (has_flr || !by_power) {
            return Ok(ResetMethod::Function);
        }
        let bus = inner.resets_with_bus(guest);
        match (bus, alone) {
            (Ok(()), _) => Ok(ResetMethod::Bus),
            (Err(_), true) => Ok(ResetMethod::Power),
            (Err(why), false) => Err(Error::new(
                ErrorKind::Unsupported,
                "VFIO_DEVICE_RESET",
                inner.device.bdf().to_string(),
            )
            .of_device(inner.device.bdf())
            .because(format!("it cannot be reset by itself, and {why}"))),
        }
    }

    /// Resets the device, as the VMM wants it: what the guest had mapped of it goes first, and its registers are as after
    /// power-on. For all devices of a guest there is [`reset_guest`].
    ///
    /// # Errors
    /// As for [`reset_method`](Self::reset_method) with this device alone. The guest's registers are as after a reset all the
    /// same.
    pub fn reset(&self) -> Result<()> {
        match reset_guest(std::slice::from_ref(self)).pop() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Resets all devices of a guest, as its VMM does when the guest resets: first each is stopped, so that none does DMA and
/// nothing of them is mapped; then they are reset, a bus only once; then the guest sees each as after power-on.
///
/// The kernel saves and restores config space around a reset. What a guest can have written there is written back as it was
/// before it was the guest's: command, power, and the control registers of PCI Express; masks of reported errors stay.
///
/// Answers which could not be reset, and why. These are stopped and restored like the others, but the device itself keeps
/// what it had.
pub fn reset_guest(devices: &[AssignedDevice]) -> Vec<(AssignedDevice, Error)> {
    for device in devices {
        device.0.stop(&mut device.0.lock());
    }
    let mut failed = Vec::new();
    let mut done: Vec<Bdf> = Vec::new();
    for device in devices {
        let inner = &*device.0;
        if done.contains(&inner.device.bdf()) {
            continue; // it was reset with another's bus
        }
        let method = device.reset_method(devices);
        match method.and_then(|method| inner.carry_out(method, devices)) {
            Ok(reset) => done.extend(reset),
            Err(error) => failed.push((device.clone(), error)),
        }
    }
    for device in devices {
        device.0.restore(&mut device.0.lock());
    }
    failed
}

impl Inner {
    /// Nothing of it is anywhere in the guest any more, and it does no DMA. It is awake, as whoever resets it wants it.
    pub(super) fn stop(&self, state: &mut State) {
        state.stopped = state.stopped.saturating_add(1);
        self.settle(state, |state| {
            if state.config.power() != PowerState::D0 {
                self.set_power(state.config.power_register(), PowerState::D0);
            }
            self.set_command(Command::empty());
        });
    }

    /// It is there again, as after power-on, unless somebody else has stopped it, too.
    fn restore(&self, state: &mut State) {
        state.stopped = state.stopped.saturating_sub(1);
        self.forget(state);
        self.reporter.forget();
    }

    /// The guest's registers are as after power-on.
    pub(super) fn forget(&self, state: &mut State) {
        let effects = state.config.reset();
        self.settle(state, |state| {
            for (register, value) in state.config.before_use() {
                self.set_word(*register, *value);
            }
            self.set_command(state.config.command());
        });
        self.tell_interrupts(&effects);
        if let Some(table) = &self.msix {
            table.reset();
        }
    }

    /// The guest has asked for a function level reset.
    pub(super) fn reset_by_guest(&self, state: &mut State) {
        self.stop(state);
        let done = match self.sequence() {
            Some(quirk) => quirk.reset(&self.device),
            None => self.device.reset(),
        };
        if let Err(error) = done {
            self.report(Event::ResetFailed(error));
        }
        self.restore(state);
    }

    /// The quirk by whose sequence it is reset, if there is one.
    fn sequence(&self) -> Option<&Arc<dyn Quirk>> {
        self.quirks.iter().find(|quirk| quirk.resets())
    }

    /// Resets it; answers what was reset.
    fn carry_out(&self, method: ResetMethod, guest: &[AssignedDevice]) -> Result<Vec<Bdf>> {
        match (method, self.sequence()) {
            (ResetMethod::Bus, _) => {
                let members = self.device.hot_reset_info()?;
                let others: Vec<_> = guest.iter().map(|it| it.0.device.clone()).collect();
                self.device.hot_reset(&others)?;
                return Ok(members.into_iter().map(|member| member.bdf).collect());
            }
            (ResetMethod::Sequence, Some(quirk)) => quirk.reset(&self.device)?,
            _ => self.device.reset()?,
        }
        Ok(vec![self.device.bdf()])
    }

    /// Whether a reset of the bus would reset nothing but this device and those of `guest`.
    fn resets_with_bus(&self, guest: &[AssignedDevice]) -> std::result::Result<(), String> {
        let members = self.device.hot_reset_info().map_err(|error| {
            let why = error.reason().unwrap_or("its bus cannot be reset");
            why.to_owned()
        })?;
        let is_ours =
            |bdf| bdf == self.device.bdf() || guest.iter().any(|it| it.0.device.bdf() == bdf);
        let others: Vec<_> = members
            .iter()
            .filter(|member| !is_ours(member.bdf))
            .map(|member| member.bdf.to_string())
            .collect();
        match others.is_empty() {
            true => Ok(()),
            false => Err(format!("its bus only with {}", others.join(", "))),
        }
    }
}

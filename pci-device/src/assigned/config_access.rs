//! A guest's accesses to config space.

use vfio_core::Result;

use super::{AssignedDevice, Inner, State};
use crate::config::{COMMAND, Command};
use crate::virtual_config::{DeviceWrite, Effect, PowerState, WIDTH};
use crate::vmm::Event;

impl AssignedDevice {
    /// Reads config space for the guest: any number of bytes from any offset. Behind the end there are ones.
    ///
    /// Four bytes cost one `pread` at most, and none where the device need not be asked. A device that does not answer reads
    /// as ones.
    pub fn read_config(&self, offset: u16, bytes: &mut [u8]) {
        let state = self.0.lock();
        let mut at = usize::from(offset);
        for piece in bytes.chunks_mut(WIDTH) {
            self.0.read_piece(&state, at, piece);
            at += piece.len();
        }
    }

    /// Writes config space for the guest: any number of bytes from any offset. What is behind the end is lost.
    ///
    /// When this returns, what the write has changed has happened: BARs are where they are to be, the device sleeps, is
    /// reset.
    pub fn write_config(&self, offset: u16, bytes: &[u8]) {
        let mut state = self.0.lock();
        let mut at = usize::from(offset);
        for piece in bytes.chunks(WIDTH) {
            self.0.write_piece(&mut state, at, piece);
            at += piece.len();
        }
    }
}

impl Inner {
    fn read_piece(&self, state: &State, at: usize, bytes: &mut [u8]) {
        let Ok(offset) = u16::try_from(at) else {
            return bytes.fill(0xff);
        };
        let known = state.config.read(offset, bytes.len());
        let mut value = known.value;
        if known.device != 0 {
            value |= known.device & self.read_device(offset, bytes.len()).unwrap_or(u32::MAX);
        }
        for (byte, of_value) in bytes.iter_mut().zip(value.to_le_bytes()) {
            *byte = of_value;
        }
    }

    fn write_piece(&self, state: &mut State, at: usize, bytes: &[u8]) {
        let Ok(offset) = u16::try_from(at) else {
            return;
        };
        if state.stopped > 0 {
            return; // what is being reset forgets it anyway
        }
        let mut value = [0; WIDTH];
        for (to, from) in value.iter_mut().zip(bytes) {
            *to = *from;
        }
        let written = state
            .config
            .write(offset, bytes.len(), u32::from_le_bytes(value));
        let power = state.config.power_register();
        let moves = |effect: &Effect| {
            matches!(
                effect,
                Effect::Command { .. } | Effect::Bar(_) | Effect::Power { .. }
            )
        };
        let tell_device = |_: &mut State| {
            for write in &written.device {
                self.write_device(write);
            }
            for effect in &written.effects {
                match *effect {
                    Effect::Command { to, .. } => self.set_command(to),
                    Effect::Power { to, .. } => self.set_power(power, to),
                    _ => {}
                }
            }
        };
        match written.effects.iter().any(moves) {
            true => self.settle(state, tell_device),
            false => tell_device(state),
        }
        self.tell_interrupts(&written.effects);
        for effect in &written.effects {
            match effect {
                Effect::FunctionReset => self.reset_by_guest(state),
                Effect::Power { resets: true, .. } => self.forget(state),
                _ => {}
            }
        }
    }

    /// Who delivers interrupts is told what has changed of them.
    pub(super) fn tell_interrupts(&self, effects: &[Effect]) {
        let interrupts = &self.vmm.interrupts;
        for effect in effects {
            match effect {
                Effect::Command { from, to } => {
                    let was = from.contains(Command::INTX_DISABLE);
                    let is = to.contains(Command::INTX_DISABLE);
                    if was != is {
                        interrupts.line(is);
                    }
                }
                Effect::Msi(msi) => interrupts.msi(msi),
                Effect::MsixControl { enabled, masked } => interrupts.msix(*enabled, *masked),
                _ => {}
            }
        }
    }

    /// Writes the device's command register.
    pub(super) fn set_command(&self, command: Command) {
        self.set_word(COMMAND, command.bits());
    }

    /// Puts the device to sleep, or wakes it up, by the register that says so.
    pub(super) fn set_power(&self, register: Option<u16>, power: PowerState) {
        if let Some(register) = register {
            // Beside the state there are the bits of PME, which VFIO keeps from everybody, and which are written as 0.
            self.set_word(register, power.bits());
        }
    }

    /// Writes a register of the device's, of two bytes.
    pub(super) fn set_word(&self, register: u16, value: u16) {
        let done = self
            .config
            .write_bytes(register.into(), &value.to_le_bytes());
        self.report_config(done);
    }

    /// Asks the device: one call.
    fn read_device(&self, offset: u16, len: usize) -> Option<u32> {
        let mut bytes = [0; WIDTH];
        let wanted = bytes.get_mut(..len)?;
        let done = self.config.read_bytes(offset.into(), wanted);
        let is_done = done.is_ok();
        self.report_config(done);
        is_done.then_some(u32::from_le_bytes(bytes))
    }

    /// Writes what of a guest's write is the device's.
    fn write_device(&self, write: &DeviceWrite) {
        let len = usize::from(write.len);
        let value = (write.value & write.bits).to_le_bytes();
        if let Some(bytes) = value.get(..len) {
            self.report_config(self.config.write_bytes(write.offset.into(), bytes));
        }
    }

    fn report_config(&self, done: Result<()>) {
        if let Err(error) = done {
            self.report(Event::ConfigFailed(error));
        }
    }
}

//! Devices, as VFIO shows them (part F of the page of kernel behaviours).
//!
//! - `info`: what GET_INFO and its like answer.
//! - `access`, `config`: reading and writing regions; config space, of which VFIO invents a part.
//! - `map`, `memory`: mapped regions, and what is behind BARs of memory.
//! - `irqs`, `intx`, `vectors`: interrupts, delivered to eventfds.
//! - `reset`, `feature`, `ioeventfd`: what their names say.
//! - `isolation`: what does not pass while a group is frozen or in a reset.
//! - `bus`: what a model reaches of the rest of the machine.

mod access;
mod bus;
mod config;
mod feature;
mod info;
mod intx;
mod ioeventfd;
mod irqs;
mod isolation;
mod kept;
mod map;
mod memory;
mod reset;
mod vectors;

use std::os::fd::OwnedFd;

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi;

use crate::event::Object;
use crate::eventfd::EventFd;
use crate::iommu::Hazard;
use crate::machine::{self, Profile, Sriov};
use crate::model::Model;
use crate::token::{self, Token};
use crate::world::World;

pub(crate) use access::Transfer;
use config::Config;
use ioeventfd::IoEventFd;
use irqs::Irqs;
pub(crate) use kept::Kept;
pub(crate) use map::Mappable;
use memory::Memory;

/// How far apart the regions are in a device's fd: the index is shifted by so many bits (F75).
const REGION_SHIFT: u32 = 40;

/// What sysfs shows of a device's config space: VFIO's, but for BARs that the host has given no addresses, whose registers
/// say what they would be.
pub(crate) fn config_space(device: &machine::Device, machine: &machine::Machine) -> Vec<u8> {
    const PORTS: u8 = 1;
    let config = Config::of(device, machine);
    let mut bytes = vec![0; config.len()];
    config.read(0, &mut bytes);
    for (number, bar) in device.bars.iter().enumerate() {
        let has_ports = bar.is_some_and(|bar| bar.kind == machine::BarKind::Io);
        if let Some(register) = bytes.get_mut(0x10 + 4 * number).filter(|_| has_ports) {
            *register |= PORTS;
        }
    }
    bytes
}

/// A device that was opened.
#[derive(Debug)]
pub(crate) struct State {
    description: machine::Device,
    config: Config,
    irqs: Irqs,
    profile: Profile,
    /// Whether the device asserts its interrupt line.
    line: bool,
    /// `None` while it runs: it reaches the rest of the kernel then.
    model: Option<Box<dyn Model>>,
    /// What is behind BARs of memory.
    memory: [Option<Memory>; 6],
    /// The MSI-X table, as the hardware has it and a mapping shows it.
    table: Vec<u8>,
    /// The size of a page of the machine, in bytes.
    page: u64,
    /// Which BARs can be mapped (F76).
    is_mappable: [bool; 6],
    /// Whether a reset works.
    can_reset: bool,
    ioeventfds: Vec<IoEventFd>,
    is_asleep: bool,
    /// Signalled when somebody asks the device something while it is asleep, which wakes it up.
    wakeup: Option<EventFd>,
    /// Of a physical function: what its virtual ones are opened with.
    pub(crate) vf_token: Token,
}

impl World {
    /// A device by name, in the state in which it was left.
    pub(crate) fn state(&mut self, bdf: &str) -> &mut State {
        let machine = &self.machine;
        self.devices.entry(bdf.to_owned()).or_insert_with(|| {
            let unknown = || machine::Device::bare(bdf, 0xffff, 0xffff, 0);
            State::new(
                machine.device(bdf).cloned().unwrap_or_else(unknown),
                machine,
            )
        })
    }

    /// A15, F91
    pub(crate) fn open_device(&mut self, group: u32, bdf: String) -> Result<OwnedFd> {
        let is_first = !self
            .device_objects()
            .any(|object| object.bdf() == Some(&bdf));
        if is_first {
            self.may_change_owner(&bdf)?;
            self.state(&bdf).power_up();
            self.state(&bdf).show_memory()?;
        }
        self.new_fd(Object::Device { bdf, group })
    }

    /// F91
    pub(crate) fn close_device(&mut self, bdf: &str) {
        self.state(bdf).power_down();
        if self.may_change_owner(bdf).is_err() {
            self.hazards.push(Hazard::H12);
        }
    }

    pub(crate) fn device_ioctl(
        &mut self,
        bdf: &str,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<u32> {
        self.state(bdf).resume();
        match opcode {
            uapi::DEVICE_GET_INFO => self.state(bdf).info(arg)?,
            uapi::DEVICE_GET_REGION_INFO => self.state(bdf).region_info(arg)?,
            uapi::DEVICE_GET_IRQ_INFO => self.state(bdf).irq_info(arg)?,
            uapi::DEVICE_SET_IRQS => return self.set_irqs(bdf, arg),
            uapi::DEVICE_RESET => self.reset(bdf)?,
            uapi::DEVICE_GET_PCI_HOT_RESET_INFO => self.hot_reset_info(bdf, arg)?,
            uapi::DEVICE_PCI_HOT_RESET => self.hot_reset(bdf, arg)?,
            uapi::DEVICE_IOEVENTFD => self.ioeventfd(bdf, arg)?,
            uapi::DEVICE_FEATURE => self.state(bdf).feature(arg)?,
            _ => return Err(Errno::NOTTY),
        }
        self.state(bdf).show_memory()?;
        Ok(0)
    }
}

impl State {
    fn new(description: machine::Device, machine: &machine::Machine) -> Self {
        let model = (description.model.0)();
        Self {
            config: Config::of(&description, machine),
            irqs: Irqs::of(machine),
            profile: machine.profile(),
            line: false,
            model: Some(model),
            memory: std::array::from_fn(|_| None),
            table: access::masked_table(&description),
            page: machine.page_size as u64,
            is_mappable: std::array::from_fn(|n| machine.is_mappable(&description, n)),
            can_reset: machine.can_reset(&description),
            ioeventfds: Vec::new(),
            is_asleep: false,
            wakeup: None,
            vf_token: token::random(),
            description,
        }
    }

    /// The first time that it is opened since it was closed.
    fn power_up(&mut self) {
        self.reset_model();
        self.config.restore();
    }

    /// The last fd and the last mapped region have gone.
    fn power_down(&mut self) {
        self.irqs.disable_all();
        self.ioeventfds.clear();
        self.is_asleep = false;
        self.wakeup = None;
        self.reset_model();
        self.config.restore();
    }

    /// Every call wakes up a device that sleeps until somebody calls; another sleeps on after it.
    fn resume(&mut self) {
        if let Some(wakeup) = self.wakeup.take() {
            self.is_asleep = false;
            wakeup.signal();
        }
    }

    fn reset_model(&mut self) {
        self.line = false;
        self.config.show_line(false);
        self.table = access::masked_table(&self.description);
        if let Some(model) = &mut self.model {
            model.reset();
        }
    }

    /// Config space shows which of MSI and MSI-X is on.
    fn show_enabled(&mut self) {
        let vectors = u32::try_from(self.irqs.vectors.len()).unwrap_or(u32::MAX);
        let is_on = |index| self.irqs.on == Some(index);
        self.config
            .show_msi(is_on(uapi::PCI_MSI_IRQ_INDEX).then_some(vectors));
        self.config.show_msix(is_on(uapi::PCI_MSIX_IRQ_INDEX));
    }

    fn is_physical_function(&self) -> bool {
        self.description.sriov == Sriov::Physical
    }

    /// Whether the device answers in memory space, once it was woken up as every call on its fd does.
    fn decodes_memory(&self) -> bool {
        self.config.decodes_memory()
    }

    /// Whether what is mapped of it can be accessed now: nobody wakes it up for that (F77).
    fn answers_mappings(&self) -> bool {
        self.decodes_memory() && !self.is_asleep
    }
}

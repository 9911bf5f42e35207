//! Resets: of a device alone (F87), and of a bus with everything on it (F88).

use std::os::fd::RawFd;

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{PciDependentDevice, PciHotReset, PciHotResetInfo};
use zerocopy::{FromBytes, IntoBytes};

use crate::arg;
use crate::event::Object;
use crate::files::Inode;
use crate::machine::Device;
use crate::world::World;

use super::State;

impl State {
    /// The kernel saves config space before, and restores it afterwards; eventfds stay.
    pub(super) fn reset_function(&mut self) {
        self.config.wake();
        self.reset_model();
    }
}

impl World {
    /// F87. The driver that is to give a device back holds it.
    pub(super) fn reset(&mut self, bdf: &str) -> Result<()> {
        if !self.state(bdf).can_reset {
            return Err(Errno::INVAL);
        }
        if self.leaving.contains(bdf) {
            return Err(Errno::AGAIN);
        }
        let blocks = self.blocks_config(bdf);
        let device = self.machine.device(bdf);
        if blocks && device.is_some_and(Device::has_function_level_reset) {
            return Err(Errno::NOTTY); // D58c
        }
        self.state(bdf).reset_function();
        Ok(())
    }

    /// The devices that a hot reset of this one resets, each with its group.
    fn reset_set(&self, bdf: &str) -> Result<Vec<(u32, String)>> {
        let bus = self.machine.device(bdf).and_then(|device| device.reset_bus);
        let bus = bus.ok_or(Errno::NODEV)?;
        let mut set = Vec::new();
        for group in &self.machine.groups {
            let there = group
                .devices
                .iter()
                .filter(|device| device.reset_bus == Some(bus));
            set.extend(there.map(|device| (group.id, device.bdf.clone())));
        }
        Ok(set)
    }

    pub(super) fn hot_reset_info(&self, bdf: &str, arg: &mut Arg<'_>) -> Result<()> {
        let mut info: PciHotResetInfo = arg::sized(arg)?;
        let set = self.reset_set(bdf)?;
        info.flags = 0;
        info.count = u32::try_from(set.len()).unwrap_or(u32::MAX);
        let head = size_of::<PciHotResetInfo>();
        let needed = head + set.len() * size_of::<PciDependentDevice>();
        if (info.argsz as usize) < needed {
            arg::write(arg, &info, head)?;
            return Err(Errno::NOSPC);
        }
        for (n, (group, bdf)) in set.iter().enumerate() {
            let entry = dependent(*group, bdf);
            arg::put(
                arg,
                head + n * size_of::<PciDependentDevice>(),
                entry.as_bytes(),
            )?;
        }
        arg::write(arg, &info, head)
    }

    pub(super) fn hot_reset(&mut self, bdf: &str, arg: &Arg<'_>) -> Result<()> {
        let request: PciHotReset = arg::sized(arg)?;
        let count = request.count as usize;
        let counts_first = self.machine.profile().counts_fds_first();
        if request.flags != 0 || counts_first && count == 0 {
            return Err(Errno::INVAL);
        }
        let set = self.reset_set(bdf)?;
        if count == 0 || count > set.len() {
            return Err(Errno::INVAL);
        }
        let head = size_of::<PciHotReset>();
        let fds = arg::bytes(arg)?.get(head..head + count * size_of::<RawFd>());
        let mut owned = Vec::new();
        for fd in fds.ok_or(Errno::FAULT)?.chunks_exact(size_of::<RawFd>()) {
            let fd = RawFd::read_from_bytes(fd).map_err(|_| Errno::FAULT)?;
            match self.files.find(Inode::of_number(fd)?) {
                Some(Object::Group(id)) => owned.push(*id),
                _ => return Err(Errno::INVAL),
            }
        }
        let is_bound = |bdf: &str| {
            self.machine
                .device(bdf)
                .is_some_and(|it| it.is_bound_to_vfio())
        };
        let is_ours = |(group, bdf): &(u32, String)| owned.contains(group) && is_bound(bdf);
        if !set.iter().all(is_ours) {
            return Err(Errno::INVAL);
        }
        if set.iter().any(|(_, bdf)| self.leaving.contains(bdf)) {
            return Err(Errno::AGAIN);
        }
        for (_, bdf) in &set {
            self.state(bdf).reset_function();
        }
        Ok(())
    }
}

/// Where a device is, as numbers.
fn dependent(group_id: u32, bdf: &str) -> PciDependentDevice {
    let numbers: Vec<u32> = bdf
        .split([':', '.'])
        .map(|part| u32::from_str_radix(part, 16).unwrap_or(0))
        .collect();
    let number = |n: usize| numbers.get(n).copied().unwrap_or(0);
    PciDependentDevice {
        group_id,
        segment: u16::try_from(number(0)).unwrap_or(0),
        bus: u8::try_from(number(1)).unwrap_or(0),
        devfn: u8::try_from(number(2) << 3 | number(3)).unwrap_or(0),
    }
}

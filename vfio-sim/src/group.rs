//! The group's state machine.

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{self, GroupStatus};
use zerocopy::{FromBytes, IntoBytes};

use crate::event::Object;
use crate::files::Inode;
use crate::world::{Answer, World};

/// An open group.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The container that it is in.
    pub(crate) container: Option<u64>,
}

impl World {
    /// A12. Without a member that is bound to VFIO there is no node.
    pub(crate) fn open_group(&mut self, id: u32) -> Result<OwnedFd> {
        let group = self.machine.group(id).ok_or(Errno::NOENT)?;
        if !group.devices.iter().any(|device| device.is_bound_to_vfio()) {
            return Err(Errno::NOENT);
        }
        group.node?;
        if self.groups.contains_key(&id) {
            return Err(Errno::BUSY);
        }
        let fd = self.new_fd(Object::Group(id))?;
        self.groups.insert(id, Group::default());
        Ok(fd)
    }

    pub(crate) fn group_ioctl(
        &mut self,
        id: u32,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<Answer> {
        match opcode {
            uapi::GROUP_GET_STATUS => self.status(id, arg)?,
            uapi::GROUP_SET_CONTAINER => self.set_container(id, arg)?,
            uapi::GROUP_UNSET_CONTAINER => self.unset_container(id)?,
            uapi::GROUP_GET_DEVICE_FD => return self.device_fd(id, arg).map(Answer::Fd),
            _ => return Err(Errno::NOTTY), // A16
        }
        Ok(Answer::Value(0))
    }

    /// A13
    fn status(&self, id: u32, arg: &mut Arg<'_>) -> Result<()> {
        let Arg::InOut(bytes) = arg else {
            return Err(Errno::FAULT);
        };
        let (status, _) = GroupStatus::mut_from_prefix(bytes).map_err(|_| Errno::FAULT)?;
        if (status.argsz as usize) < size_of::<GroupStatus>() {
            return Err(Errno::INVAL);
        }
        status.flags = if self.container_of(id).is_some() {
            uapi::GROUP_FLAGS_VIABLE | uapi::GROUP_FLAGS_CONTAINER_SET
        } else if self.is_viable(id) {
            uapi::GROUP_FLAGS_VIABLE
        } else {
            0
        };
        Ok(())
    }

    /// A10
    fn set_container(&mut self, id: u32, arg: &Arg<'_>) -> Result<()> {
        let (fd, _) = RawFd::read_from_prefix(read(arg)?).map_err(|_| Errno::FAULT)?;
        let file = Inode::of_number(fd)?;
        if self.container_of(id).is_some() {
            return Err(Errno::INVAL);
        }
        let Some(Object::Container(container)) = self.files.find(file) else {
            return Err(Errno::BADFD);
        };
        if !self.is_viable(id) {
            return Err(Errno::PERM);
        }
        self.groups.entry(id).or_default().container = Some(*container);
        Ok(())
    }

    /// A11
    fn unset_container(&mut self, id: u32) -> Result<()> {
        if self.container_of(id).is_none() {
            return Err(Errno::INVAL);
        }
        let in_use =
            |object: &Object| matches!(object, Object::Device { group, .. } if *group == id);
        if self.files.objects().any(in_use) {
            return Err(Errno::BUSY);
        }
        self.detach(id);
        Ok(())
    }

    /// A14
    fn device_fd(&mut self, id: u32, arg: &Arg<'_>) -> Result<OwnedFd> {
        let name = CStr::from_bytes_until_nul(read(arg)?).map_err(|_| Errno::FAULT)?;
        let bdf = self.device_named(id, name)?;
        let container = self.container_of(id).ok_or(Errno::INVAL)?;
        self.driver(container).ok_or(Errno::INVAL)?;
        self.new_fd(Object::Device { bdf, group: id })
    }

    /// Only what is bound to VFIO is known to it.
    fn device_named(&self, id: u32, name: &CStr) -> Result<String> {
        let group = self.machine.group(id).ok_or(Errno::NODEV)?;
        let mut known = group
            .devices
            .iter()
            .filter(|device| device.is_bound_to_vfio());
        known
            .find(|device| device.bdf.as_bytes() == name.to_bytes())
            .map(|device| device.bdf.clone())
            .ok_or(Errno::NODEV)
    }

    fn container_of(&self, id: u32) -> Option<u64> {
        self.groups.get(&id)?.container
    }

    fn is_viable(&self, id: u32) -> bool {
        self.machine
            .group(id)
            .is_some_and(|group| group.is_viable())
    }
}

/// The bytes that a call points to: a number points to none.
fn read<'a>(arg: &'a Arg<'_>) -> Result<&'a [u8]> {
    match arg {
        Arg::None | Arg::Value(_) => Err(Errno::FAULT),
        Arg::In(bytes) => Ok(bytes),
        Arg::InOut(bytes) => Ok(bytes.as_bytes()),
    }
}

//! The group's state machine.

use std::ffi::CStr;
use std::os::fd::{OwnedFd, RawFd};

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{self, GroupStatus};

use crate::arg;
use crate::event::Object;
use crate::files::Inode;
use crate::process::ProcessId;
use crate::token;
use crate::world::{Answer, World};

/// An open group.
#[derive(Debug, Default, Clone)]
pub(crate) struct Group {
    /// The container that it is in.
    pub(crate) container: Option<u64>,
}

impl World {
    /// A12. Without a member that is bound to VFIO there is no node.
    pub(crate) fn open_group(&mut self, caller: ProcessId, id: u32) -> Result<OwnedFd> {
        let group = self.machine.group(id).ok_or(Errno::NOENT)?;
        if !group.devices.iter().any(|device| device.is_bound_to_vfio()) {
            return Err(Errno::NOENT);
        }
        group.node?;
        if group.without_iommu && !self.processes.rights(caller).raw_io {
            return Err(Errno::PERM);
        }
        if self.groups.contains_key(&id) {
            return Err(Errno::BUSY);
        }
        let fd = self.new_fd(Object::Group(id))?;
        self.groups.insert(id, Group::default());
        Ok(fd)
    }

    pub(crate) fn group_ioctl(
        &mut self,
        caller: ProcessId,
        id: u32,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<Answer> {
        match opcode {
            uapi::GROUP_GET_STATUS => self.status(id, arg)?,
            uapi::GROUP_SET_CONTAINER => self.set_container(caller, id, arg)?,
            uapi::GROUP_UNSET_CONTAINER => self.unset_container(id)?,
            uapi::GROUP_GET_DEVICE_FD => return self.device_fd(caller, id, arg).map(Answer::Fd),
            _ => return Err(Errno::NOTTY), // A16
        }
        Ok(Answer::Value(0))
    }

    /// A13
    fn status(&self, id: u32, arg: &mut Arg<'_>) -> Result<()> {
        let mut status: GroupStatus = arg::sized(arg)?;
        status.flags = if self.container_of(id).is_some() {
            uapi::GROUP_FLAGS_VIABLE | uapi::GROUP_FLAGS_CONTAINER_SET
        } else if self.is_viable(id) {
            uapi::GROUP_FLAGS_VIABLE
        } else {
            0
        };
        arg::write(arg, &status, size_of::<GroupStatus>())
    }

    /// A10
    fn set_container(&mut self, caller: ProcessId, id: u32, arg: &Arg<'_>) -> Result<()> {
        let file = Inode::of_number(arg::read::<RawFd>(arg)?)?;
        if self.container_of(id).is_some() {
            return Err(Errno::INVAL);
        }
        let Some(&Object::Container(container)) = self.files.find(file) else {
            return Err(match self.machine.profile().names_bad_containers() {
                true => Errno::BADFD,
                false => Errno::INVAL,
            });
        };
        if !self.is_viable(id) {
            return Err(Errno::PERM);
        }
        let without = |group| self.machine.group(group).is_some_and(|it| it.without_iommu);
        let mixed = self
            .groups_in(container)
            .into_iter()
            .any(|it| without(it) != without(id));
        if mixed || without(id) && !self.processes.rights(caller).raw_io {
            return Err(Errno::PERM);
        }
        self.attach(container, id)?;
        self.groups.entry(id).or_default().container = Some(container);
        Ok(())
    }

    /// A11, A11b
    fn unset_container(&mut self, id: u32) -> Result<()> {
        if self.container_of(id).is_none() {
            return Err(Errno::INVAL);
        }
        if self
            .device_objects()
            .any(|object| object.group() == Some(id))
        {
            return Err(Errno::BUSY);
        }
        self.detach(id);
        Ok(())
    }

    /// A14
    fn device_fd(&mut self, caller: ProcessId, id: u32, arg: &Arg<'_>) -> Result<OwnedFd> {
        let (bdf, token) = self.device_named(id, name(arg, self.machine.page_size)?)?;
        // The token is a part of the name: it is looked at before anything else.
        self.check_token(&bdf, token)?;
        let container = self.container_of(id).ok_or(Errno::INVAL)?;
        self.driver(container).ok_or(Errno::INVAL)?;
        let without = self.machine.group(id).is_some_and(|it| it.without_iommu);
        if without && !self.processes.rights(caller).raw_io {
            return Err(Errno::PERM);
        }
        self.open_device(id, bdf)
    }

    /// Only what is bound to VFIO is known to it.
    fn device_named(&self, id: u32, name: &[u8]) -> Result<(String, Option<token::Token>)> {
        let group = self.machine.group(id).ok_or(Errno::NODEV)?;
        let mut known = group
            .devices
            .iter()
            .filter(|device| device.is_bound_to_vfio() && !self.leaving.contains(&device.bdf));
        let (bdf, options) = token::split(name);
        let device = known
            .find(|device| device.bdf.as_bytes() == bdf)
            .ok_or(Errno::NODEV)?;
        Ok((device.bdf.clone(), token::of(options)?))
    }

    pub(crate) fn container_of(&self, id: u32) -> Option<u64> {
        self.groups.get(&id)?.container
    }

    fn is_viable(&self, id: u32) -> bool {
        self.machine
            .group(id)
            .is_some_and(|group| group.is_viable())
    }
}

/// A name that ends, of less than so many bytes.
fn name<'a>(arg: &'a Arg<'_>, longest: usize) -> Result<&'a [u8]> {
    let bytes = arg::bytes(arg)?;
    match CStr::from_bytes_until_nul(bytes) {
        Ok(name) if name.to_bytes().len() < longest => Ok(name.to_bytes()),
        Ok(_) => Err(Errno::INVAL),
        Err(_) if bytes.len() >= longest => Err(Errno::INVAL),
        Err(_) => Err(Errno::FAULT),
    }
}

/// What is left of a group that no member of is bound to VFIO any more.
pub(crate) fn ioctl_without_members(opcode: Opcode, arg: &Arg<'_>) -> Result<Answer> {
    match opcode {
        uapi::GROUP_GET_STATUS => arg::sized::<GroupStatus>(arg).and(Err(Errno::NODEV)),
        uapi::GROUP_SET_CONTAINER => {
            let file = arg::read::<RawFd>(arg).and_then(Inode::of_number);
            file.and(Err(Errno::NODEV))
        }
        uapi::GROUP_GET_DEVICE_FD => arg::bytes(arg).and(Err(Errno::NODEV)),
        uapi::GROUP_UNSET_CONTAINER => Err(Errno::INVAL),
        _ => Err(Errno::NOTTY),
    }
}

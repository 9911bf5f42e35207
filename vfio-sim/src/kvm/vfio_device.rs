//! The device of a VM that knows what VFIO has assigned to it (F92).

use std::os::fd::RawFd;

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::kvm::uapi::{self, DeviceAttr, VfioSpaprTce};
use zerocopy::{FromBytes, IntoBytes};

use crate::arg;
use crate::event::Object;
use crate::files::Inode;
use crate::iommu::Hazard;
use crate::memory;
use crate::world::{Answer, World};

/// A file of VFIO that was added.
#[derive(Debug)]
pub(super) struct Added {
    file: Inode,
    /// What it stands for.
    pub(super) object: Object,
    /// Somebody wanted to attach it to a table: the kernel has looked at the group.
    is_known: bool,
}

impl World {
    pub(super) fn has_kvm_attr(&self, arg: &Arg<'_>) -> Result<Answer> {
        let attr: DeviceAttr = arg::read(arg)?;
        let known = match attr.attr {
            uapi::DEV_VFIO_FILE_ADD | uapi::DEV_VFIO_FILE_DEL => true,
            uapi::DEV_VFIO_GROUP_SET_SPAPR_TCE => self.has_tables(),
            _ => false,
        };
        match known && attr.group == uapi::DEV_VFIO_FILE {
            true => Ok(Answer::Value(0)),
            false => Err(Errno::NXIO),
        }
    }

    pub(super) fn set_kvm_attr(&mut self, vm: u64, arg: &Arg<'_>) -> Result<Answer> {
        let attr: DeviceAttr = arg::read(arg)?;
        self.has_kvm_attr(arg)?;
        match attr.attr {
            uapi::DEV_VFIO_FILE_ADD => self.add_to_kvm(vm, pointed_to(attr.addr)?)?,
            uapi::DEV_VFIO_FILE_DEL => self.delete_from_kvm(vm, pointed_to(attr.addr)?)?,
            _ => self.set_spapr_tce(vm, pointed_to(attr.addr)?)?,
        }
        Ok(Answer::Value(0))
    }

    fn add_to_kvm(&mut self, vm: u64, fd: RawFd) -> Result<()> {
        let file = Inode::of_number(fd)?;
        let object = self.files.find(file).ok_or(Errno::INVAL)?.clone();
        match object {
            Object::Group(_) | Object::GroupThatWas(_) => {}
            Object::Device { .. } if self.machine.profile().adds_devices_to_kvm() => {}
            _ => return Err(Errno::INVAL),
        }
        let added = self.added(vm)?;
        if added.iter().any(|it| it.file == file) {
            return Err(Errno::EXIST);
        }
        added.push(Added {
            file,
            object,
            is_known: false,
        });
        Ok(())
    }

    fn delete_from_kvm(&mut self, vm: u64, fd: RawFd) -> Result<()> {
        let file = Inode::of_number(fd)?;
        let added = self.added(vm)?;
        let at = added.iter().position(|it| it.file == file);
        let gone = added.swap_remove(at.ok_or(Errno::NOENT)?);
        self.forget(vm, &gone);
        Ok(())
    }

    /// D59
    fn set_spapr_tce(&mut self, vm: u64, param: VfioSpaprTce) -> Result<()> {
        let file = Inode::of_number(param.groupfd)?;
        let mut added = self.added(vm)?.iter_mut();
        let added = added.find(|it| it.file == file).ok_or(Errno::NOENT)?;
        let Object::Group(group) = added.object else {
            return Err(Errno::IO);
        };
        added.is_known = true;
        let table = Inode::of_number(param.tablefd)?;
        match self.files.find(table) {
            Some(&Object::TceTable(table)) => self.attach_table(vm, table, group),
            _ => Err(Errno::INVAL),
        }
    }

    fn added(&mut self, vm: u64) -> Result<&mut Vec<Added>> {
        let vm = self.kvm.vms.get_mut(&vm).ok_or(Errno::IO)?;
        vm.vfio.as_mut().ok_or(Errno::IO)
    }

    /// Its last fd was closed: everything is taken away.
    pub(super) fn release_kvm_device(&mut self, vm: u64) {
        let state = self.kvm.vms.get_mut(&vm);
        let added = state.and_then(|it| it.vfio.take()).unwrap_or_default();
        for gone in added {
            self.forget(vm, &gone);
        }
    }

    fn forget(&mut self, vm: u64, gone: &Added) {
        if self.has_tables() && !gone.is_known {
            self.hazards.push(Hazard::H11);
        }
        self.detach_tables(vm, &gone.object);
    }
}

/// The value of an attribute, which is somewhere in the process.
fn pointed_to<T: FromBytes + IntoBytes>(addr: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    match memory::read(addr, value.as_mut_bytes()) {
        true => Ok(value),
        false => Err(Errno::FAULT),
    }
}

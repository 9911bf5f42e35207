//! KVM, as far as VFIO has to do with it: VMs, their VFIO device (F92), their memory slots (F92c), and TCE tables (D59).
//!
//! - `memory_slots`: what a guest sees of the process.
//! - `vfio_device`: what was added to a VM.
//! - `table`: tables, what they are attached to, and the guest's hypercalls.

mod memory_slots;
mod table;
mod vfio_device;

use std::collections::BTreeMap;

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::kvm::uapi::{self, CreateDevice};

use crate::arg;
use crate::event::Object;
use crate::process::ProcessId;
use crate::world::{Answer, World};

use memory_slots::MemorySlots;
pub use memory_slots::{GuestAccess, GuestMemory};
pub use table::Hypercall;
use table::Table;
use vfio_device::Added;

/// The VMs that there are, and the tables.
#[derive(Debug, Default)]
pub(crate) struct Kvm {
    vms: BTreeMap<u64, Vm>,
    tables: BTreeMap<u64, Table>,
    opened: u64,
}

/// A VM.
#[derive(Debug)]
struct Vm {
    /// Nobody else may ask it (`EIO`).
    owner: ProcessId,
    /// What its VFIO device was told of, while there is one.
    vfio: Option<Vec<Added>>,
    memory: MemorySlots,
}

impl Kvm {
    fn vm(&self, id: u64) -> Result<&Vm> {
        self.vms.get(&id).ok_or(Errno::IO)
    }

    /// A number that no object has had yet.
    fn next(&mut self) -> u64 {
        self.opened += 1;
        self.opened - 1
    }
}

impl World {
    /// The node is there where the machine has KVM.
    pub(crate) fn open_kvm(&mut self) -> Result<std::os::fd::OwnedFd> {
        self.machine.kvm.then_some(()).ok_or(Errno::NOENT)?;
        self.new_fd(Object::Kvm)
    }

    pub(crate) fn kvm_ioctl(
        &mut self,
        caller: ProcessId,
        object: &Object,
        opcode: Opcode,
        arg: &mut Arg<'_>,
    ) -> Result<Answer> {
        let vm = match object {
            Object::Kvm => None,
            Object::Vm(id) | Object::KvmVfio(id) => Some(*id),
            _ => return Err(Errno::NOTTY),
        };
        if let Some(id) = vm {
            if self.kvm.vm(id)?.owner != caller {
                return Err(Errno::IO);
            }
        }
        match (object, opcode) {
            (Object::Kvm | Object::Vm(_), uapi::CHECK_EXTENSION) => {
                Ok(Answer::Value(self.capability(arg)))
            }
            (Object::Kvm, uapi::CREATE_VM) => self.create_vm(caller, arg),
            (Object::Kvm, _) => Err(Errno::INVAL),
            (Object::Vm(id), uapi::CREATE_DEVICE) => self.create_kvm_device(*id, arg),
            (Object::Vm(id), uapi::SET_USER_MEMORY_REGION) => self.set_user_memory_region(*id, arg),
            (Object::Vm(id), uapi::CREATE_SPAPR_TCE_64) if self.has_tables() => {
                self.create_table(*id, arg)
            }
            (Object::KvmVfio(id), uapi::SET_DEVICE_ATTR) => self.set_kvm_attr(*id, arg),
            (Object::KvmVfio(_), uapi::HAS_DEVICE_ATTR) => self.has_kvm_attr(arg),
            _ => Err(Errno::NOTTY),
        }
    }

    /// 0: it does not have it.
    fn capability(&self, arg: &Arg<'_>) -> u32 {
        let number = match arg {
            Arg::Value(number) => u32::try_from(*number).unwrap_or(u32::MAX),
            _ => u32::MAX,
        };
        match number {
            uapi::CAP_USER_MEMORY | uapi::CAP_DEVICE_CTRL => 1,
            uapi::CAP_NR_MEMSLOTS => self.memory_slots(),
            uapi::CAP_READONLY_MEM => self.has_read_only_memory().into(),
            uapi::CAP_SPAPR_TCE_64 => self.has_tables().into(),
            uapi::CAP_SPAPR_TCE_VFIO => (self.has_tables() && self.fills_tables()).into(),
            _ => 0,
        }
    }

    fn create_vm(&mut self, caller: ProcessId, arg: &Arg<'_>) -> Result<Answer> {
        if !matches!(arg, Arg::Value(0) | Arg::None) {
            return Err(Errno::INVAL); // a type that is not every architecture's
        }
        let id = self.kvm.next();
        let fd = self.new_fd(Object::Vm(id))?;
        let vm = Vm {
            owner: caller,
            vfio: None,
            memory: MemorySlots::default(),
        };
        self.kvm.vms.insert(id, vm);
        Ok(Answer::Fd(fd))
    }

    /// F92: the fd comes back in the struct.
    fn create_kvm_device(&mut self, vm: u64, arg: &mut Arg<'_>) -> Result<Answer> {
        let mut create: CreateDevice = arg::read(arg)?;
        if create.kind != uapi::DEV_TYPE_VFIO {
            return Err(Errno::NODEV);
        }
        if create.flags & uapi::CREATE_DEVICE_TEST != 0 {
            return Ok(Answer::Value(0));
        }
        let state = self.kvm.vms.get_mut(&vm).ok_or(Errno::IO)?;
        if state.vfio.is_some() {
            return Err(Errno::BUSY);
        }
        if !matches!(arg, Arg::InOut(_)) {
            return Err(Errno::FAULT);
        }
        let fd = self.new_fd(Object::KvmVfio(vm))?;
        if let Some(state) = self.kvm.vms.get_mut(&vm) {
            state.vfio = Some(Vec::new());
        }
        create.fd = std::os::fd::IntoRawFd::into_raw_fd(fd);
        arg::write(arg, &create, size_of::<CreateDevice>())?;
        Ok(Answer::Value(0))
    }

    /// What KVM holds a file of.
    pub(crate) fn is_known_to_kvm(&self, object: &Object) -> bool {
        let devices = self.kvm.vms.values().filter_map(|vm| vm.vfio.as_ref());
        devices.flatten().any(|added| added.object == *object)
    }

    /// What is left of KVM once files were closed: a device goes with its last fd, and with it what was added; a table
    /// with its last fd and mapping; a VM with everything.
    pub(crate) fn release_kvm(&mut self) {
        if self.kvm.vms.is_empty() {
            return;
        }
        let open: Vec<_> = self.files.objects().cloned().collect();
        let mapped: Vec<_> = self.maps.iter().map(|map| map.object.clone()).collect();
        let is_open = |object: &Object| open.contains(object) || mapped.contains(object);

        let tables: Vec<u64> = self.kvm.tables.keys().copied().collect();
        for id in tables {
            if !is_open(&Object::TceTable(id)) {
                self.release_table(id);
            }
        }
        let vms: Vec<u64> = self.kvm.vms.keys().copied().collect();
        for id in vms {
            if !is_open(&Object::KvmVfio(id)) {
                self.release_kvm_device(id);
            }
            let has_table = self.kvm.tables.values().any(|table| table.vm == id);
            if !is_open(&Object::Vm(id)) && !is_open(&Object::KvmVfio(id)) && !has_table {
                self.kvm.vms.remove(&id);
            }
        }
    }

    /// The objects of KVM that live.
    pub(crate) fn kvm_objects(&self) -> Vec<Object> {
        let mut objects: Vec<_> = self
            .kvm
            .tables
            .keys()
            .copied()
            .map(Object::TceTable)
            .collect();
        let vms = &self.kvm.vms;
        let devices = vms.iter().filter(|(_, vm)| vm.vfio.is_some());
        objects.extend(devices.map(|(id, _)| Object::KvmVfio(*id)));
        objects.extend(vms.keys().copied().map(Object::Vm));
        let node = self.files.objects().find(|it| **it == Object::Kvm);
        objects.extend(node.cloned());
        objects
    }
}

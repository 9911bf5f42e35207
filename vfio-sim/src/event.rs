//! What happened, for tests to look at.

use std::fmt;

use vfio_core::kernel::{Arg, Errno, Opcode};

use crate::names::{self, Kind};

/// What an fd of the simulated kernel stands for. Sorted as they are released.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// A TCE table of a VM, by how many objects of KVM were opened before it.
    TceTable(u64),
    /// The VFIO device of a VM, by the VM's number.
    KvmVfio(u64),
    /// A mapped region of a device.
    Region {
        /// The device's name, as sysfs has it.
        bdf: String,
        /// Its group.
        group: u32,
        /// Which region.
        index: u32,
    },
    /// An open device.
    Device {
        /// Its name, as sysfs has it.
        bdf: String,
        /// Its group.
        group: u32,
    },
    /// An open group, by its number.
    Group(u32),
    /// An open group whose last member has left VFIO, by its number.
    GroupThatWas(u32),
    /// A container, by how many were opened before it.
    Container(u64),
    /// A VM, by how many objects of KVM were opened before it.
    Vm(u64),
    /// KVM's node.
    Kvm,
}

impl Object {
    /// The device that it is, or is a part of.
    pub(crate) fn bdf(&self) -> Option<&str> {
        match self {
            Self::Region { bdf, .. } | Self::Device { bdf, .. } => Some(bdf),
            _ => None,
        }
    }

    /// The group of the device that it is, or is a part of.
    pub(crate) fn group(&self) -> Option<u32> {
        match self {
            Self::Region { group, .. } | Self::Device { group, .. } => Some(*group),
            _ => None,
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region { bdf, index, .. } => write!(f, "region {index} of {bdf}"),
            Self::Device { bdf, .. } => write!(f, "device {bdf}"),
            Self::Group(id) => write!(f, "group {id}"),
            Self::GroupThatWas(id) => write!(f, "group {id} that was"),
            Self::Container(id) => write!(f, "container {id}"),
            Self::TceTable(id) => write!(f, "TCE table {id}"),
            Self::KvmVfio(vm) => write!(f, "VFIO device of VM {vm}"),
            Self::Vm(id) => write!(f, "VM {id}"),
            Self::Kvm => write!(f, "KVM"),
        }
    }
}

/// An object was opened, asked something, or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Which object.
    pub object: Object,
    /// The ioctl by its name, with the number that it was given by value: `VFIO_SET_IOMMU(3)`; `open`,
    /// which is logged when it succeeded; or `close`, of the last duplicate of the fd.
    pub call: String,
    /// What was answered; 0 for a call that returned an fd.
    pub answer: Result<u32, Errno>,
}

impl Event {
    pub(crate) fn opened(object: Object) -> Self {
        Self::new(object, "open", Ok(0))
    }

    pub(crate) fn closed(object: Object) -> Self {
        Self::new(object, "close", Ok(0))
    }

    pub(crate) fn new(object: Object, call: impl Into<String>, answer: Result<u32, Errno>) -> Self {
        Self {
            object,
            call: call.into(),
            answer,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.call)?;
        match self.answer {
            Ok(0) => Ok(()),
            Ok(value) => write!(f, ": {value}"),
            Err(errno) => write!(f, ": {errno}"),
        }
    }
}

/// How an ioctl is called in the log.
pub(crate) fn name(of: Kind, opcode: Opcode, arg: &Arg<'_>) -> String {
    let name = names::ioctl(opcode, Some(of));
    let name = name.map_or_else(|| format!("ioctl {opcode:#x}"), str::to_owned);
    match arg {
        Arg::Value(value) => format!("{name}({value})"),
        _ => name,
    }
}

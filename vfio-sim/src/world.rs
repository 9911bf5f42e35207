//! What there is in the kernel: containers, groups, devices, and who holds whom.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use vfio_core::CONTAINER_NODE;
use vfio_core::group_node;
use vfio_core::kernel::{Arg, Errno, Opcode, Result};

use crate::container::Container;
use crate::event::{self, Event, Object};
use crate::files::{Files, Inode};
use crate::group::Group;
use crate::host_tree::HostTree;
use crate::machine::Machine;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) host: HostTree,
    pub(crate) files: Files,
    pub(crate) containers: BTreeMap<u64, Container>,
    /// Those that are open.
    pub(crate) groups: BTreeMap<u32, Group>,
    opened_containers: u64,
    log: Vec<Event>,
}

/// What a successful ioctl returns.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(u32),
    Fd(OwnedFd),
}

impl World {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            host: HostTree::of(&machine),
            machine,
            files: Files::default(),
            containers: BTreeMap::new(),
            groups: BTreeMap::new(),
            opened_containers: 0,
            log: Vec::new(),
        }
    }

    pub(crate) fn open(&mut self, path: &Path) -> Result<OwnedFd> {
        self.notice_closed();
        if path == Path::new(CONTAINER_NODE) {
            return self.open_container();
        }
        let group = self
            .machine
            .groups
            .iter()
            .find(|group| group_node(group.id) == path);
        let id = group.ok_or(Errno::NOENT)?.id;
        self.open_group(id)
    }

    /// A1
    fn open_container(&mut self) -> Result<OwnedFd> {
        self.machine.container_node?;
        let id = self.opened_containers;
        let fd = self.new_fd(Object::Container(id))?;
        self.containers.insert(id, Container::default());
        self.opened_containers += 1;
        Ok(fd)
    }

    pub(crate) fn new_fd(&mut self, object: Object) -> Result<OwnedFd> {
        let fd = self.files.open(object.clone())?;
        self.log.push(Event::opened(object));
        Ok(fd)
    }

    pub(crate) fn ioctl(
        &mut self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        mut arg: Arg<'_>,
    ) -> Result<Answer> {
        self.notice_closed();
        let object = self.files.find(Inode::of(fd)?).ok_or(Errno::NOTTY)?.clone();
        let answer = match &object {
            Object::Container(id) => self.container_ioctl(*id, opcode, &arg).map(Answer::Value),
            Object::Group(id) => self.group_ioctl(*id, opcode, &mut arg),
            Object::Device { .. } => Err(Errno::NOTTY),
        };
        let number = answer.as_ref().map(|answer| match answer {
            Answer::Value(value) => *value,
            Answer::Fd(_) => 0,
        });
        self.log.push(Event::new(
            object,
            event::name(opcode, &arg),
            number.map_err(|errno| *errno),
        ));
        answer
    }

    /// Releases what nothing holds any more: fds, and a device pins its group (A15), a group its
    /// container (A8).
    fn notice_closed(&mut self) {
        let closed = self.files.take_closed();
        self.log.extend(closed.into_iter().map(Event::closed));

        let unpinned: Vec<_> = self
            .groups
            .keys()
            .copied()
            .filter(|id| !self.pins_group(*id))
            .collect();
        for id in unpinned {
            self.detach(id); // A17
            self.groups.remove(&id);
        }
        let mut containers = std::mem::take(&mut self.containers);
        containers.retain(|id, _| self.pins_container(*id));
        self.containers = containers;
    }

    fn pins_group(&self, id: u32) -> bool {
        self.files.objects().any(|object| match object {
            Object::Group(group) | Object::Device { group, .. } => *group == id,
            Object::Container(_) => false,
        })
    }

    fn pins_container(&self, id: u64) -> bool {
        self.files
            .objects()
            .any(|object| *object == Object::Container(id))
            || self.has_groups(id)
    }

    pub(crate) fn open_objects(&mut self) -> Vec<Object> {
        self.notice_closed();
        let is_device = |object: &&Object| matches!(object, Object::Device { .. });
        let mut objects: Vec<_> = self.files.objects().filter(is_device).cloned().collect();
        objects.extend(self.groups.keys().copied().map(Object::Group));
        objects.extend(self.containers.keys().copied().map(Object::Container));
        objects
    }

    pub(crate) fn take_log(&mut self) -> Vec<Event> {
        self.notice_closed();
        std::mem::take(&mut self.log)
    }
}

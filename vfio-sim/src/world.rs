//! What there is in the kernel: containers, groups, devices, and who holds whom.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, Weak};

use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::{Arg, Errno, Node, Opcode, Result};
use vfio_core::kvm::KVM_NODE;

use crate::arg;
use crate::container::Container;
use crate::device::State;
use crate::event::{self, Event, Object};
use crate::fault::Fault;
use crate::files::{Files, Inode};
use crate::group::{self, Group};
use crate::host_tree::HostTree;
use crate::iommu::{Hazard, Units};
use crate::kvm::Kvm;
use crate::lie::{self, Asked, Told};
use crate::machine::{self, Device, Machine};
use crate::memory::HugePages;
use crate::names::{self, Kind};
use crate::process::{ProcessId, Processes, Rights};
use crate::watch::Waiter;

#[derive(Debug)]
pub(crate) struct World {
    /// Itself, for threads that wait on eventfds.
    pub(crate) me: Weak<Mutex<World>>,
    pub(crate) machine: Machine,
    pub(crate) host: HostTree,
    pub(crate) files: Files,
    pub(crate) processes: Processes,
    pub(crate) containers: BTreeMap<u64, Container>,
    /// Those that are open.
    pub(crate) groups: BTreeMap<u32, Group>,
    /// Those that were ever open, by name.
    pub(crate) devices: BTreeMap<String, State>,
    /// Those that their driver is to give back, once they are closed.
    pub(crate) leaving: BTreeSet<String>,
    /// The regions that are mapped.
    pub(crate) maps: Vec<RegionMap>,
    pub(crate) huge_pages: HugePages,
    pub(crate) kvm: Kvm,
    /// Those who wait for eventfds.
    pub(crate) waiters: Vec<Weak<Waiter>>,
    pub(crate) hazards: Vec<Hazard>,
    /// The groups for which the firmware has refused a window: they get none any more (C37c).
    pub(crate) refused: BTreeSet<u32>,
    /// What passes between the system and each group (D58).
    pub(crate) units: Units,
    pub(crate) faults: Vec<Fault>,
    pub(crate) told: Told,
    opened_containers: u64,
    log: Vec<Event>,
}

/// A region that is mapped: it holds its device open (A11b).
#[derive(Debug)]
pub(crate) struct RegionMap {
    pub(crate) object: Object,
    pub(crate) place: MapPlace,
}

/// Where a region is mapped.
#[derive(Debug)]
pub(crate) enum MapPlace {
    /// At these addresses of the process, until they are unmapped.
    Pages(Range<u64>),
    /// At none, until this has gone.
    Registers(Weak<()>),
}

/// What a successful ioctl returns.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(u32),
    Fd(OwnedFd),
}

impl World {
    pub(crate) fn new(machine: Machine, me: Weak<Mutex<Self>>) -> Self {
        Self {
            me,
            host: HostTree::of(&machine),
            machine,
            files: Files::default(),
            processes: Processes::new(Rights::ROOT),
            containers: BTreeMap::new(),
            groups: BTreeMap::new(),
            devices: BTreeMap::new(),
            leaving: BTreeSet::new(),
            maps: Vec::new(),
            huge_pages: HugePages::default(),
            kvm: Kvm::default(),
            waiters: Vec::new(),
            hazards: Vec::new(),
            refused: BTreeSet::new(),
            units: Units::default(),
            faults: Vec::new(),
            told: Told::default(),
            opened_containers: 0,
            log: Vec::new(),
        }
    }

    pub(crate) fn open(&mut self, caller: ProcessId, path: &Path) -> Result<OwnedFd> {
        self.notice_closed();
        if path == Path::new(CONTAINER_NODE) {
            return self.open_container();
        }
        if path == Path::new(KVM_NODE) {
            return self.open_kvm();
        }
        let mut groups = self.machine.groups.iter();
        let group = groups.find(|group| group.path() == path);
        let id = group.ok_or(Errno::NOENT)?.id;
        self.tell("open (group)", |world, _| world.open_group(caller, id))
    }

    /// Whose a node is. `EBUSY` is an answer of opening it.
    pub(crate) fn node(&self, path: &Path) -> Result<Node> {
        let container = path == Path::new(CONTAINER_NODE);
        let answer = if container {
            self.machine.container_node
        } else {
            let is_bound =
                |group: &&machine::Group| group.devices.iter().any(Device::is_bound_to_vfio);
            let mut groups = self.machine.groups.iter().filter(is_bound);
            let group = groups.find(|group| group.path() == path);
            group.ok_or(Errno::NOENT)?.node
        };
        match answer {
            Err(Errno::NOENT) => Err(Errno::NOENT),
            answer => Ok(Node {
                mode: if container { 0o666 } else { 0o600 },
                owner: 0,
                group: 0,
                access: match answer {
                    Err(Errno::BUSY) => Ok(()),
                    answer => answer,
                },
            }),
        }
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
        self.log_open(object);
        Ok(fd)
    }

    pub(crate) fn log_open(&mut self, object: Object) {
        self.log.push(Event::opened(object));
    }

    pub(crate) fn ioctl(
        &mut self,
        caller: ProcessId,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        mut arg: Arg<'_>,
    ) -> Result<Answer> {
        self.notice_closed();
        let object = self.files.find(Inode::of(fd)?).ok_or(Errno::NOTTY)?.clone();
        let kind = self.kind(&object);
        let name = self.told.lie.and_then(|_| names::in_table(opcode, kind)); // nobody else asks
        let call = name.unwrap_or_default();
        let answer = self.tell(&call, |world, asked| {
            world.ask(caller, &object, opcode, &mut arg, asked)
        });
        let number = answer.as_ref().map(|answer| match answer {
            Answer::Value(value) => *value,
            Answer::Fd(_) => 0,
        });
        self.log.push(Event::new(
            object,
            event::name(kind, opcode, &arg),
            number.map_err(|errno| *errno),
        ));
        answer
    }

    /// Makes an ioctl the way that it is [asked](Asked).
    fn ask(
        &mut self,
        caller: ProcessId,
        object: &Object,
        opcode: Opcode,
        arg: &mut Arg<'_>,
        asked: Asked,
    ) -> Result<Answer> {
        match asked {
            Asked::AsIs => match object {
                Object::Container(id) => self
                    .container_ioctl(caller, *id, opcode, arg)
                    .map(Answer::Value),
                Object::Group(id) => self.group_ioctl(caller, *id, opcode, arg),
                Object::GroupThatWas(_) => group::ioctl_without_members(opcode, arg),
                Object::Device { bdf, .. } | Object::Region { bdf, .. } => {
                    self.device_ioctl(bdf, opcode, arg).map(Answer::Value)
                }
                Object::Kvm | Object::Vm(_) | Object::KvmVfio(_) | Object::TceTable(_) => {
                    self.kvm_ioctl(caller, object, opcode, arg)
                }
            },
            Asked::ToSee => {
                let mut bytes = arg::bytes(arg)?.to_vec();
                let arg = &mut Arg::InOut(&mut bytes);
                self.ask(caller, object, opcode, arg, Asked::AsIs)
            }
            Asked::BentToSee(field, by) | Asked::Bent(field, by) => {
                let bent = field.bend(arg, by).ok_or(Errno::FAULT)?;
                let mut written = bent.clone();
                let own = &mut Arg::InOut(&mut written);
                let answer = self.ask(caller, object, opcode, own, Asked::AsIs)?;
                if let (Asked::Bent(..), Arg::InOut(bytes)) = (asked, arg) {
                    bytes.copy_from_slice(&field.straighten(&bent, by, written));
                }
                Ok(answer)
            }
        }
    }

    /// What an object's calls are named after.
    fn kind(&self, object: &Object) -> Kind {
        match object {
            Object::Container(id) => {
                match self.containers.get(id).and_then(|it| it.driver.as_ref()) {
                    None => Kind::Container,
                    Some(driver) => driver.iommu.kind(),
                }
            }
            Object::Group(_) | Object::GroupThatWas(_) => Kind::Group,
            Object::Device { .. } | Object::Region { .. } => Kind::Device,
            Object::Kvm | Object::Vm(_) | Object::KvmVfio(_) | Object::TceTable(_) => Kind::Other,
        }
    }

    /// Releases what nothing holds any more: fds and mapped regions, and a device pins its group (A15), a group its
    /// container (A8).
    pub(crate) fn notice_closed(&mut self) {
        let mut closed = self.files.take_closed();
        let (open, gone) =
            std::mem::take(&mut self.maps)
                .into_iter()
                .partition(|map| match &map.place {
                    MapPlace::Pages(_) => true,
                    MapPlace::Registers(held) => held.strong_count() > 0,
                });
        self.maps = open;
        closed.extend(Vec::into_iter(gone).map(|map| map.object));
        self.release(closed);
    }

    /// What follows from these having been closed.
    pub(crate) fn release(&mut self, closed: Vec<Object>) {
        if closed.is_empty() {
            self.release_all(closed);
            return;
        }
        let mut closed = Some(closed);
        let released: Result<()> = self.tell(lie::CLOSE, |world, _| {
            world.release_all(closed.take().unwrap_or_default());
            Ok(())
        });
        debug_assert!(released.is_ok());
    }

    fn release_all(&mut self, mut closed: Vec<Object>) {
        closed.sort();
        for bdf in closed.iter().filter_map(Object::bdf) {
            if !self
                .device_objects()
                .any(|object| object.bdf() == Some(bdf))
            {
                self.close_device(bdf);
            }
        }
        self.log.extend(closed.into_iter().map(Event::closed));
        self.release_kvm();

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

    /// The open devices and the mapped regions of devices.
    pub(crate) fn device_objects(&self) -> impl Iterator<Item = &Object> {
        let open = self.files.objects().filter(|object| object.bdf().is_some());
        let mapped = self.maps.iter().map(|map| &map.object);
        open.chain(mapped.filter(|object| object.bdf().is_some()))
    }

    /// Where BARs are mapped in this process.
    pub(crate) fn mapped_bars(&self) -> Vec<Range<u64>> {
        self.maps
            .iter()
            .filter(|map| map.object.bdf().is_some())
            .filter_map(|map| match &map.place {
                MapPlace::Pages(range) => Some(range.clone()),
                MapPlace::Registers(_) => None,
            })
            .collect()
    }

    fn pins_group(&self, id: u32) -> bool {
        let open = self
            .files
            .objects()
            .any(|object| *object == Object::Group(id));
        open || self.is_known_to_kvm(&Object::Group(id))
            || self
                .device_objects()
                .any(|object| object.group() == Some(id))
    }

    fn pins_container(&self, id: u64) -> bool {
        self.files
            .objects()
            .any(|object| *object == Object::Container(id))
            || !self.groups_in(id).is_empty()
    }

    pub(crate) fn open_objects(&mut self) -> Vec<Object> {
        self.notice_closed();
        let mut objects: Vec<_> = self.device_objects().cloned().collect();
        objects.extend(self.groups.keys().copied().map(Object::Group));
        let were = |object: &&Object| matches!(object, Object::GroupThatWas(_));
        objects.extend(self.files.objects().filter(were).cloned());
        objects.extend(self.containers.keys().copied().map(Object::Container));
        objects.extend(self.kvm_objects());
        objects
    }

    pub(crate) fn take_log(&mut self) -> Vec<Event> {
        self.notice_closed();
        std::mem::take(&mut self.log)
    }
}

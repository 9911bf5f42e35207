//! What a kernel knows, kept so that it can be put back.

use std::collections::BTreeMap;
use std::fmt;

use crate::container::Container;
use crate::device::Kept as KeptDevice;
use crate::group::Group;
use crate::iommu::Hazard;
use crate::process::Processes;
use crate::world::World;

/// A part of what a kernel knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What devices reach: the IOMMUs of containers, with what is mapped.
    Iommu,
    /// How much memory processes have locked.
    Accounts,
    /// The memory that is registered for sPAPR.
    Registered,
    /// Which groups are open, and in which containers.
    Groups,
    /// Config space.
    Config,
    /// Which interrupts are on, and their eventfds.
    Interrupts,
    /// The writes that eventfds cause.
    IoEventFds,
    /// Whether a device sleeps.
    Sleep,
    /// The tokens of virtual functions.
    Tokens,
    /// What is in a device's registers, and what it does.
    Registers,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 10] = [
        Self::Iommu,
        Self::Accounts,
        Self::Registered,
        Self::Groups,
        Self::Config,
        Self::Interrupts,
        Self::IoEventFds,
        Self::Sleep,
        Self::Tokens,
        Self::Registers,
    ];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Iommu => "the IOMMU",
            Self::Accounts => "the count of locked memory",
            Self::Registered => "the registered memory",
            Self::Groups => "the groups",
            Self::Config => "config space",
            Self::Interrupts => "the interrupts",
            Self::IoEventFds => "the ioeventfds",
            Self::Sleep => "the sleep",
            Self::Tokens => "the tokens",
            Self::Registers => "the registers",
        })
    }
}

/// What a kernel knew. The registers of devices are not in it: a model can only be left out.
#[derive(Debug)]
pub(super) struct Kept {
    containers: BTreeMap<u64, Container>,
    groups: BTreeMap<u32, Group>,
    processes: Processes,
    devices: BTreeMap<String, KeptDevice>,
    hazards: Vec<Hazard>,
}

impl Kept {
    pub(super) fn of(world: &World) -> Self {
        let devices = world.devices.iter();
        Self {
            containers: world.containers.clone(),
            groups: world.groups.clone(),
            processes: world.processes.clone(),
            devices: devices.map(|(bdf, it)| (bdf.clone(), it.keep())).collect(),
            hazards: world.hazards.clone(),
        }
    }

    /// Puts everything back that is kept.
    pub(super) fn put_all_back(self, world: &mut World) {
        for part in Part::ALL {
            self.put_back(world, part);
        }
        world.hazards = self.hazards;
    }

    /// Puts a part back; answers whether it had changed.
    pub(super) fn put_back(&self, world: &mut World, part: Part) -> bool {
        match part {
            Part::Iommu => put(&mut world.containers, &self.containers),
            Part::Groups => put(&mut world.groups, &self.groups),
            Part::Accounts => world.processes.put_locked_back(&self.processes),
            Part::Registered => world.processes.put_registered_back(&self.processes),
            Part::Registers => false,
            Part::Config | Part::Interrupts | Part::IoEventFds | Part::Sleep | Part::Tokens => {
                let mut changed = false;
                for (bdf, kept) in &self.devices {
                    if let Some(state) = world.devices.get_mut(bdf) {
                        changed |= state.put_back(kept, part);
                    }
                }
                changed
            }
        }
    }
}

/// Puts something back; answers whether it had changed, as far as its text tells.
pub(crate) fn put<T: Clone + fmt::Debug>(place: &mut T, kept: &T) -> bool {
    let changed = format!("{place:?}") != format!("{kept:?}");
    place.clone_from(kept);
    changed
}

//! Who is asked: a kernel, and what is known of the host that it runs on.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use vfio_core::kernel::{Arg, Kernel, Opcode};
use vfio_core::uapi::{SPAPR_TCE_V2_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{CONTAINER_NODE, group_node};
use vfio_sim::machine::{Hardware, Spapr, Type1};
use vfio_sim::wrap::{Counting, Watched};
use vfio_sim::{Machine, Rights, SimKernel};

use super::clause::Trait;
use super::memory::Memory;
use super::raw::{ioctl, ioctl_elsewhere, join};
use super::rig::{Open, Rig};
use crate::rights::{Limited, locked};

/// A kernel, real or simulated, on which nothing is open.
#[derive(Debug)]
pub struct Host {
    kernel: Arc<dyn Kernel>,
    machine: Machine,
    simulation: Option<SimKernel>,
}

impl Host {
    /// A real kernel, whose host is like that machine.
    pub(crate) fn real(kernel: Arc<dyn Kernel>, machine: Machine) -> Self {
        Self {
            kernel,
            machine,
            simulation: None,
        }
    }

    /// A machine, just booted.
    pub(super) fn simulated(machine: Machine) -> Self {
        Self::of_simulation(SimKernel::new(machine))
    }

    /// A simulated kernel, on which nothing is open.
    pub(crate) fn of_simulation(simulation: SimKernel) -> Self {
        Self {
            machine: simulation.machine(),
            kernel: Arc::new(simulation.clone()),
            simulation: Some(simulation),
        }
    }

    /// The same, with each call counted.
    pub(super) fn watched(mut self, counting: &Arc<Counting>) -> Self {
        self.kernel = Arc::new(Watched::new(self.kernel, Arc::clone(counting)));
        self
    }

    /// The simulation, if it is one.
    pub(super) fn simulation(&self) -> Option<&SimKernel> {
        self.simulation.as_ref()
    }

    pub(crate) fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// What the host is like: its groups, devices and IOMMUs.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The type of IOMMU that programs choose here.
    pub(super) fn iommu(&self) -> u32 {
        match self.type1() {
            Some(_) => TYPE1V2_IOMMU,
            None => SPAPR_TCE_V2_IOMMU,
        }
    }

    pub(super) fn type1(&self) -> Option<&Type1> {
        self.machine
            .iommus
            .iter()
            .find_map(|iommu| match &iommu.hardware {
                Hardware::Type1(type1) => Some(type1),
                _ => None,
            })
    }

    pub(super) fn spapr(&self) -> Option<&Spapr> {
        self.machine
            .iommus
            .iter()
            .find_map(|iommu| match &iommu.hardware {
                Hardware::Spapr(spapr) => Some(spapr),
                _ => None,
            })
    }

    /// Size of a page of the host in bytes.
    pub(super) fn page(&self) -> u64 {
        self.machine.page_size as u64
    }

    /// A new container.
    pub(super) fn container(&self) -> OwnedFd {
        self.kernel.open(CONTAINER_NODE.as_ref()).unwrap()
    }

    /// The number of the n-th group.
    pub(super) fn group_id(&self, n: usize) -> u32 {
        self.machine.groups[n].id
    }

    /// The n-th group, open.
    pub(super) fn group(&self, n: usize) -> OwnedFd {
        self.kernel.open(&group_node(self.group_id(n))).unwrap()
    }

    /// The group of the [engine](Trait::Engine), and another.
    pub(super) fn engine_and_another(&self) -> (u32, u32) {
        let (engine, _) = Trait::Engine.find(&self.machine).unwrap();
        let mut ids = self.machine.groups.iter().map(|group| group.id);
        (engine, ids.find(|id| *id != engine).unwrap())
    }

    /// The engine's group in a container that another one had for itself while that was done; and the other.
    pub(super) fn joined_by_the_engine(
        &self,
        iommu: u32,
        before: impl FnOnce(&Rig),
    ) -> (Rig, OwnedFd) {
        let (_, other) = self.engine_and_another();
        let rig = Rig::new(&self.kernel, other, iommu);
        before(&rig);
        self.with_the_engine(rig)
    }

    /// The engine's group in the container that another one is in; and that one.
    pub(super) fn with_the_engine(&self, mut rig: Rig) -> (Rig, OwnedFd) {
        let (engine, _) = Trait::Engine.find(&self.machine).unwrap();
        let group = self.kernel.open(&group_node(engine)).unwrap();
        join(rig.kernel(), &group, &rig.container).unwrap();
        let other = std::mem::replace(&mut rig.group, group);
        (rig, other)
    }

    /// The first group in a container with the [usual IOMMU](Self::iommu).
    pub(super) fn rig(&self) -> Rig {
        self.rig_of(self.iommu())
    }

    /// The first group in a container with that IOMMU.
    pub(super) fn rig_of(&self, iommu: u32) -> Rig {
        Rig::new(&self.kernel, self.group_id(0), iommu)
    }

    /// A device like that, open, in a container with the [usual IOMMU](Self::iommu), as a bus master.
    pub(super) fn open(&self, like: Trait) -> (Rig, Open) {
        let (group, device) = like.find(&self.machine).unwrap();
        let rig = Rig::new(&self.kernel, group, self.iommu());
        let open = rig.open(&device.bdf);
        open.master(true);
        (rig, open)
    }

    /// The description of the [device](Self::open).
    pub(super) fn device(&self, like: Trait) -> &vfio_sim::machine::Device {
        like.find(&self.machine).unwrap().1
    }

    /// The number of the group of a [device](Self::open), and the device's name.
    pub(super) fn place(&self, like: Trait) -> (u32, String) {
        let (group, device) = like.find(&self.machine).unwrap();
        (group, device.bdf.clone())
    }

    /// So many pages of memory, all of them there.
    pub(super) fn memory(&self, pages: usize) -> Memory {
        Memory::new(&self.kernel, pages)
    }

    /// So many huge pages of 2 MiB.
    pub(super) fn huge_memory(&self, pages: usize) -> Memory {
        let len = pages << 21;
        match &self.simulation {
            Some(simulation) => {
                let start = simulation.mmap_huge(len, 1 << 21).unwrap();
                Memory::from(&self.kernel, start, len)
            }
            None => Memory::huge(&self.kernel, len),
        }
    }

    /// The answer to a call with a null pointer from another process.
    pub(super) fn elsewhere(&self, fd: &OwnedFd, opcode: Opcode) -> vfio_core::kernel::Result<()> {
        match &self.simulation {
            Some(simulation) => {
                let other = simulation.process(Rights::ROOT);
                ioctl(&other, fd, opcode, Arg::None).map(drop)
            }
            None => ioctl_elsewhere(&self.kernel, fd, opcode),
        }
    }

    /// How much memory this process has locked, in bytes.
    pub(super) fn locked(&self) -> u64 {
        match &self.simulation {
            Some(simulation) => simulation.locked(),
            None => locked().unwrap(),
        }
    }

    /// Somebody takes a device away from VFIO, and waits until it is closed.
    pub(super) fn reclaim(&self, bdf: &str) -> Unbinding {
        match &self.simulation {
            Some(simulation) => Unbinding::Simulated(simulation.clone(), bdf.to_owned()),
            None => Unbinding::real(bdf),
        }
    }

    /// Until what comes back is dropped, this process may lock so many bytes, and has no right to more.
    pub(crate) fn limit(&self, bytes: u64) -> Limit<'_> {
        self.limit_of(bytes, false)
    }

    /// The same limit, for who has the right to lock more.
    pub(super) fn limit_with_right(&self, bytes: u64) -> Limit<'_> {
        self.limit_of(bytes, true)
    }

    fn limit_of(&self, bytes: u64, ipc_lock: bool) -> Limit<'_> {
        match &self.simulation {
            Some(simulation) => {
                simulation.set_rights(Rights {
                    memlock: Some(bytes),
                    ipc_lock,
                    ..Rights::ROOT
                });
                Limit::Simulated(simulation)
            }
            None if ipc_lock => Limit::Real(Limited::with_right(bytes).unwrap()),
            None => Limit::Real(Limited::to(bytes).unwrap()),
        }
    }

    /// Asks while type1's module has that value of a parameter: of a real kernel it is written, a simulated machine is
    /// changed so.
    pub(super) fn with_parameter(
        &self,
        (name, value): (&str, &str),
        change: impl Fn(&mut Type1),
        ask: impl FnOnce(&Self),
    ) {
        if self.simulation.is_none() {
            let _parameter = Parameter::set(name, value);
            return ask(self);
        }
        let mut machine = self.machine.clone();
        for iommu in &mut machine.iommus {
            if let Hardware::Type1(type1) = &mut iommu.hardware {
                change(type1);
            }
        }
        ask(&Self::simulated(machine));
    }
}

/// A limit of locked memory, while this lives.
#[derive(Debug)]
pub(crate) enum Limit<'a> {
    Simulated(&'a SimKernel),
    #[expect(dead_code, reason = "its drop is what counts")]
    Real(Limited),
}

impl Drop for Limit<'_> {
    fn drop(&mut self) {
        if let Self::Simulated(simulation) = self {
            simulation.set_rights(Rights::ROOT);
        }
    }
}

/// A parameter of type1's module, while this lives; it has its value from before then.
struct Parameter {
    path: PathBuf,
    before: String,
}

impl Parameter {
    fn set(name: &str, value: &str) -> Self {
        let path = Path::new("/sys/module/vfio_iommu_type1/parameters").join(name);
        let before = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, value).unwrap();
        Self { path, before }
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.path, &self.before);
    }
}

/// A device that is to be taken away from VFIO. With the end of this it is back: it must be closed before.
#[derive(Debug)]
pub(super) enum Unbinding {
    Simulated(SimKernel, String),
    Real(Option<JoinHandle<std::io::Result<()>>>),
}

impl Unbinding {
    fn real(bdf: &str) -> Self {
        let bdf = bdf.to_owned();
        let there_and_back = move || {
            const DRIVER: &str = "/sys/bus/pci/drivers/vfio-pci";
            std::fs::write(format!("{DRIVER}/unbind"), &bdf)?;
            std::fs::write(format!("{DRIVER}/bind"), &bdf)
        };
        Self::Real(Some(thread::spawn(there_and_back)))
    }

    /// Lets the kernel ask for the device once more. A real one does so in time.
    pub(super) fn insist(&self) {
        if let Self::Simulated(simulation, bdf) = self {
            simulation.request_release(bdf);
        }
    }
}

impl Drop for Unbinding {
    fn drop(&mut self) {
        if let Self::Real(thread) = self {
            let result = thread.take().map(JoinHandle::join);
            let is_back = matches!(result, Some(Ok(Ok(()))));
            assert!(is_back || thread::panicking(), "{result:?}");
        }
    }
}

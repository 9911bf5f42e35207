//! Who is asked: a kernel, and what is known of the host that it runs on.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Result;
use vfio_core::kernel::Kernel;
use vfio_core::uapi::{SPAPR_TCE_V2_IOMMU, TYPE1V2_IOMMU};
use vfio_core::{CONTAINER_NODE, group_node};
use vfio_sim::machine::{Hardware, Spapr, Type1};
use vfio_sim::{Machine, Rights, SimKernel};

use super::clause::Trait;
use super::memory::Memory;
use super::rig::{Open, Rig};
use crate::rights::Limited;

/// A kernel, real or simulated, on which nothing is open.
#[derive(Debug)]
pub struct Host {
    kernel: Arc<dyn Kernel>,
    machine: Machine,
    simulation: Option<SimKernel>,
}

impl Host {
    /// A real kernel, whose host is like that machine.
    pub(super) fn real(kernel: Arc<dyn Kernel>, machine: Machine) -> Self {
        Self {
            kernel,
            machine,
            simulation: None,
        }
    }

    /// A machine, just booted.
    pub(super) fn simulated(machine: Machine) -> Self {
        let simulation = SimKernel::new(machine.clone());
        Self {
            kernel: Arc::new(simulation.clone()),
            machine,
            simulation: Some(simulation),
        }
    }

    pub(super) fn kernel(&self) -> &Arc<dyn Kernel> {
        &self.kernel
    }

    /// What the host is like: its groups, devices and IOMMUs.
    pub(super) fn machine(&self) -> &Machine {
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

    /// So many pages of memory, all of them there.
    pub(super) fn memory(&self, pages: usize) -> Memory {
        Memory::new(&self.kernel, pages)
    }

    /// How much memory this process has locked, in bytes.
    pub(super) fn locked(&self) -> u64 {
        match &self.simulation {
            Some(simulation) => simulation.locked(),
            None => locked().unwrap(),
        }
    }

    /// Somebody takes a device away from VFIO, and waits until it is closed.
    pub(super) fn unbind(&self, bdf: &str) -> Unbinding {
        match &self.simulation {
            Some(simulation) => Unbinding::Simulated(simulation.clone(), bdf.to_owned()),
            None => Unbinding::real(bdf),
        }
    }

    /// Until what comes back is dropped, this process may lock so many bytes, and has no right to more.
    pub(super) fn limit(&self, bytes: u64) -> Limit<'_> {
        match &self.simulation {
            Some(simulation) => {
                simulation.set_rights(Rights {
                    memlock: Some(bytes),
                    ipc_lock: false,
                    ..Rights::ROOT
                });
                Limit::Simulated(simulation)
            }
            None => Limit::Real(Limited::to(bytes).unwrap()),
        }
    }
}

/// A limit of locked memory, while this lives.
#[derive(Debug)]
pub(super) enum Limit<'a> {
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

/// `VmLck` of this process, in bytes.
fn locked() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.map_or(Ok(0), |number| number.trim().parse::<u64>())? * 1024)
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

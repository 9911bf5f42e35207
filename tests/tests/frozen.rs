//! A device that froze: its DMA is blocked, its registers read as ones, what was mapped stays, and it comes back.
#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use std::sync::Arc;

use vfio_core::address::{Access, DmaMask};
use vfio_core::device::{Device, RegionIndex};
use vfio_core::host;
use vfio_core::iommu::{DmaBuffer, PeReset, PeState, RecoveryStep, Registration, Registry};
use vfio_core::{ErrorKind, Vfio};
use vfio_sim::{Machine, SimKernel, Why};
use vfio_tests::devices::{BUFFER_SIZE, Dma, Driver, Model};

/// QEMU's `edu`.
const BDF: &str = "0000:01:00.0";

struct Rig {
    sim: SimKernel,
    buffer: DmaBuffer,
    driver: Box<dyn Driver>,
    device: Device,
}

fn rig(machine: Machine, version: Registration) -> Rig {
    let sim = SimKernel::new(machine);
    let vfio = Vfio::on(Arc::new(sim.clone()), Registry::of([version]).unwrap());
    let bdf = BDF.parse().unwrap();
    let device = vfio.open(bdf).unwrap();
    let model = Model::of(&host::device(&**vfio.kernel(), bdf).unwrap()).unwrap();
    let mut driver = model.drive(&device).unwrap();
    driver.start().unwrap();
    let domain = device.domain();
    let buffer = domain.buffer(BUFFER_SIZE, DmaMask::bits(32), Access::ReadWrite);
    Rig {
        sim,
        buffer: buffer.unwrap(),
        driver,
        device,
    }
}

impl Rig {
    /// The device is told to read and to write memory: why it could not. The memory is as it was then.
    fn dma(&self) -> Vec<Why> {
        let before = [0x5a; 64];
        self.buffer.copy_from(0, &before).unwrap();
        let copier = self.driver.copier().unwrap();
        copier.read(self.buffer.iova(), 0, 64).unwrap();
        copier.write(0, self.buffer.iova(), 64).unwrap();
        let mut after = [0; 64];
        self.buffer.copy_to(0, &mut after).unwrap();
        assert_eq!(after, before);
        let faults = self.sim.take_faults().into_iter();
        faults.map(|fault| fault.why).collect()
    }
}

const VERSIONS: [Registration; 2] = [iommu_spapr::SPAPR_V1, iommu_spapr::SPAPR_V2];

#[test]
fn a_frozen_device_is_recovered_and_does_dma_again() {
    for (machine, version, reset) in [
        (Machine::powernv9(), VERSIONS[0], PeReset::Hot),
        (Machine::powernv9(), VERSIONS[1], PeReset::Hot),
        (
            Machine::powernv9().freezing(),
            VERSIONS[0],
            PeReset::Fundamental,
        ),
        (Machine::powernv9().freezing(), VERSIONS[1], PeReset::Hot),
    ] {
        let mut rig = rig(machine, version);
        let endpoint = rig.device.domain().partitionable_endpoint().unwrap();
        assert_eq!(rig.driver.writes(&rig.buffer).unwrap(), Dma::Arrived);
        let mapped = rig.sim.mappings();

        rig.sim.freeze(BDF).unwrap();
        let registers = rig.device.region(RegionIndex::Bar(0)).unwrap();
        assert_eq!(registers.read::<u32>(0).unwrap(), u32::MAX);
        assert_eq!(registers.map().unwrap().read::<u32>(0).unwrap(), u32::MAX);
        assert_eq!(endpoint.state().unwrap(), PeState::Frozen);

        // The device can be asked what it was about, and does no harm meanwhile.
        let mut recovery = endpoint.recovery().unwrap();
        recovery.thaw_mmio().unwrap();
        assert_eq!(recovery.step(), RecoveryStep::Readable);
        assert_ne!(registers.read::<u32>(0).unwrap(), u32::MAX);
        assert_eq!(rig.dma(), [Why::Frozen; 2]);

        while recovery.step() != RecoveryStep::Recovered {
            recovery.advance(reset).unwrap();
        }
        assert_eq!(rig.sim.mappings(), mapped);
        // It is no bus master before it is set up anew.
        assert_eq!(rig.dma(), [Why::NotMaster; 2]);
        rig.driver.start().unwrap();
        assert_eq!(rig.driver.writes(&rig.buffer).unwrap(), Dma::Arrived);
        assert_eq!(rig.driver.reads(&rig.buffer).unwrap(), Dma::Arrived);

        let Rig {
            sim,
            buffer,
            driver,
            device,
        } = rig;
        drop((buffer, driver, endpoint, recovery, registers));
        device.close().unwrap();
        assert!(sim.is_idle() && sim.hazards().is_empty());
    }
}

#[test]
fn a_device_that_was_stopped_by_its_registers_needs_no_reset() {
    for version in VERSIONS {
        let mut rig = rig(Machine::powernv9(), version);
        let endpoint = rig.device.domain().partitionable_endpoint().unwrap();
        rig.sim.freeze(BDF).unwrap();
        let mut recovery = endpoint.recovery().unwrap();
        recovery.thaw_mmio().unwrap();
        recovery.thaw().unwrap();
        assert_eq!(recovery.step(), RecoveryStep::Recovered);
        assert_eq!(rig.driver.writes(&rig.buffer).unwrap(), Dma::Arrived);
    }
}

#[test]
fn hardware_that_freezes_is_recovered_from_dma_that_was_not_allowed() {
    for version in VERSIONS {
        let mut rig = rig(Machine::powernv9().freezing(), version);
        let endpoint = rig.device.domain().partitionable_endpoint().unwrap();
        let gone = rig.buffer.iova().0;
        rig.buffer.unmap().unwrap();
        let registers = rig.device.region(RegionIndex::Bar(0)).unwrap();
        let count = 64;
        for (register, value) in [(0x80, 0x4_0000), (0x88, gone), (0x90, count), (0x98, 3)] {
            registers.write(register, u64::to_be(value)).unwrap(); // from the device's own buffer to memory
        }
        assert_eq!(rig.sim.take_faults()[0].why, Why::Blocked);
        assert_eq!(registers.read::<u32>(0).unwrap(), u32::MAX);
        assert_eq!(endpoint.state().unwrap(), PeState::Frozen);
        let mut recovery = endpoint.recovery().unwrap();
        while recovery.step() != RecoveryStep::Recovered {
            recovery.advance(PeReset::Hot).unwrap();
        }
        rig.driver.start().unwrap();
        let domain = rig.device.domain();
        let buffer = domain.buffer(BUFFER_SIZE, DmaMask::bits(32), Access::ReadWrite);
        assert_eq!(rig.driver.writes(&buffer.unwrap()).unwrap(), Dma::Arrived);
    }
}

#[test]
fn a_domain_that_has_ended_has_no_endpoint() {
    let Rig {
        buffer,
        driver,
        device,
        ..
    } = rig(Machine::powernv9(), VERSIONS[1]);
    let endpoint = device.domain().partitionable_endpoint().unwrap();
    drop((buffer, driver));
    device.close().unwrap();
    assert_eq!(endpoint.state().unwrap_err().kind(), ErrorKind::Gone);
}

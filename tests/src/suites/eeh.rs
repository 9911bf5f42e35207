//! Errors that are isolated: on POWER (EEH), and nowhere else.

use anyhow::{Context, Result, ensure};
use pci_device::Command;
use vfio_core::ErrorKind;
use vfio_core::device::RegionIndex;
use vfio_core::iommu::{
    ErrorFunction, ErrorWidth, InjectedError, PartitionableEndpoint, PeReset, PeState, Recovery,
    RecoveryStep,
};
use vfio_core::uapi;

use super::{Outcome, Rig, attach, dma};
use crate::devices::Driver;

/// Revision and class, which VFIO asks the hardware for.
const REVISION: u64 = 0x08;

const NOT_ISOLATED: &str = "this host isolates no errors";

/// The endpoint of the device, where the host has such a thing.
fn endpoint(rig: &Rig) -> Result<Option<PartitionableEndpoint>> {
    let domain = rig.device.domain();
    match domain.partitionable_endpoint() {
        Ok(endpoint) => Ok(Some(endpoint)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error).context("ask for the endpoint"),
    }
}

/// There is an endpoint where the kernel says that errors are isolated, and a reason where it does not.
pub(super) fn told(rig: &Rig) -> Result<Outcome> {
    let domain = rig.device.domain();
    let told = domain.name().starts_with("sPAPR") && {
        // A container of its own, without a group, asks every driver that is loaded.
        let container = vfio_core::Container::open(rig.vfio().kernel())?;
        container.check_extension(uapi::EEH)?
    };
    let endpoint = domain.partitionable_endpoint();
    match (told, endpoint) {
        (true, Ok(endpoint)) => expect(&endpoint, PeState::Normal, "at first")?,
        (true, Err(error)) => return Err(error).context("the kernel says that there is one"),
        (false, Ok(_)) => {
            anyhow::bail!("there is an endpoint, and the kernel says that there is none")
        }
        (false, Err(error)) => {
            ensure!(error.kind() == ErrorKind::Unsupported, "{error}");
            ensure!(error.reason().is_some(), "nothing says why: {error}");
        }
    }
    Ok(Outcome::Passed)
}

/// What is asked of an endpoint that works changes nothing.
pub(super) fn operations(rig: &Rig) -> Result<Outcome> {
    let Some(endpoint) = endpoint(rig)? else {
        return Ok(Outcome::NotHere(NOT_ISOLATED));
    };
    endpoint.enable()?;
    endpoint.thaw_mmio()?;
    endpoint.thaw_dma()?;
    endpoint.configure()?;
    endpoint.disable()?;
    endpoint.enable()?;
    expect(&endpoint, PeState::Normal, "after that")?;
    let recovery = endpoint.recovery()?;
    ensure!(
        recovery.step() == RecoveryStep::Recovered,
        "{:?} is left to do",
        recovery.step()
    );
    attach::expect_ids(rig, &rig.config)?;
    Ok(Outcome::Passed)
}

/// In a reset config space cannot be read; after it all is there, and the device is no bus master.
pub(super) fn resets(rig: &Rig) -> Result<Outcome> {
    let Some(endpoint) = endpoint(rig)? else {
        return Ok(Outcome::NotHere(NOT_ISOLATED));
    };
    let config = rig.device.region(RegionIndex::Config)?;
    for reset in [PeReset::Hot, PeReset::Fundamental] {
        rig.config.enable(Command::MEMORY | Command::BUS_MASTER)?;
        let before: u32 = config.read(REVISION)?;
        endpoint.begin_reset(reset)?;
        let meanwhile = config.read::<u32>(REVISION);
        let state = endpoint.state();
        endpoint.end_reset()?; // whatever was found: a device that is closed in a reset is lost
        let seen = format!("{reset:?}: {meanwhile:?}, {state:?}");
        ensure!(meanwhile.is_err(), "config space was read: {seen}");
        let state = state.with_context(|| seen.clone())?;
        ensure!(
            matches!(
                state,
                PeState::Normal | PeState::Resetting | PeState::Frozen
            ),
            "in the reset: {seen}"
        );
        endpoint.configure()?;
        expect(&endpoint, PeState::Normal, "after the reset")?;
        let after: u32 = config.read(REVISION)?;
        ensure!(
            after == before,
            "it was {before:#x} and is {after:#x}: {seen}"
        );
        attach::expect_ids(rig, &rig.config)?;
        if reset == PeReset::Hot {
            let command = rig.config.command()?;
            ensure!(
                !command.contains(Command::BUS_MASTER),
                "after a hot reset it is a bus master: {command:?}"
            );
        }
    }
    rig.config.enable(Command::MEMORY)?;
    Ok(Outcome::Passed)
}

/// Every error is made, or refused with a reason; what froze by one is recovered.
pub(super) fn errors(rig: &Rig) -> Result<Outcome> {
    let Some(endpoint) = endpoint(rig)? else {
        return Ok(Outcome::NotHere(NOT_ISOLATED));
    };
    for width in [ErrorWidth::Address32, ErrorWidth::Address64] {
        for function in ErrorFunction::ALL {
            let made = endpoint.inject(InjectedError {
                width,
                function,
                address: 0,
                mask: 0,
            });
            if let Err(error) = made {
                ensure!(error.errno().is_some(), "{function:?}: {error}");
                ensure!(error.kind() == ErrorKind::Kernel, "{function:?}: {error}");
            }
        }
    }
    // What was armed comes now.
    rig.device
        .region(RegionIndex::Config)?
        .read::<u32>(REVISION)?;
    recover(&endpoint)?;
    attach::expect_ids(rig, &rig.config)?;
    Ok(Outcome::Passed)
}

/// A hot reset of the endpoint stops the device, which goes on when it is started anew.
pub(super) fn stops(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let Some(endpoint) = endpoint(rig)? else {
        return Ok(Outcome::NotHere(NOT_ISOLATED));
    };
    endpoint.begin_reset(PeReset::Hot)?;
    endpoint.end_reset()?;
    endpoint.configure()?;
    rig.config.enable(Command::MEMORY)?;
    if let Some(started) = driver.is_started()? {
        ensure!(!started, "the device goes on as before");
    }
    driver.start()?;
    driver.identify().context("started again")?;
    dma::writes_32(rig, driver)
}

/// An error freezes the endpoint: loads answer ones. It is recovered, and the device does DMA again.
pub(super) fn recovered(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let Some(endpoint) = endpoint(rig)? else {
        return Ok(Outcome::NotHere(NOT_ISOLATED));
    };
    let made = endpoint.inject(InjectedError {
        width: ErrorWidth::Address64,
        function: ErrorFunction::LoadMemoryAddress,
        address: 0,
        mask: 0,
    });
    if made.is_err() {
        return Ok(Outcome::NotHere("this firmware makes no errors"));
    }
    let registers = rig.device.region(RegionIndex::Bar(0))?;
    let lost: u32 = registers.read(0)?;
    ensure!(lost == u32::MAX, "a load with an error answers {lost:#x}");
    expect(&endpoint, PeState::Frozen, "after the error")?;
    registers.write(0, 0_u32)?; // dropped

    let mut recovery = endpoint.recovery()?;
    recovery.thaw_mmio()?;
    let read: u32 = registers.read(0)?;
    ensure!(read != u32::MAX, "nothing is read of a thawed endpoint");
    finish(&mut recovery)?;
    driver.start()?;
    driver.identify().context("recovered")?;
    dma::writes_32(rig, driver)
}

/// Recovers what is not as it should be.
fn recover(endpoint: &PartitionableEndpoint) -> Result<()> {
    finish(&mut endpoint.recovery()?)
}

fn finish(recovery: &mut Recovery) -> Result<()> {
    while recovery.step() != RecoveryStep::Recovered {
        std::thread::sleep(recovery.delay()); // what the bus wants
        recovery.advance(PeReset::Hot)?;
    }
    Ok(())
}

fn expect(endpoint: &PartitionableEndpoint, state: PeState, when: &str) -> Result<()> {
    let found = endpoint.state()?;
    ensure!(found == state, "{when} it is {found:?}");
    Ok(())
}

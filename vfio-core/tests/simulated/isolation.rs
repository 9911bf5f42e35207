//! What is asked of a backend that isolates errors, and the way back of an endpoint that froze.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use vfio_core::iommu::{
    ErrorFunction, ErrorIsolation, ErrorWidth, InjectedError, IommuBackend, PartitionableEndpoint,
    PeReset, PeState, Reach, RecoveryStep, Registration,
};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Device, Error, ErrorKind, Result};

use crate::setup::{BDF, Idle, alone, boot, open, v2};

thread_local! {
    /// What the backend answers when it is asked for the state, one after the other; then that it works.
    static STATES: RefCell<VecDeque<PeState>> = const { RefCell::new(VecDeque::new()) };
    static FAILS: Cell<Option<&'static str>> = const { Cell::new(None) };
    static LOG: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

/// What was called since this was last asked, but for the state.
fn logged() -> Vec<&'static str> {
    LOG.take()
}

fn call(name: &'static str) -> Result<()> {
    LOG.with_borrow_mut(|log| log.push(name));
    match FAILS.get() == Some(name) {
        true => Err(Error::new(ErrorKind::Kernel, name, "what the test forbids")),
        false => Ok(()),
    }
}

#[derive(Debug)]
struct Isolates;

impl ErrorIsolation for Isolates {
    fn check(&self) -> Result<()> {
        call("check")
    }

    fn enable(&self) -> Result<()> {
        call("enable")
    }

    fn disable(&self) -> Result<()> {
        call("disable")
    }

    fn state(&self) -> Result<PeState> {
        if FAILS.get() == Some("state") {
            return Err(Error::new(
                ErrorKind::Kernel,
                "state",
                "what the test forbids",
            ));
        }
        let next = STATES.with_borrow_mut(VecDeque::pop_front);
        Ok(next.unwrap_or(PeState::Normal))
    }

    fn thaw_mmio(&self) -> Result<()> {
        call("thaw MMIO")
    }

    fn thaw_dma(&self) -> Result<()> {
        call("thaw DMA")
    }

    fn begin_reset(&self, reset: PeReset) -> Result<()> {
        call(match reset {
            PeReset::Hot => "begin hot",
            PeReset::Fundamental => "begin fundamental",
        })
    }

    fn end_reset(&self) -> Result<()> {
        call("end")
    }

    fn configure(&self) -> Result<()> {
        call("configure")
    }

    fn inject(&self, _: InjectedError) -> Result<()> {
        call("inject")
    }
}

fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Idle::isolating(container, &Isolates)))
}

fn isolates() -> Registration {
    let reach = Reach::Container {
        extension: TYPE1V2_IOMMU,
        attach,
    };
    Registration {
        name: "isolates",
        preference: 1,
        reach,
    }
}

/// A device over that backend, and its endpoint.
fn endpoint() -> (Device, PartitionableEndpoint) {
    let (_, vfio) = boot(alone(), [isolates()]);
    let device = open(&vfio, BDF).unwrap();
    FAILS.set(None);
    STATES.take();
    let endpoint = device.domain().partitionable_endpoint().unwrap();
    logged();
    (device, endpoint)
}

/// What is answered from now on.
fn states(states: impl IntoIterator<Item = PeState>) {
    STATES.set(states.into_iter().collect());
}

#[test]
fn every_operation_comes_to_the_backend() {
    let (_device, endpoint) = endpoint();
    states([PeState::StoppedDma]);
    assert_eq!(endpoint.state().unwrap(), PeState::StoppedDma);
    endpoint.enable().unwrap();
    endpoint.thaw_mmio().unwrap();
    endpoint.thaw_dma().unwrap();
    endpoint.begin_reset(PeReset::Fundamental).unwrap();
    endpoint.end_reset().unwrap();
    endpoint.configure().unwrap();
    let error = InjectedError {
        width: ErrorWidth::Address32,
        function: ErrorFunction::DmaReadData,
        address: 0,
        mask: 0,
    };
    endpoint.inject(error).unwrap();
    endpoint.disable().unwrap();
    let asked = [
        "enable",
        "thaw MMIO",
        "thaw DMA",
        "begin fundamental",
        "end",
        "configure",
        "inject",
        "disable",
    ];
    assert_eq!(logged(), asked);
}

#[test]
fn without_isolation_it_is_said() {
    let (_, vfio) = boot(alone(), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let error = device.domain().partitionable_endpoint().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("isolates no errors"), "{error}");
}

#[test]
fn an_endpoint_is_had_when_the_host_has_it_and_tells_its_state() {
    let (device, _) = endpoint();
    for fails in ["check", "state"] {
        FAILS.set(Some(fails));
        let error = device.domain().partitionable_endpoint().unwrap_err();
        assert_eq!(error.operation(), fails);
    }
    FAILS.set(None);
}

#[test]
fn after_the_end_of_the_domain_it_is_gone() {
    let (device, endpoint) = endpoint();
    device.close().unwrap();
    assert_eq!(endpoint.state().unwrap_err().kind(), ErrorKind::Gone);
    let error = endpoint.recovery().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone);
    let error = endpoint.domain().partitionable_endpoint().unwrap_err();
    assert_eq!((error.kind(), logged().len()), (ErrorKind::Gone, 0));
}

#[test]
fn several_groups_are_no_endpoint() {
    use vfio_core::{AddressSpaceId, OpenOptions};
    use vfio_sim::machine::{self, Group};

    let mut machine = alone();
    let second = "0000:00:05.0";
    machine
        .groups
        .push(Group::new(3, [machine::Device::edu(second)]));
    let (_, vfio) = boot(machine, [isolates()]);
    let space = OpenOptions::default().in_space(AddressSpaceId::unique());
    let first = vfio.open_with(BDF.parse().unwrap(), space).unwrap();
    let endpoint = first.domain().partitionable_endpoint().unwrap();
    let second = vfio.open_with(second.parse().unwrap(), space).unwrap();
    for error in [
        endpoint.state().unwrap_err(),
        second.domain().partitionable_endpoint().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("several groups"), "{error}");
    }
    second.close().unwrap();
    assert_eq!(endpoint.state().unwrap(), PeState::Normal);
}

#[test]
fn what_works_is_recovered() {
    let (_device, endpoint) = endpoint();
    let mut recovery = endpoint.recovery().unwrap();
    assert_eq!(recovery.step(), RecoveryStep::Recovered);
    assert_eq!(
        recovery.advance(PeReset::Hot).unwrap(),
        RecoveryStep::Recovered
    );
    assert_eq!(logged().len(), 0);
}

#[test]
fn the_usual_way_is_a_reset() {
    for (reset, name) in [
        (PeReset::Hot, "begin hot"),
        (PeReset::Fundamental, "begin fundamental"),
    ] {
        let (_device, endpoint) = endpoint();
        states([PeState::Frozen]);
        let mut recovery = endpoint.recovery().unwrap();
        let mut steps = vec![recovery.step()];
        while recovery.step() != RecoveryStep::Recovered {
            let wait = recovery.delay();
            assert_eq!(
                wait > Duration::ZERO,
                recovery.step() == RecoveryStep::Resetting
            );
            steps.push(recovery.advance(reset).unwrap());
        }
        let expected = [
            RecoveryStep::Frozen,
            RecoveryStep::Resetting,
            RecoveryStep::Reset,
            RecoveryStep::Configured,
            RecoveryStep::Recovered,
        ];
        assert_eq!(steps, expected);
        assert_eq!(logged(), [name, "end", "configure"]);
    }
}

#[test]
fn registers_are_read_before_the_reset_or_instead_of_it() {
    let (_device, endpoint) = endpoint();
    states([PeState::Frozen, PeState::StoppedDma]);
    let mut recovery = endpoint.recovery().unwrap();
    recovery.thaw_mmio().unwrap();
    assert_eq!(recovery.step(), RecoveryStep::Readable);
    // A frozen unit that stays so after the thaw of what was not reset is not thawed any further.
    states([PeState::StoppedDma, PeState::StoppedDma, PeState::Normal]);
    recovery.thaw().unwrap();
    assert_eq!(recovery.step(), RecoveryStep::Recovered);
    assert_eq!(logged(), ["thaw MMIO", "thaw DMA"]);
}

#[test]
fn what_is_frozen_still_after_a_reset_is_thawed() {
    let (_device, endpoint) = endpoint();
    states([
        PeState::Frozen,
        PeState::Frozen,
        PeState::Frozen,
        PeState::StoppedDma,
        PeState::Normal,
    ]);
    let mut recovery = endpoint.recovery().unwrap();
    for _ in 0..4 {
        recovery.advance(PeReset::Hot).unwrap();
    }
    assert_eq!(recovery.step(), RecoveryStep::Recovered);
    let asked = ["begin hot", "end", "configure", "thaw MMIO", "thaw DMA"];
    assert_eq!(logged(), asked);
}

#[test]
fn what_is_unavailable_is_waited_for() {
    let (_device, endpoint) = endpoint();
    states([PeState::Unavailable, PeState::Unavailable, PeState::Frozen]);
    let mut recovery = endpoint.recovery().unwrap();
    assert_eq!(recovery.delay(), Duration::from_secs(1));
    let mut steps = vec![recovery.step()];
    // After the reset it is unavailable, and goes on where it was.
    steps.extend([(); 2].map(|()| recovery.advance(PeReset::Hot).unwrap()));
    steps.push(recovery.advance(PeReset::Hot).unwrap());
    states([PeState::Unavailable, PeState::Normal]);
    steps.extend([(); 2].map(|()| recovery.advance(PeReset::Hot).unwrap()));
    let expected = [
        RecoveryStep::Unavailable,
        RecoveryStep::Unavailable,
        RecoveryStep::Frozen,
        RecoveryStep::Resetting,
        RecoveryStep::Unavailable,
        RecoveryStep::Reset,
    ];
    assert_eq!(steps, expected);
}

#[test]
fn a_step_that_fails_is_made_again() {
    for fails in ["begin hot", "end", "configure", "state"] {
        let (_device, endpoint) = endpoint();
        states([PeState::Frozen]);
        let mut recovery = endpoint.recovery().unwrap();
        FAILS.set(Some(fails));
        let error = loop {
            if let Err(error) = recovery.advance(PeReset::Hot) {
                break error;
            }
        };
        assert_eq!(error.operation(), fails);
        assert_ne!(recovery.step(), RecoveryStep::Recovered);
        FAILS.set(None);
        while recovery.advance(PeReset::Hot).unwrap() != RecoveryStep::Recovered {}
    }
}

#[test]
fn what_freezes_again_and_again_is_given_up() {
    let (_device, endpoint) = endpoint();
    let mut recovery = {
        states([PeState::Frozen]);
        endpoint.recovery().unwrap()
    };
    for _ in 0..3 {
        recovery.advance(PeReset::Hot).unwrap();
        recovery.advance(PeReset::Hot).unwrap();
        recovery.advance(PeReset::Hot).unwrap();
        states([PeState::Normal, PeState::Normal, PeState::Frozen]);
        assert_eq!(
            recovery.advance(PeReset::Hot).unwrap(),
            RecoveryStep::Frozen
        );
    }
    logged();
    let error = recovery.advance(PeReset::Hot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.to_string().contains("3 resets"), "{error}");
    drop(recovery);
    assert_eq!(logged().len(), 0);
}

#[test]
fn steps_are_made_in_their_order() {
    let (_device, endpoint) = endpoint();
    states([PeState::Frozen]);
    let mut recovery = endpoint.recovery().unwrap();
    for wrong in [recovery.end_reset(), recovery.configure(), recovery.thaw()] {
        let error = wrong.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("while it is Frozen"), "{error}");
    }
    recovery.begin_reset(PeReset::Hot).unwrap();
    for wrong in [recovery.begin_reset(PeReset::Hot), recovery.thaw_mmio()] {
        assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Invalid);
    }
    assert_eq!(logged(), ["begin hot"]);
}

#[test]
fn a_reset_that_is_left_is_ended() {
    let (_device, endpoint) = endpoint();
    states([PeState::Frozen]);
    let mut recovery = endpoint.recovery().unwrap();
    recovery.begin_reset(PeReset::Hot).unwrap();
    drop(recovery);
    assert_eq!(logged(), ["begin hot", "end"]);

    // Also one that the kernel failed to begin.
    states([PeState::Frozen]);
    let mut recovery = endpoint.recovery().unwrap();
    FAILS.set(Some("begin hot"));
    recovery.begin_reset(PeReset::Hot).unwrap_err();
    FAILS.set(None);
    drop(recovery);
    assert_eq!(logged(), ["begin hot", "end"]);

    states([PeState::Frozen]);
    let mut recovery = endpoint.recovery().unwrap();
    while recovery.advance(PeReset::Hot).unwrap() != RecoveryStep::Recovered {}
    drop(recovery);
    assert_eq!(logged(), ["begin hot", "end", "configure"]);
}

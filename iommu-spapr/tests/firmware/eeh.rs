//! EEH, as LoPAR has it.

use std::sync::Arc;

use iommu_spapr::guest::eeh::{
    BusError, GuestPe, HARDWARE_ERROR, NO_ERROR_LOG, PARAMETER_ERROR, SUCCESS, UNEXPECTED_STATE,
};
use iommu_spapr::{SPAPR_V1, SPAPR_V2};
use vfio_core::device::RegionIndex;
use vfio_core::iommu::{ErrorFunction, ErrorWidth, Registration, Registry};
use vfio_core::kernel::Errno;
use vfio_core::{Answer, Device, Vfio};
use vfio_sim::wrap::{FailNth, Mode, Watched};
use vfio_sim::{Machine, SimKernel};

const BDF: &str = "0000:01:00.0";

const THAW_MMIO: u32 = 2;
const THAW_DMA: u32 = 3;
const END: u32 = 0;
const HOT: u32 = 1;
const FUNDAMENTAL: u32 = 3;

struct Rig {
    sim: SimKernel,
    failing: Arc<FailNth>,
    device: Device,
    pe: GuestPe,
}

fn rig() -> Rig {
    rig_of(Machine::powernv9().freezing(), SPAPR_V2)
}

fn rig_of(machine: Machine, version: Registration) -> Rig {
    let sim = SimKernel::new(machine);
    let failing = Arc::new(FailNth::default());
    let kernel = Arc::new(Watched::new(Arc::new(sim.clone()), failing.clone()));
    let vfio = Vfio::on(kernel, Registry::of([version]).unwrap());
    let device = vfio.open(BDF.parse().unwrap()).unwrap();
    let endpoint = device.domain().partitionable_endpoint().unwrap();
    let pe = GuestPe::new(endpoint, 2, 1);
    Rig {
        sim,
        failing,
        device,
        pe,
    }
}

impl Rig {
    /// Brings it into a state, from any.
    fn be(&self, state: u32) {
        self.pe.reset().unwrap();
        match state {
            0 => {}
            1 => assert_eq!(self.pe.set_slot_reset(HOT), SUCCESS),
            2 => self.sim.freeze(BDF).unwrap(),
            4 => {
                self.sim.freeze(BDF).unwrap();
                assert_eq!(self.pe.set_eeh_option(THAW_MMIO), SUCCESS);
            }
            _ => assert_eq!(self.pe.slot_error_detail(2), NO_ERROR_LOG),
        }
        assert_eq!(self.state(), state);
    }

    fn state(&self) -> u32 {
        let (status, told) = self.pe.read_slot_reset_state2();
        assert_eq!(
            (status, told.capabilities, told.recovery_info),
            (SUCCESS, 1, 0)
        );
        told.state
    }

    /// The next call of that kind fails.
    fn fail(&self, answer: Answer) {
        self.failing.arm(0, answer, Mode::Once);
    }
}

#[test]
fn every_call_in_every_state_answers_what_the_table_says() {
    const STATES: [u32; 5] = [0, 1, 2, 4, 5];
    type Row = (&'static str, fn(&GuestPe) -> i32, [(i32, u32); 5]);
    let rows: [Row; 5] = [
        (
            "thaw loads and stores",
            |pe| pe.set_eeh_option(THAW_MMIO),
            [(-3, 0), (-7, 1), (0, 4), (-3, 4), (-7, 5)],
        ),
        (
            "thaw DMA",
            |pe| pe.set_eeh_option(THAW_DMA),
            [(-3, 0), (-7, 1), (-7, 2), (0, 0), (-7, 5)],
        ),
        (
            "end a reset",
            |pe| pe.set_slot_reset(END),
            [(0, 0), (0, 0), (-7, 2), (-3, 4), (-7, 5)],
        ),
        (
            "begin a hot reset",
            |pe| pe.set_slot_reset(HOT),
            [(0, 1), (0, 1), (0, 1), (0, 1), (-7, 5)],
        ),
        (
            "begin a fundamental reset",
            |pe| pe.set_slot_reset(FUNDAMENTAL),
            [(0, 1), (0, 1), (0, 1), (0, 1), (-7, 5)],
        ),
    ];
    for version in [SPAPR_V1, SPAPR_V2] {
        for hardware in [Machine::powernv9().freezing(), Machine::powernv9()] {
            let rig = rig_of(hardware, version);
            for (name, call, answers) in rows {
                for (state, (status, after)) in STATES.into_iter().zip(answers) {
                    rig.be(state);
                    assert_eq!(call(&rig.pe), status, "{name} in {state}");
                    assert_eq!(rig.state(), after, "{name} in {state}");
                }
            }
        }
    }
}

#[test]
fn a_guest_recovers_as_its_kernel_does() {
    let rig = rig();
    let vendor = rig.device.region(RegionIndex::Config).unwrap();
    rig.sim.freeze(BDF).unwrap();
    assert_eq!(rig.state(), 2);
    assert_eq!(rig.pe.slot_error_detail(1), NO_ERROR_LOG);
    assert_eq!(rig.pe.set_slot_reset(HOT), SUCCESS);
    assert_eq!(rig.state(), 1);
    assert_eq!(rig.pe.set_slot_reset(END), SUCCESS);
    assert_eq!(rig.pe.configure_pe(), SUCCESS);
    assert_eq!(rig.state(), 0);
    assert_eq!(vendor.read::<u16>(8).unwrap() & 0xff, 0x10); // the revision, which is the hardware's
}

#[test]
fn eeh_is_wanted_and_given_up() {
    let rig = rig();
    for function in [0, 1, 1, 0] {
        assert_eq!(rig.pe.set_eeh_option(function), SUCCESS);
        assert_eq!(rig.state(), 0);
    }
    for function in [4, 5, 6, u32::MAX] {
        assert_eq!(rig.pe.set_eeh_option(function), PARAMETER_ERROR);
    }
    for function in [2, 4, u32::MAX] {
        assert_eq!(rig.pe.set_slot_reset(function), PARAMETER_ERROR);
    }
    for function in [0, 3] {
        assert_eq!(rig.pe.slot_error_detail(function), PARAMETER_ERROR);
    }
}

#[test]
fn an_endpoint_has_an_address_that_is_not_0() {
    let rig = rig();
    assert_eq!(rig.pe.get_config_addr_info2(0), (SUCCESS, 0x2_0001));
    assert_eq!(rig.pe.get_config_addr_info2(1), (SUCCESS, 1));
    assert_eq!(rig.pe.get_config_addr_info2(2).0, PARAMETER_ERROR);
    let endpoint = rig.pe.endpoint().clone();
    let shared = GuestPe::new(endpoint, 0, 3);
    assert_eq!(shared.get_config_addr_info2(0), (SUCCESS, 1));
    assert_eq!(shared.get_config_addr_info2(1), (SUCCESS, 2));
}

#[test]
fn what_the_host_answers_becomes_a_status() {
    let rig = rig();
    for (answer, status) in [
        (Answer::Errno(Errno::IO), HARDWARE_ERROR),
        (Answer::Returned(7), HARDWARE_ERROR),
        (Answer::Errno(Errno::NODEV), PARAMETER_ERROR),
    ] {
        rig.be(0);
        rig.fail(answer);
        assert_eq!(rig.pe.set_eeh_option(1), status);
        rig.fail(answer);
        assert_eq!(rig.pe.set_eeh_option(0), status);
        rig.fail(answer);
        assert_eq!(rig.pe.set_slot_reset(HOT), status); // it asks for the state first
        assert_eq!(rig.state(), 0);
        // That call never fails: the guest is told that the endpoint is gone.
        rig.fail(answer);
        let (status, told) = rig.pe.read_slot_reset_state2();
        assert_eq!((status, told.state, told.unavailable_ms), (SUCCESS, 5, 0));
    }
    // Errors of hardware are seen by the next one.
    rig.fail(Answer::Errno(Errno::IO));
    assert_eq!(rig.pe.configure_pe(), SUCCESS);
    rig.fail(Answer::Errno(Errno::NODEV));
    assert_eq!(rig.pe.configure_pe(), PARAMETER_ERROR);
}

#[test]
fn a_reset_that_the_host_fails_to_begin_or_to_end_can_be_tried_again() {
    let rig = rig();
    rig.failing.arm(1, Answer::Errno(Errno::IO), Mode::Once);
    assert_eq!(rig.pe.set_slot_reset(HOT), HARDWARE_ERROR);
    assert_eq!(rig.state(), 0);
    assert_eq!(rig.pe.set_slot_reset(HOT), SUCCESS);
    rig.fail(Answer::Errno(Errno::IO));
    assert_eq!(rig.pe.set_slot_reset(END), HARDWARE_ERROR);
    assert_eq!(rig.state(), 1);
    assert_eq!(rig.pe.set_slot_reset(END), SUCCESS);
    assert_eq!(rig.state(), 0);
}

#[test]
fn what_is_unavailable_for_now_is_so_for_a_second() {
    let rig = rig();
    rig.sim.freeze(BDF).unwrap();
    rig.pe.endpoint().thaw_dma().unwrap(); // DMA alone: the kernel has no word for that
    let (status, told) = rig.pe.read_slot_reset_state2();
    assert_eq!(
        (status, told.state, told.unavailable_ms),
        (SUCCESS, 5, 1000)
    );
    assert_eq!(rig.pe.set_slot_reset(HOT), UNEXPECTED_STATE);
}

#[test]
fn a_reset_of_the_guest_forgets_everything() {
    let rig = rig();
    for state in [1, 2, 4, 5] {
        rig.be(state);
        rig.pe.reset().unwrap();
        assert_eq!(rig.state(), 0);
    }
    // One that fails can be made again.
    rig.be(1);
    rig.fail(Answer::Errno(Errno::IO));
    rig.pe.reset().unwrap_err();
    assert_eq!(rig.state(), 1);
    rig.pe.reset().unwrap();
    assert_eq!(rig.state(), 0);
}

#[test]
fn a_guest_that_goes_in_a_reset_leaves_the_device_usable() {
    let Rig {
        sim, device, pe, ..
    } = rig();
    assert_eq!(pe.set_slot_reset(HOT), SUCCESS);
    drop(pe);
    device.close().unwrap();
    assert_eq!(sim.hazards(), []);
}

#[test]
fn errors_are_read_out_of_the_buffer() {
    let narrow = [0x1000, 0xffff_f000, 0x2_0000, 7, 9, 16, 99];
    let error = BusError::read(ErrorWidth::Address32, &narrow).unwrap();
    assert_eq!(
        (error.config_address, error.unit_id),
        (0x2_0000, 7 << 32 | 9)
    );
    assert_eq!(error.error.function, ErrorFunction::DmaWriteAddress);
    assert_eq!(
        (error.error.address, error.error.mask),
        (0x1000, 0xffff_f000)
    );
    let wide = [0x800_0000, 0x1000, !0, 0xffff_f000, 0x2_0000, 7, 9, 19];
    let error = BusError::read(ErrorWidth::Address64, &wide).unwrap();
    assert_eq!(
        (error.config_address, error.unit_id),
        (0x2_0000, 7 << 32 | 9)
    );
    assert_eq!(error.error.function, ErrorFunction::DmaWriteTargetAbort);
    assert_eq!(error.error.address, 0x800_0000_0000_1000);
    assert_eq!(error.error.mask, 0xffff_ffff_ffff_f000);

    let bad = |width, cells: &[u32]| assert_eq!(BusError::read(width, cells), Err(PARAMETER_ERROR));
    for len in 0..6 {
        bad(ErrorWidth::Address32, &narrow[..len]);
    }
    for len in 0..8 {
        bad(ErrorWidth::Address64, &wide[..len]);
    }
    for function in [20, 21, u32::MAX] {
        bad(ErrorWidth::Address32, &[0x1000, 0, 0, 0, 0, function]);
    }
    bad(ErrorWidth::Address32, &[0x1002, 0, 0, 0, 0, 0]);
    bad(ErrorWidth::Address64, &[0, 0x1004, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn an_injected_error_freezes_the_endpoint_at_the_next_access() {
    let rig = rig();
    let registers = rig.device.region(RegionIndex::Bar(0)).unwrap();
    let good = registers.read::<u32>(0).unwrap();
    let load = BusError::read(ErrorWidth::Address32, &[0, 0, 0, 0, 0, 0]).unwrap();
    for state in [1, 5] {
        rig.be(state);
        assert_eq!(rig.pe.errinjct(&load), HARDWARE_ERROR);
    }
    rig.be(0);
    assert_eq!(rig.pe.errinjct(&load), SUCCESS);
    assert_eq!(rig.state(), 0);
    assert_eq!(registers.read::<u32>(0).unwrap(), u32::MAX);
    assert_eq!(rig.state(), 2);
    rig.pe.reset().unwrap();
    assert_eq!(registers.read::<u32>(0).unwrap(), good); // once
    // On a host whose hardware makes no errors, it is said.
    let rig = rig_of(Machine::powernv9(), SPAPR_V2);
    assert_eq!(rig.pe.errinjct(&load), HARDWARE_ERROR);
}

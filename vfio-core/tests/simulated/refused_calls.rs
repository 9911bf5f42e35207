//! What a refused call is diagnosed as, on a host where that is the reason, and on one where it is not.

use vfio_core::address::{HostRange, Iova, IovaRange};
use vfio_core::diagnosis::{Danger, Question, catalogue, examine};
use vfio_core::host::Bdf;
use vfio_core::kernel::Errno;
use vfio_core::{Error, ErrorKind};
use vfio_sim::machine::{Device, Sriov};
use vfio_sim::{Machine, SimKernel};

use crate::overlay::Overlay;
use crate::setup::{BDF, alone, host};

const RESERVED: &str = "/sys/kernel/iommu_groups/2/reserved_regions";

fn overlay(machine: Machine) -> Overlay {
    Overlay::new(SimKernel::new(machine))
}

fn bdf(text: &str) -> Bdf {
    text.parse().unwrap()
}

fn code(error: &Error, kernel: &Overlay) -> Option<&'static str> {
    error.diagnose(kernel).map(|diagnosis| diagnosis.code)
}

fn map(errno: Errno) -> Error {
    let range = IovaRange::inclusive(Iova(1 << 40), Iova((1 << 40) + 0xfff)).unwrap();
    Error::kernel("VFIO_IOMMU_MAP_DMA", "it", errno)
        .at(range)
        .of_memory(HostRange::new(0x7000, 0x1000).unwrap())
}

#[test]
fn vfio_06_a_group_is_refused_because_of_the_firmware() {
    let direct = "0x00000000000e0000 0x00000000000effff direct\n";
    let relaxed = "0x00000000000e0000 0x00000000000effff direct-relaxable\n";
    for (operation, errno) in [
        ("VFIO_SET_IOMMU", Errno::PERM),
        ("VFIO_GROUP_SET_CONTAINER", Errno::INVAL),
    ] {
        let error = Error::kernel(operation, "it", errno).of_group(2);
        let kernel = overlay(alone()).file(RESERVED, direct);
        let diagnosis = error.diagnose(&kernel).unwrap();
        assert_eq!(diagnosis.code, "VFIO-06");
        assert_eq!(diagnosis.evidence[0].found, "0xe0000-0xeffff direct");
        assert_eq!(
            code(&error, &overlay(alone()).file(RESERVED, relaxed)),
            None
        );
    }
    let other = Error::kernel("VFIO_SET_IOMMU", "it", Errno::BUSY).of_group(2);
    assert_eq!(code(&other, &overlay(alone()).file(RESERVED, direct)), None);
}

#[test]
fn vfio_11_a_device_cannot_be_reset() {
    let kernel = overlay(alone());
    let unsupported = Error::new(ErrorKind::Unsupported, "VFIO_DEVICE_RESET", BDF);
    assert_eq!(
        code(&unsupported.of_device(bdf(BDF)), &kernel),
        Some("VFIO-11")
    );
    let busy = Error::kernel("VFIO_DEVICE_RESET", BDF, Errno::AGAIN).of_device(bdf(BDF));
    assert_eq!(code(&busy, &kernel), None);
}

#[test]
fn vfio_13_to_15_a_mapping_is_refused() {
    let kernel = overlay(alone());
    for (errno, expected) in [
        (Errno::FAULT, Some("VFIO-13")),
        (Errno::INVAL, Some("VFIO-14")),
        (Errno::NOSPC, Some("VFIO-15")),
        (Errno::EXIST, None),
    ] {
        assert_eq!(code(&map(errno), &kernel), expected, "{errno}");
    }
    let outside =
        Error::new(ErrorKind::OutOfReach, "map", "it").at(map(Errno::INVAL).iova().unwrap());
    assert_eq!(code(&outside, &kernel), Some("VFIO-14"));
}

#[test]
fn vfio_18_a_virtual_function_wants_a_token() {
    let refused = Error::kernel("VFIO_GROUP_GET_DEVICE_FD", BDF, Errno::ACCESS).of_device(bdf(BDF));
    let physical = "0000:00:09.0";
    let with_driver = |driver| {
        let device = Device {
            sriov: Sriov::Virtual(physical.to_owned()),
            ..Device::edu(BDF)
        };
        overlay(host([device, Device::edu(physical).driven_by(driver)])).link(
            &format!("/sys/bus/pci/devices/{BDF}/physfn"),
            &format!("../{physical}"),
        )
    };
    let diagnosis = refused.diagnose(&with_driver("vfio-pci")).unwrap();
    assert_eq!(diagnosis.code, "VFIO-18");
    assert!(diagnosis.cause.contains(physical), "{diagnosis:?}");
    assert_eq!(code(&refused, &with_driver("igb")), None);
    assert_eq!(code(&refused, &overlay(alone())), None);
}

#[test]
fn vfio_19_a_window_is_refused() {
    let kernel = overlay(Machine::pseries());
    for operation in [
        "VFIO_IOMMU_SPAPR_TCE_CREATE",
        "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
    ] {
        let refused = Error::kernel(operation, "it", Errno::INVAL);
        assert_eq!(code(&refused, &kernel), Some("VFIO-19"), "{operation}");
    }
    // That one is a limit of the process.
    let limited = overlay(Machine::pseries()).memlock(1 << 16);
    let refused = Error::kernel("VFIO_IOMMU_SPAPR_TCE_CREATE", "it", Errno::NOMEM);
    assert_eq!(code(&refused, &limited), Some("VFIO-04"));
}

#[test]
fn the_catalogue_is_whole_and_its_remedies_are_in_order_of_safety() {
    let codes: Vec<_> = catalogue().iter().map(|entry| entry.code).collect();
    let all: Vec<_> = (1..=20).map(|number| format!("VFIO-{number:02}")).collect();
    assert_eq!(codes, all);
    let switched_off = Machine {
        groups: Vec::new(),
        ..alone()
    };
    for (kernel, question) in [
        (overlay(switched_off), Question::default()),
        (overlay(Machine::noiommu()), Question::default()),
        (
            overlay(alone()).file(RESERVED, "0x0 0xfff direct\n"),
            Question::of(bdf(BDF)),
        ),
    ] {
        let examination = examine(&kernel, question).unwrap();
        assert!(!examination.findings.is_empty());
        for diagnosis in &examination.findings {
            let unsafe_at = diagnosis
                .remedies
                .iter()
                .position(|it| it.danger == Danger::Unsafe);
            let last = diagnosis.remedies.len() - 1;
            assert!(unsafe_at.is_none_or(|at| at == last), "{diagnosis:?}");
        }
    }
}

#[test]
fn a_device_that_is_not_there_cannot_be_examined() {
    let error = examine(&overlay(alone()), Question::of(bdf("0fff:00:00.0"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchDevice);
}

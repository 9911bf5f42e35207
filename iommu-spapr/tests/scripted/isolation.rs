//! EEH: what is asked of the kernel, and what is made of its answers.

use vfio_core::ErrorKind;
use vfio_core::iommu::{
    ErrorFunction, ErrorIsolation, ErrorWidth, InjectedError, PeReset, PeState,
};
use vfio_core::kernel::Errno;
use vfio_core::uapi::EehPeOp;

use crate::kernel::{BOTH, Scripted};

const ERROR: InjectedError = InjectedError {
    width: ErrorWidth::Address64,
    function: ErrorFunction::DmaWriteTargetAbort,
    address: 0x1_2345_6789,
    mask: !0xfff,
};

/// A call, and the number of its operation.
type Operation = (fn(&dyn ErrorIsolation) -> vfio_core::Result<()>, u32);

const OPERATIONS: [Operation; 9] = [
    (|it| it.disable(), 0),
    (|it| it.enable(), 1),
    (|it| it.thaw_mmio(), 2),
    (|it| it.thaw_dma(), 3),
    (|it| it.end_reset(), 5),
    (|it| it.begin_reset(PeReset::Hot), 6),
    (|it| it.begin_reset(PeReset::Fundamental), 7),
    (|it| it.configure(), 8),
    (|it| it.inject(ERROR), 9),
];

#[test]
fn every_operation_has_its_number_and_the_whole_struct() {
    for version in BOTH {
        let kernel = Scripted::new();
        let backend = kernel.backend(version);
        let isolation = backend.error_isolation().unwrap();
        isolation.state().unwrap();
        for (operation, number) in OPERATIONS {
            let asked: EehPeOp = match kernel.calls().as_slice() {
                [one] => one.arg(),
                calls => panic!("{calls:?}"),
            };
            assert_eq!((asked.argsz, asked.flags), (40, 0));
            operation(isolation).unwrap();
            let asked: EehPeOp = {
                let calls = kernel.calls();
                assert_eq!(calls.len(), 1);
                calls[0].arg()
            };
            assert_eq!((asked.argsz, asked.flags, asked.op), (40, 0, number));
            isolation.state().unwrap();
        }
        let asked: EehPeOp = kernel.calls()[0].arg();
        assert_eq!((asked.argsz, asked.op, asked.err.mask), (40, 4, 0));
    }
}

#[test]
fn an_error_is_passed_on_as_it_is() {
    for (width, kind) in [(ErrorWidth::Address32, 0), (ErrorWidth::Address64, 1)] {
        for (func, function) in (0..).zip(ErrorFunction::ALL) {
            let kernel = Scripted::new();
            let backend = kernel.backend(BOTH[0]);
            let error = InjectedError {
                width,
                function,
                ..ERROR
            };
            backend.error_isolation().unwrap().inject(error).unwrap();
            let asked: EehPeOp = kernel.calls()[0].arg();
            assert_eq!((asked.err.kind, asked.err.func), (kind, func));
            assert_eq!((asked.err.addr, asked.err.mask), (0x1_2345_6789, !0xfff));
        }
    }
}

#[test]
fn a_state_is_one_of_five_numbers() {
    let kernel = Scripted::new();
    let backend = kernel.backend(BOTH[1]);
    let isolation = backend.error_isolation().unwrap();
    for (number, state) in [
        (0, PeState::Normal),
        (1, PeState::Resetting),
        (2, PeState::Frozen),
        (4, PeState::StoppedDma),
        (5, PeState::Unavailable),
    ] {
        kernel.next("EEH", Ok(number));
        assert_eq!(isolation.state().unwrap(), state);
    }
    for number in [3, 6, u32::MAX] {
        kernel.next("EEH", Ok(number));
        let error = isolation.state().unwrap_err();
        assert_eq!(
            (error.kind(), error.operation()),
            (ErrorKind::Kernel, "VFIO_EEH_PE_OP")
        );
        let said = error.to_string();
        assert!(said.contains(&format!("returned {number}")), "{said}");
        assert!(said.contains("ask for its state"), "{said}");
    }
}

#[test]
fn any_other_call_that_answers_a_number_has_failed() {
    let kernel = Scripted::new();
    let backend = kernel.backend(BOTH[0]);
    let isolation = backend.error_isolation().unwrap();
    for (operation, number) in OPERATIONS {
        for (answer, kind) in [
            (Ok(1), ErrorKind::Kernel),
            (Err(Errno::IO), ErrorKind::Kernel),
            (Err(Errno::PERM), ErrorKind::NotPermitted),
            (Err(Errno::NODEV), ErrorKind::Unsupported),
        ] {
            kernel.next("EEH", answer);
            let error = operation(isolation).unwrap_err();
            assert_eq!(
                (error.kind(), error.operation()),
                (kind, "VFIO_EEH_PE_OP"),
                "{number}"
            );
            assert_eq!(error.errno(), answer.err());
            assert!(error.reason().is_some());
        }
    }
}

#[test]
fn a_group_without_a_unit_is_told_in_words() {
    let kernel = Scripted::new();
    let device = kernel.open(BOTH[0]);
    kernel.next("EEH", Err(Errno::NODEV));
    let error = device.domain().partitionable_endpoint().unwrap_err();
    assert_eq!(
        (error.kind(), error.errno()),
        (ErrorKind::Unsupported, Some(Errno::NODEV))
    );
    assert!(error.to_string().contains("no isolation unit"), "{error}");
    device.domain().partitionable_endpoint().unwrap();
}

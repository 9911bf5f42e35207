//! A call fails, and everything is released.

use std::sync::Arc;

use vfio_core::Answer;
use vfio_core::kernel::Errno;
use vfio_sim::Machine;
use vfio_sim::wrap::{Counted, Counting, FailNth, Mode, errnos};

use crate::session::{first, over, session, watched};

const SIZE: usize = 1 << 16;

#[test]
fn each_ioctl_of_a_session_fails_in_turn_until_none_is_left() {
    for mode in [Mode::Once, Mode::AndAllLater] {
        let failing = Arc::new(FailNth::default());
        let mut failed = Vec::new();
        for n in 0.. {
            let (kernel, sim) = watched(Machine::x86_64(), &failing);
            failing.arm(n, Errno::IO.into(), mode);
            let result = session(&kernel, "0000:00:04.0", SIZE);
            assert!(sim.is_idle(), "{:?}", failing.failed());
            let Some(name) = failing.failed() else {
                result.unwrap();
                assert_eq!(failing.seen(), failed);
                break;
            };
            assert_eq!(failing.seen()[n], name);
            failed.push(name);
        }
        if mode == Mode::Once {
            assert!(failed.len() > 10, "{failed:?}");
        }
        assert_eq!(failed[0], "VFIO_GET_API_VERSION");
    }
}

#[test]
fn a_call_that_fails_is_not_made_and_later_ones_are_or_are_not() {
    let (failing, counting) = (Arc::new(FailNth::default()), Arc::new(Counting::default()));
    let (below, _) = watched(Machine::x86_64(), &counting);
    let kernel = over(below, &failing);
    for (mode, made) in [(Mode::Once, 1), (Mode::AndAllLater, 0)] {
        failing.arm(0, Errno::IO.into(), mode);
        let open = || vfio_core::Container::open(&kernel);
        assert_eq!(open().unwrap_err().errno(), Some(Errno::IO));
        assert_eq!(counting.of("VFIO_GET_API_VERSION"), 0);
        assert_eq!(open().is_ok(), mode == Mode::Once);
        assert_eq!(
            counting.take().remove("VFIO_GET_API_VERSION").unwrap_or(0),
            made
        );
        assert_eq!(failing.seen().len(), 2);
    }
    failing.disarm();
    assert!(failing.seen().is_empty());
    vfio_core::Container::open(&kernel).unwrap();
}

#[test]
fn other_calls_fail_when_they_are_asked_to() {
    let kinds = [
        (
            "open",
            Counted {
                open: true,
                ..Counted::default()
            },
        ),
        (
            "pread",
            Counted {
                access: true,
                ..Counted::default()
            },
        ),
        (
            "map_region",
            Counted {
                mmap: true,
                ..Counted::default()
            },
        ),
        (
            "eventfd",
            Counted {
                eventfd: true,
                ..Counted::default()
            },
        ),
        (
            "munmap",
            Counted {
                munmap: true,
                ..Counted::default()
            },
        ),
        (
            "read_link",
            Counted {
                host: true,
                ..Counted::default()
            },
        ),
    ];
    for (name, counted) in kinds {
        let failing = Arc::new(FailNth::counting(counted));
        let machine = Machine::x86_64();
        let bdf = first(&machine);
        let (kernel, _) = watched(machine, &failing);
        session(&kernel, &bdf, SIZE).unwrap();
        let seen = failing.seen();
        let n = seen.iter().position(|seen| seen == name).unwrap();
        failing.arm(n, Errno::IO.into(), Mode::Once);
        let result = session(&kernel, &bdf, SIZE);
        assert_eq!(failing.failed().unwrap(), name);
        // Memory that was not given back is nobody's failure but the log's.
        assert_eq!(result.is_err(), name != "munmap", "{name}");
    }
}

#[test]
fn a_positive_number_can_be_the_failure() {
    let failing = Arc::new(FailNth::default());
    let (kernel, _) = watched(Machine::x86_64(), &failing);
    session(&kernel, "0000:00:04.0", SIZE).unwrap();
    let (call, answer) = errnos()
        .find(|(_, answer)| matches!(answer, Answer::Returned(_)))
        .unwrap();
    assert_eq!(call, "VFIO_DEVICE_SET_IRQS");
    let n = failing.seen().iter().position(|seen| seen == call).unwrap();
    failing.arm(n, answer, Mode::Once);
    let error = session(&kernel, "0000:00:04.0", SIZE).unwrap_err();
    assert_eq!(error.operation(), call);
    assert_eq!(error.errno(), None);
}

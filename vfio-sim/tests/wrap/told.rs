//! What a watch of one's own is told.
#![allow(unsafe_code)] // Raw calls, of the simulation, which touches no memory but their arguments.

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex};

use vfio_core::Answer;
use vfio_core::kernel::{Arg, Errno};
use vfio_core::uapi::{self, GroupStatus};
use vfio_sim::Machine;
use vfio_sim::wrap::{Call, Input, Name, Outcome, Request, Tag, Value, Watch};
use zerocopy::IntoBytes;

use crate::session::watched;

/// Writes down ioctls.
#[derive(Debug, Default)]
struct Notes(Mutex<Vec<Note>>);

#[derive(Debug, PartialEq, Eq)]
struct Note {
    name: Name,
    tag: Option<Tag>,
    given: Vec<u8>,
    answer: Result<u64, Errno>,
    output: Vec<u8>,
}

impl Watch for Notes {
    fn before(&self, call: &Call<'_>) -> Result<(), Answer> {
        match call.request {
            Request::Mmap { .. } | Request::Pread { .. } => Err(Answer::Returned(3)),
            Request::Eventfd => Err(Answer::Errno(Errno::MFILE)),
            _ => Ok(()),
        }
    }

    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let Request::Ioctl { input, .. } = call.request else {
            return;
        };
        let Input::Bytes(given) = input else {
            panic!("{call:?}");
        };
        self.0.lock().unwrap().push(Note {
            name: call.name(),
            tag: call.object.map(|object| object.tag),
            given: given.to_vec(),
            answer: outcome.answer.map(|value| match value {
                Value::Number(number) => number,
                other => panic!("{other:?}"),
            }),
            output: outcome.output.to_vec(),
        });
    }
}

#[test]
fn an_ioctl_is_told_with_its_bytes_as_they_were_before_and_after() {
    let notes = Arc::new(Notes::default());
    let (kernel, _) = watched(Machine::x86_64(), &notes);
    let group = kernel.open("/dev/vfio/2".as_ref()).unwrap();
    let duplicate = group.try_clone().unwrap();
    for argsz in [8, 4] {
        let mut status = GroupStatus { argsz, flags: 0 };
        let arg = Arg::InOut(status.as_mut_bytes());
        // SAFETY: the simulation, and a whole struct.
        let answer = unsafe { kernel.ioctl(duplicate.as_fd(), uapi::GROUP_GET_STATUS, arg) };
        assert_eq!(answer.is_ok(), argsz == 8);
        assert_eq!(status.flags, u32::from(argsz == 8));
    }
    let note = |argsz, answer, viable| Note {
        name: "VFIO_GROUP_GET_STATUS".into(),
        tag: Some(0),
        given: vec![argsz, 0, 0, 0, 0, 0, 0, 0],
        answer,
        output: vec![argsz, 0, 0, 0, viable, 0, 0, 0],
    };
    assert_eq!(
        *notes.0.lock().unwrap(),
        [note(8, Ok(0), 1), note(4, Err(Errno::INVAL), 0)]
    );
}

#[test]
fn a_watch_answers_in_place_of_the_kernel() {
    let (kernel, _) = watched(Machine::x86_64(), &Arc::new(Notes::default()));
    let container = kernel.open("/dev/vfio/vfio".as_ref()).unwrap();
    assert_eq!(kernel.eventfd().unwrap_err(), Errno::MFILE);
    // A number is none of its answers.
    assert_eq!(kernel.mmap(4096).unwrap_err(), Errno::RANGE);
    let mut bytes = [9; 4];
    assert_eq!(kernel.pread(container.as_fd(), &mut bytes, 0), Ok(3));
    assert_eq!(bytes, [9; 4]);
    assert_eq!(kernel.pread(container.as_fd(), &mut bytes[..2], 0), Ok(2));
}

//! A kernel whose calls are watched.
#![allow(unsafe_code)] // It passes the kernel's promises on, both ways.

use std::ffi::OsString;
use std::fmt::Debug;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_core::Answer;
use vfio_core::address::HostRange;
use vfio_core::kernel::{Arg, Errno, Kernel, Node, Opcode, Protection, RegionMapping, Result};
use vfio_core::uapi;

use super::call::{Call, Input, Outcome, Request, Value};
use super::objects::{Objects, kind_of_answer, kind_of_node};
use crate::names::Kind;

/// What is told of each call.
///
/// It is told by the thread that calls, and by several at once. It must not call the kernel that it watches.
pub trait Watch: Debug + Send + Sync {
    /// A call is about to be made.
    ///
    /// # Errors
    /// The call is not made, [`after`](Self::after) is not told of it, and this is what it answers. A number can be
    /// the answer of [`ioctl`](Kernel::ioctl), `pread` and `pwrite` (no more than they were asked for), which then
    /// write nothing; any other call answers `ERANGE` in its place.
    fn before(&self, call: &Call<'_>) -> std::result::Result<(), Answer> {
        let _ = call;
        Ok(())
    }

    /// A call was made.
    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let _ = (call, outcome);
    }
}

/// A kernel whose calls a [`Watch`] is told of.
///
/// Not told are `memlock_limit`, `page_size` and `identity`, which cannot fail, and accesses to mapped regions.
#[derive(Debug)]
pub struct Watched<W> {
    kernel: Arc<dyn Kernel>,
    watch: Arc<W>,
    objects: Mutex<Objects>,
}

impl<W: Watch> Watched<W> {
    /// That kernel, watched from now on. What an fd stands for is known if it is opened here.
    pub fn new(kernel: Arc<dyn Kernel>, watch: Arc<W>) -> Self {
        Self {
            kernel,
            watch,
            objects: Mutex::default(),
        }
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of an fd.
    fn call<'a>(&self, fd: BorrowedFd<'a>, request: Request<'a>) -> Call<'a> {
        Call {
            fd: Some(fd),
            object: self.objects().find(fd),
            request,
        }
    }

    /// Makes a call that has no number to answer, if the watch lets it.
    fn make<T>(
        &self,
        call: &Call<'_>,
        make: impl FnOnce() -> Result<T>,
        tell: impl FnOnce(&T) -> Told<'_>,
    ) -> Result<T> {
        self.watch.before(call).map_err(errno)?;
        let answer = make();
        let (answer_told, output): Told<'_> = match &answer {
            Ok(value) => tell(value),
            Err(errno) => (Err(*errno), &[]),
        };
        self.watch.after(
            call,
            &Outcome {
                answer: answer_told,
                output,
            },
        );
        answer
    }

    /// As [`make`](Self::make), for a call that answers a new fd.
    fn make_fd(
        &self,
        call: &Call<'_>,
        kind: Kind,
        make: impl FnOnce() -> Result<OwnedFd>,
    ) -> Result<OwnedFd> {
        self.make(call, make, |fd| {
            let object = self.objects().add(fd.as_fd(), kind);
            (Ok(Value::Fd(fd.as_fd(), object)), &[])
        })
    }
}

/// What a call answered, and what it wrote.
type Told<'a> = (Result<Value<'a>>, &'a [u8]);

/// A call without an fd.
fn alone(request: Request<'_>) -> Call<'_> {
    Call {
        fd: None,
        object: None,
        request,
    }
}

/// What a call answers that has no number to return.
fn errno(answer: Answer) -> Errno {
    match answer {
        Answer::Errno(errno) => errno,
        Answer::Returned(_) => Errno::RANGE,
    }
}

/// How many bytes a call says it moved.
fn moved(answer: Answer, len: usize) -> Result<usize> {
    match answer {
        Answer::Errno(errno) => Err(errno),
        Answer::Returned(count) => Ok(len.min(count as usize)),
    }
}

/// The bytes of an argument that the call may write, as they were: they are not there any more afterwards.
fn before(arg: &Arg<'_>) -> Vec<u8> {
    match arg {
        Arg::InOut(bytes) => bytes.to_vec(),
        Arg::None | Arg::Value(_) | Arg::In(_) => Vec::new(),
    }
}

fn input<'a>(arg: &Arg<'a>, copy: &'a [u8]) -> Input<'a> {
    match arg {
        Arg::None => Input::None,
        Arg::Value(value) => Input::Value(*value),
        Arg::In(bytes) => Input::Bytes(bytes),
        Arg::InOut(_) => Input::Bytes(copy),
    }
}

/// The same argument, for the time of a call.
fn lend<'a>(arg: &'a mut Arg<'_>) -> Arg<'a> {
    match arg {
        Arg::None => Arg::None,
        Arg::Value(value) => Arg::Value(*value),
        Arg::In(bytes) => Arg::In(bytes),
        Arg::InOut(bytes) => Arg::InOut(bytes),
    }
}

fn output<'a>(arg: &'a Arg<'_>) -> &'a [u8] {
    match arg {
        Arg::InOut(bytes) => bytes,
        Arg::None | Arg::Value(_) | Arg::In(_) => &[],
    }
}

// SAFETY: memory is mapped by the kernel below, which promises it; a mapping that a watch refuses is not made, and
// one that it keeps from being given back stays.
unsafe impl<W: Watch> Kernel for Watched<W> {
    fn open(&self, path: &Path) -> Result<OwnedFd> {
        let call = alone(Request::Open { path });
        self.make_fd(&call, kind_of_node(path), || self.kernel.open(path))
    }

    unsafe fn ioctl(&self, fd: BorrowedFd<'_>, opcode: Opcode, mut arg: Arg<'_>) -> Result<u32> {
        let copy = before(&arg);
        let input = input(&arg, &copy);
        let call = self.call(fd, Request::Ioctl { opcode, input });
        match self.watch.before(&call) {
            Ok(()) => {}
            Err(Answer::Errno(errno)) => return Err(errno),
            Err(Answer::Returned(value)) => return Ok(value),
        }
        // SAFETY: passed on to our caller.
        let answer = unsafe { self.kernel.ioctl(fd, opcode, lend(&mut arg)) };
        if let (uapi::SET_IOMMU, Input::Value(iommu), Ok(0)) = (opcode, input, answer) {
            self.objects().set_iommu(fd, iommu);
        }
        let outcome = Outcome {
            answer: answer.map(|value| Value::Number(value.into())),
            output: output(&arg),
        };
        self.watch.after(&call, &outcome);
        answer
    }

    unsafe fn ioctl_fd(
        &self,
        fd: BorrowedFd<'_>,
        opcode: Opcode,
        mut arg: Arg<'_>,
    ) -> Result<OwnedFd> {
        let copy = before(&arg);
        let input = input(&arg, &copy);
        let call = self.call(fd, Request::IoctlFd { opcode, input });
        self.watch.before(&call).map_err(errno)?;
        // SAFETY: passed on to our caller.
        let answer = unsafe { self.kernel.ioctl_fd(fd, opcode, lend(&mut arg)) };
        let told = answer.as_ref().map_err(|errno| *errno).map(|new| {
            let object = self.objects().add(new.as_fd(), kind_of_answer(opcode));
            Value::Fd(new.as_fd(), object)
        });
        let outcome = Outcome {
            answer: told,
            output: output(&arg),
        };
        self.watch.after(&call, &outcome);
        answer
    }

    fn pread(&self, fd: BorrowedFd<'_>, bytes: &mut [u8], offset: u64) -> Result<usize> {
        let len = bytes.len();
        let call = self.call(fd, Request::Pread { len, offset });
        if let Err(answer) = self.watch.before(&call) {
            return moved(answer, len);
        }
        let answer = self.kernel.pread(fd, bytes, offset);
        let came = bytes.get(..answer.unwrap_or(0)).unwrap_or(bytes);
        let outcome = Outcome {
            answer: answer.map(|count| Value::Number(count as u64)),
            output: came,
        };
        self.watch.after(&call, &outcome);
        answer
    }

    fn pwrite(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> Result<usize> {
        let call = self.call(fd, Request::Pwrite { bytes, offset });
        if let Err(answer) = self.watch.before(&call) {
            return moved(answer, bytes.len());
        }
        let answer = self.kernel.pwrite(fd, bytes, offset);
        let outcome = Outcome {
            answer: answer.map(|count| Value::Number(count as u64)),
            output: &[],
        };
        self.watch.after(&call, &outcome);
        answer
    }

    fn mmap(&self, len: usize) -> Result<NonNull<u8>> {
        let call = alone(Request::Mmap { len });
        self.make(
            &call,
            || self.kernel.mmap(len),
            |addr| (Ok(Value::Address(*addr)), &[]),
        )
    }

    fn map_region(
        &self,
        device: BorrowedFd<'_>,
        offset: u64,
        len: usize,
        protection: Protection,
        align: usize,
    ) -> Result<RegionMapping> {
        let request = Request::MapRegion {
            offset,
            len,
            protection,
            align,
        };
        self.make(
            &self.call(device, request),
            || {
                self.kernel
                    .map_region(device, offset, len, protection, align)
            },
            |mapping| match mapping {
                RegionMapping::Pages(addr) => (Ok(Value::Address(*addr)), &[]),
                RegionMapping::Registers(_) => (Ok(Value::Registers), &[]),
            },
        )
    }

    unsafe fn munmap(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        let call = alone(Request::Munmap { addr, len });
        // SAFETY: passed on to our caller.
        let make = || unsafe { self.kernel.munmap(addr, len) };
        self.make(&call, make, |()| (Ok(Value::Done), &[]))
    }

    unsafe fn keep_from_children(&self, addr: NonNull<u8>, len: usize) -> Result<()> {
        let call = alone(Request::KeepFromChildren { addr, len });
        // SAFETY: passed on to our caller.
        let make = || unsafe { self.kernel.keep_from_children(addr, len) };
        self.make(&call, make, |()| (Ok(Value::Done), &[]))
    }

    fn populate(&self, memory: HostRange, write: bool) -> Result<()> {
        let call = alone(Request::Populate { memory, write });
        let make = || self.kernel.populate(memory, write);
        self.make(&call, make, |()| (Ok(Value::Done), &[]))
    }

    fn resident(&self, memory: HostRange, pages: &mut [u8]) -> Result<()> {
        let call = alone(Request::Resident { memory });
        let make = || self.kernel.resident(memory, pages);
        self.make(&call, make, |()| (Ok(Value::Done), &[]))
    }

    fn eventfd(&self) -> Result<OwnedFd> {
        let call = alone(Request::Eventfd);
        self.make_fd(&call, Kind::Eventfd, || self.kernel.eventfd())
    }

    fn memlock_limit(&self) -> Option<u64> {
        self.kernel.memlock_limit()
    }

    fn page_size(&self) -> usize {
        self.kernel.page_size()
    }

    fn identity(&self) -> (String, String) {
        self.kernel.identity()
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let call = alone(Request::Read { path });
        let make = || self.kernel.read(path);
        self.make(&call, make, |bytes| (Ok(Value::Done), bytes))
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let call = alone(Request::List { path });
        let make = || self.kernel.list(path);
        self.make(&call, make, |names| (Ok(Value::Names(names)), &[]))
    }

    fn read_link(&self, path: &Path) -> Result<PathBuf> {
        let call = alone(Request::ReadLink { path });
        let make = || self.kernel.read_link(path);
        self.make(&call, make, |target| (Ok(Value::Path(target)), &[]))
    }

    fn node(&self, path: &Path) -> Result<Node> {
        let call = alone(Request::Node { path });
        let make = || self.kernel.node(path);
        self.make(&call, make, |node| (Ok(Value::Node(*node)), &[]))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let call = alone(Request::Write { path, bytes });
        let make = || self.kernel.write(path, bytes);
        self.make(&call, make, |()| (Ok(Value::Done), &[]))
    }
}

//! Writes down what was asked and what it answered.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::host::PciDevice;
use vfio_core::kernel::Kernel;

use super::call::{Call, Outcome, Request, Value};
use super::places::Places;
use super::trace::{About, Entry, Said, Scope, Trace, asked, masked, public};
use super::watched::Watch;

/// Writes each call down, for [`Replay`](super::Replay), and for people: the [text](super::trace).
///
/// It sees what passes the kernel's door. What is read and written through a mapping, what an eventfd counts and what
/// a bitmap of dirty pages says is not in it; nor are the calls that make memory present or ask whether it is, which
/// change no answer and may come from several threads.
#[derive(Debug)]
pub struct Recording {
    machine: About,
    devices: Vec<PciDevice>,
    scope: Scope,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    places: Places,
    entries: Vec<Entry>,
}

impl Recording {
    /// A recording of that kernel, which is to be watched with it.
    pub fn of(kernel: &dyn Kernel) -> Self {
        Self::new(About::of(kernel), Vec::new(), Scope::Everything)
    }

    /// A recording that can be given away, and [made again](super::again()) on a simulated machine with these devices:
    /// [no secret](super::trace#what-is-kept-back) is in it.
    pub fn to_give_away(kernel: &dyn Kernel, devices: Vec<PciDevice>) -> Self {
        Self::new(About::of_process(kernel), devices, Scope::Public)
    }

    fn new(machine: About, devices: Vec<PciDevice>, scope: Scope) -> Self {
        Self {
            machine,
            devices,
            scope,
            written: Mutex::default(),
        }
    }

    /// Closes an fd that was opened by a recorded call, and writes that down: closing passes no kernel's door.
    pub fn close(&self, fd: OwnedFd) {
        let mut written = self.written();
        if let Some(tag) = written.places.tag(fd.as_raw_fd()) {
            written.entries.push(Entry::close(tag));
        }
    }

    /// What was recorded so far.
    pub fn text(&self) -> String {
        let trace = Trace {
            machine: self.machine.clone(),
            devices: self.devices.clone(),
            entries: self.written().entries.clone(),
        };
        trace.to_string()
    }

    /// What the last call answered.
    pub(super) fn last(&self) -> Option<Entry> {
        self.written().entries.last().cloned()
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn output(&self, call: &Call<'_>, outcome: &Outcome<'_>) -> Vec<u8> {
        let is_public = self.scope == Scope::Public;
        match outcome.answer {
            _ if is_public && !call.is_ioctl() => public::read(call, outcome.output),
            Ok(Value::Names(names)) => {
                let names: Vec<_> = names.iter().map(|name| name.as_encoded_bytes()).collect();
                names.join(&0)
            }
            Ok(Value::Path(path)) => path.as_os_str().as_encoded_bytes().to_vec(),
            _ if is_public => public::argument(&call.name(), &masked(&call.name(), outcome.output)),
            _ => masked(&call.name(), outcome.output),
        }
    }
}

impl Watch for Recording {
    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        if let Request::Populate { .. } | Request::Resident { .. } | Request::Node { .. } =
            call.request
        {
            return;
        }
        let said = match outcome.answer {
            Err(errno) => Said::Failed(errno),
            Ok(Value::Done | Value::Names(_) | Value::Path(_) | Value::Node(_)) => Said::Done,
            Ok(Value::Number(number)) => Said::Number(number),
            Ok(Value::Fd(_, object)) => Said::Fd(object.tag),
            Ok(Value::Address(_)) => Said::Pages,
            Ok(Value::Registers) => Said::Registers,
        };
        let mut written = self.written();
        let entry = Entry {
            asked: asked(call, &written.places, self.scope),
            said,
            output: self.output(call, outcome),
        };
        written.entries.push(entry);
        match (call.request, outcome.answer) {
            (_, Ok(Value::Fd(fd, _))) => written.places.opened(fd),
            (Request::Mmap { len } | Request::MapRegion { len, .. }, Ok(Value::Address(addr))) => {
                written.places.mapped(addr, len)
            }
            (Request::Munmap { addr, .. }, Ok(_)) => written.places.unmapped(addr),
            _ => {}
        }
    }
}

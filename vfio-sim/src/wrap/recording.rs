//! Writes down what was asked and what it answered.

use std::sync::{Mutex, PoisonError};

use vfio_core::kernel::Kernel;

use super::call::{Call, Outcome, Value};
use super::trace::{About, Entry, Said, Trace, asked, masked};
use super::watched::Watch;

/// Writes each call down, for [`Replay`](super::Replay), and for people: the [text](super::trace).
///
/// It sees what passes the kernel's door. What is read and written through a mapping, what an eventfd counts and what
/// a bitmap of dirty pages says is not in it.
#[derive(Debug)]
pub struct Recording {
    machine: About,
    entries: Mutex<Vec<Entry>>,
}

impl Recording {
    /// A recording of that kernel, which is to be watched with it.
    pub fn of(kernel: &dyn Kernel) -> Self {
        Self {
            machine: About::of(kernel),
            entries: Mutex::default(),
        }
    }

    /// What was recorded so far.
    pub fn text(&self) -> String {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let trace = Trace {
            machine: self.machine.clone(),
            entries: entries.clone(),
        };
        trace.to_string()
    }
}

impl Watch for Recording {
    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let said = match outcome.answer {
            Err(errno) => Said::Failed(errno),
            Ok(Value::Done | Value::Names(_) | Value::Path(_)) => Said::Done,
            Ok(Value::Number(number)) => Said::Number(number),
            Ok(Value::Fd(_, object)) => Said::Fd(object.tag),
            Ok(Value::Address(_)) => Said::Pages,
            Ok(Value::Registers) => Said::Registers,
        };
        let output = match outcome.answer {
            Ok(Value::Names(names)) => {
                let names: Vec<_> = names.iter().map(|name| name.as_encoded_bytes()).collect();
                names.join(&0)
            }
            Ok(Value::Path(path)) => path.as_os_str().as_encoded_bytes().to_vec(),
            _ => masked(&call.name(), outcome.output),
        };
        let entry = Entry {
            asked: asked(call),
            said,
            output,
        };
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(entry);
    }
}

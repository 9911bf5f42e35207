//! What a host was asked, and what it answered.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use vfio_core::CONTAINER_NODE;
use vfio_core::kernel::{Errno, Node};
use vfio_core::uapi;
use vfio_sim::wrap::{Call, Input, Outcome, Request, Value, Watch};

use crate::root::manifest::{Answer, Code, ContainerAnswers, Operation};

/// The answers, by what was asked.
#[derive(Debug, Default)]
pub(super) struct Noted {
    pub(super) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(super) lists: BTreeMap<PathBuf, Vec<OsString>>,
    pub(super) links: BTreeMap<PathBuf, PathBuf>,
    pub(super) nodes: BTreeMap<PathBuf, Node>,
    pub(super) refused: BTreeMap<(PathBuf, Operation), Errno>,
    /// `None` until one was opened.
    pub(super) container: Option<ContainerAnswers>,
}

/// Watches a kernel, and notes down what it answers.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Noted>);

impl Notes {
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was noted so far; it starts anew.
    pub(super) fn take(&self) -> Noted {
        std::mem::take(&mut *self.noted())
    }
}

impl Watch for Notes {
    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let mut noted = self.noted();
        let (path, operation) = match call.request {
            Request::Open { path } => (path, Operation::Open),
            Request::Read { path } => (path, Operation::Read),
            Request::List { path } => (path, Operation::List),
            Request::ReadLink { path } => (path, Operation::ReadLink),
            Request::Node { path } => (path, Operation::Node),
            Request::Ioctl { opcode, input } => {
                let container = noted.container.get_or_insert_default();
                let answer = match outcome.answer {
                    Ok(Value::Number(number)) => {
                        Answer::Returned(u32::try_from(number).unwrap_or(u32::MAX))
                    }
                    Ok(_) => return,
                    Err(errno) => Answer::Errno(Code(errno)),
                };
                match (opcode, input) {
                    (uapi::GET_API_VERSION, _) => container.api_version = Some(answer),
                    (uapi::CHECK_EXTENSION, Input::Value(extension)) => {
                        if let Ok(extension) = u32::try_from(extension) {
                            container.extensions.insert(extension, answer);
                        }
                    }
                    _ => {}
                }
                return;
            }
            _ => return,
        };
        let path = path.to_owned();
        match outcome.answer {
            Err(errno) => {
                noted.refused.insert((path, operation), errno);
            }
            Ok(Value::Names(names)) => {
                noted.lists.insert(path, names.to_vec());
            }
            Ok(Value::Path(target)) => {
                noted.links.insert(path, target.to_owned());
            }
            Ok(Value::Node(node)) => {
                noted.nodes.insert(path, node);
            }
            Ok(Value::Fd(..)) if path.as_os_str() == CONTAINER_NODE => {
                noted.container.get_or_insert_default();
            }
            Ok(_) if operation == Operation::Read => {
                noted.files.insert(path, outcome.output.to_vec());
            }
            Ok(_) => {}
        }
    }
}

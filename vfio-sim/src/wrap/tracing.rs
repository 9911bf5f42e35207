//! Each call as an event of the crate `tracing`.

use std::fmt;

use tracing::{debug, trace};

use super::call::{Call, Outcome, Request, Value};
use super::watched::Watch;

/// Tells `tracing` of each call that was made: `call`, `object`, and `answer` or `errno`.
///
/// What may be asked many times (reads and writes of registers, pages of memory, files of the host) is at the level `TRACE`,
/// everything else at `DEBUG`. The target is `vfio_sim::wrap`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tracing;

const TARGET: &str = "vfio_sim::wrap";

impl Watch for Tracing {
    fn after(&self, call: &Call<'_>, outcome: &Outcome<'_>) {
        let name = &*call.name();
        let object = Shown(call);
        let often = matches!(
            call.request,
            Request::Pread { .. }
                | Request::Pwrite { .. }
                | Request::Populate { .. }
                | Request::Resident { .. }
                | Request::Read { .. }
                | Request::List { .. }
                | Request::ReadLink { .. }
                | Request::Node { .. }
        );
        match (outcome.answer, often) {
            (Ok(answer), false) => {
                debug!(target: TARGET, call = name, %object, answer = %Answered(answer));
            }
            (Ok(answer), true) => {
                trace!(target: TARGET, call = name, %object, answer = %Answered(answer));
            }
            (Err(errno), false) => debug!(target: TARGET, call = name, %object, %errno),
            (Err(errno), true) => trace!(target: TARGET, call = name, %object, %errno),
        }
    }
}

/// What was asked: an object, or a path.
struct Shown<'a>(&'a Call<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.object, self.0.request) {
            (Some(object), _) => write!(f, "{:?} {}", object.kind, object.tag),
            (
                None,
                Request::Open { path }
                | Request::Read { path }
                | Request::List { path }
                | Request::ReadLink { path }
                | Request::Node { path }
                | Request::Write { path, .. },
            ) => path.display().fmt(f),
            (None, _) if self.0.fd.is_some() => f.write_str("?"),
            (None, _) => f.write_str("-"),
        }
    }
}

struct Answered<'a>(Value<'a>);

impl fmt::Display for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Done => f.write_str("done"),
            Value::Number(number) => number.fmt(f),
            Value::Fd(_, object) => write!(f, "{:?} {}", object.kind, object.tag),
            Value::Address(addr) => write!(f, "{addr:p}"),
            Value::Registers => f.write_str("registers"),
            Value::Names(names) => write!(f, "{} names", names.len()),
            Value::Path(path) => path.display().fmt(f),
            Value::Node(node) => write!(f, "mode {:o}", node.mode),
        }
    }
}

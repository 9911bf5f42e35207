//! A sequence of calls, and what the process that makes them may do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::call::Call;

/// Calls that are made one after the other; then everything is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequence {
    /// How many bytes may be locked; `None` is no limit, with `CAP_IPC_LOCK`.
    pub(super) memlock: Option<u64>,
    pub(super) calls: Vec<Call>,
}

impl Sequence {
    /// The same process, with other calls.
    pub(super) fn with(&self, calls: Vec<Call>) -> Self {
        Self {
            memlock: self.memlock,
            calls,
        }
    }
}

/// As a find is kept: a line for each call.
impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = self
            .memlock
            .map_or_else(|| "null".to_owned(), |bytes| bytes.to_string());
        writeln!(f, "{{\"memlock\": {limit}, \"calls\": [")?;
        for (n, call) in self.calls.iter().enumerate() {
            let comma = if n + 1 < self.calls.len() { "," } else { "" };
            let call = serde_json::to_string(call).map_err(|_| fmt::Error)?;
            writeln!(f, "  {call}{comma}")?;
        }
        writeln!(f, "]}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::call::{Argument, Place, Slot, Word};

    #[test]
    fn what_is_printed_can_be_kept() {
        let place = Place {
            memory: 2,
            offset: 1 << 16,
        };
        let words = vec![
            Word::At(place),
            Word::Fd(Slot::Signal(3)),
            Word::Bytes(vec![1, 2]),
        ];
        let call = Call::Ioctl {
            on: Slot::Container(1),
            number: 13,
            argument: Argument::Struct(words),
        };
        let sequence = Sequence {
            memlock: Some(4096),
            calls: vec![Call::OpenGroup(Slot::Group(0), 1), call],
        };
        let read: Sequence = serde_json::from_str(&sequence.to_string()).unwrap();
        assert_eq!(read, sequence);
    }
}

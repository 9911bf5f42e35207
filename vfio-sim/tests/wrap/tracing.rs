//! Calls are events.

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use vfio_sim::Machine;
use vfio_sim::wrap::Tracing;

use crate::session::watched;

/// Keeps the events of the wrapper as lines.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Level, String)>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{field}={value:?} ").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "vfio_sim::wrap"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let line = line.0.trim_end().to_owned();
        self.0
            .lock()
            .unwrap()
            .push((*event.metadata().level(), line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn a_call_is_an_event_with_its_object_and_its_answer() {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.clone(), || {
        let (kernel, _) = watched(Machine::x86_64(), &Arc::new(Tracing));
        vfio_core::Container::open(&kernel).unwrap();
        kernel.open("/dev/vfio/77".as_ref()).unwrap_err();
        kernel.read("/sys/none".as_ref()).unwrap_err();
    });
    let expected = [
        (
            Level::DEBUG,
            r#"call="open" object=/dev/vfio/vfio answer=Container 0"#,
        ),
        (
            Level::DEBUG,
            r#"call="VFIO_GET_API_VERSION" object=Container 0 answer=0"#,
        ),
        (
            Level::DEBUG,
            r#"call="open" object=/dev/vfio/77 errno=No such file or directory (os error 2)"#,
        ),
        (
            Level::TRACE,
            r#"call="read" object=/sys/none errno=No such file or directory (os error 2)"#,
        ),
    ];
    let lines = lines.0.lock().unwrap();
    let lines: Vec<_> = lines
        .iter()
        .map(|(level, line)| (*level, line.as_str()))
        .collect();
    assert_eq!(lines, expected);
}

//! Prometheus' text format, as the textfile collector of its node exporter reads it.

use std::io;

use crate::answer::Answer;
use crate::output::{Output, escaped};

/// A gauge with its samples.
pub(crate) struct Gauge {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Vec<(&'static str, String)>, u64)>,
}

impl Gauge {
    /// One without samples: an answer that is not known is none.
    pub(crate) fn new(name: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            samples: Vec::new(),
        }
    }

    /// The same with a sample.
    pub(crate) fn with(
        mut self,
        labels: impl IntoIterator<Item = (&'static str, String)>,
        value: u64,
    ) -> Self {
        self.samples.push((labels.into_iter().collect(), value));
        self
    }

    /// The same with a sample that is 1 for yes and 0 for no.
    pub(crate) fn with_answer(
        self,
        labels: impl IntoIterator<Item = (&'static str, String)>,
        answer: &Answer,
    ) -> Self {
        match answer {
            Answer::Yes => self.with(labels, 1),
            Answer::No(_) => self.with(labels, 0),
            Answer::Unknown(_) => self,
        }
    }
}

/// Prints those that have samples.
pub(crate) fn print(gauges: &[Gauge], out: &mut Output) -> io::Result<()> {
    for gauge in gauges.iter().filter(|gauge| !gauge.samples.is_empty()) {
        out.line(format_args!("# HELP {} {}", gauge.name, gauge.help))?;
        out.line(format_args!("# TYPE {} gauge", gauge.name))?;
        for (labels, value) in &gauge.samples {
            let labels = labels
                .iter()
                .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
            let labels = labels.collect::<Vec<_>>().join(",");
            let braced = match labels.is_empty() {
                true => String::new(),
                false => format!("{{{labels}}}"),
            };
            out.line(format_args!("{}{braced} {value}", gauge.name))?;
        }
    }
    Ok(())
}

//! Every lie.

use std::collections::BTreeMap;

use vfio_core::Answer;
use vfio_core::kernel::Errno;

use super::field::FIELDS;
use super::{Lie, Part, What};
use crate::wrap::errnos;

/// What is done when an fd was closed.
pub(crate) const CLOSE: &str = "close";

/// The calls of which models hear.
const MODELS: &[&str] = &[
    "VFIO_DEVICE_PCI_HOT_RESET",
    "VFIO_DEVICE_RESET",
    CLOSE,
    "pwrite",
];

impl Lie {
    /// Every lie, in the order of calls. Not every one can come to be told: a number may decide nothing, a call may
    /// change nothing of a part. [`SimKernel::has_lied`](crate::SimKernel::has_lied) says whether it has.
    pub fn all() -> impl Iterator<Item = Self> {
        swapped().chain(bounds()).chain(left_out())
    }
}

/// Each answer of the table becomes the next one of its call.
fn swapped() -> impl Iterator<Item = Lie> {
    let mut table = BTreeMap::<_, Vec<Answer>>::new();
    for (call, answer) in errnos() {
        table.entry(call).or_default().push(answer);
    }
    table.into_iter().flat_map(|(call, answers)| {
        let others: Vec<_> = answers
            .iter()
            .skip(1)
            .copied()
            .chain(answers.first().copied())
            .collect();
        answers.into_iter().zip(others).map(move |(truth, next)| {
            let alone = Answer::Errno(Errno::IO);
            let instead = if next == truth { alone } else { next };
            Lie {
                call,
                what: What::Swapped { truth, instead },
            }
        })
    })
}

fn bounds() -> impl Iterator<Item = Lie> {
    let fields = FIELDS.iter().flat_map(|it| {
        let fields = it.fields.iter();
        fields.map(|field| (it.call, *field))
    });
    let steps = fields.flat_map(|(call, field)| {
        let steps = field.steps().iter();
        steps.map(move |by| (call, field, *by))
    });
    steps.flat_map(|(call, field, by)| {
        [true, false].map(|is_lax| Lie {
            call,
            what: What::Bound { field, by, is_lax },
        })
    })
}

fn left_out() -> impl Iterator<Item = Lie> {
    let mut calls: Vec<_> = errnos().map(|(call, _)| call).collect();
    calls.dedup();
    calls.push(CLOSE);
    let parts = |call| {
        // That a model had something to do cannot be told from its state.
        let has_models = MODELS.contains(&call);
        let parts = Part::ALL.into_iter();
        parts.filter(move |part| *part != Part::Registers || has_models)
    };
    calls.into_iter().flat_map(move |call| {
        parts(call).map(move |part| Lie {
            call,
            what: What::LeftOut(part),
        })
    })
}

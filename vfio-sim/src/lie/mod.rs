//! Lies: a simulated kernel that answers wrongly on purpose, so that a suite can be shown to see it.
//!
//! A suite that agrees with a simulation says little unless it disagrees with a wrong one. [`Lie::all`] makes the wrong
//! ones, mechanically: each errno that the page of kernel behaviours has for a call is swapped for another, each number
//! that a call takes is taken for one more or less where that decides, and of each call each part of what it changes is
//! left out: a mapping that survives, a count that is not given back.
//!
//! ```
//! use vfio_core::CONTAINER_NODE;
//! use vfio_core::kernel::{Arg, Errno, Kernel};
//! use vfio_core::uapi;
//! use vfio_sim::{Lie, Machine, SimKernel};
//! use std::os::fd::AsFd;
//!
//! let sim = SimKernel::new(Machine::x86_64());
//! let lie = Lie::all().find(|lie| lie.to_string() == "VFIO_SET_IOMMU: EINVAL becomes ENODEV");
//! sim.lie(lie);
//! let container = sim.open(CONTAINER_NODE.as_ref())?;
//! // SAFETY: the call takes a number.
//! let answer = unsafe { sim.ioctl(container.as_fd(), uapi::SET_IOMMU, Arg::Value(3)) };
//! assert_eq!(answer, Err(Errno::NODEV)); // there is no group in it: EINVAL (A5)
//! assert!(sim.has_lied());
//! # Ok::<(), Errno>(())
//! ```

mod all;
mod field;
mod kept;
mod tell;

use std::fmt;

use vfio_core::Answer;

pub(crate) use all::CLOSE;
pub use field::Field;
pub use kept::Part;
pub(crate) use kept::put;
pub(crate) use tell::Asked;

use crate::wrap::errno_name;

/// Something that a simulated kernel does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lie {
    /// The call that it is about, as the [table of errnos](crate::wrap::errnos) names it; `close` is what is done when
    /// the last duplicate of an fd was closed.
    pub call: &'static str,
    /// What is wrong.
    pub what: What,
}

/// What is wrong about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Where it answers that, it answers something else.
    Swapped {
        /// What is so. A positive number stands for every one.
        truth: Answer,
        /// What is said.
        instead: Answer,
    },
    /// A number that it is given is taken for another one, where that decides whether it is done.
    Bound {
        /// The number.
        field: Field,
        /// How much more it is taken for.
        by: i64,
        /// Whether it is done although it should be refused; otherwise it is refused although it should be done.
        is_lax: bool,
    },
    /// A part of what it changes stays as it was.
    LeftOut(Part),
}

/// The lie that a kernel tells, and whether it has come to that.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) lie: Option<Lie>,
    pub(crate) has_lied: bool,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, what } = self;
        match what {
            What::Swapped { truth, instead } => {
                write!(f, "{call}: {} becomes {}", Named(*truth), Named(*instead))
            }
            What::Bound { field, by, is_lax } => {
                let done = if *is_lax { "done" } else { "refused" };
                write!(f, "{call}: {done} as if {field} were {by:+}")
            }
            What::LeftOut(part) => write!(f, "{call}: leaves {part} as it was"),
        }
    }
}

/// An answer as the table has it.
struct Named(Answer);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Answer::Errno(errno) => f.write_str(errno_name(errno).unwrap_or("another errno")),
            Answer::Returned(number) => write!(f, "+{number}"),
        }
    }
}

//! Wrappers over any [`Kernel`](vfio_core::kernel::Kernel), the simulated one or the one that runs: they count
//! calls, trace them, fail them, record them and answer them again.
//!
//! There is one mechanism: [`Watched`] is a kernel that tells a [`Watch`] of each [`Call`] before and after it is
//! made. The others are watches, but for [`Replay`], which is a kernel of its own. Wrappers can be stacked.
//!
//! ```
//! use std::sync::Arc;
//!
//! use vfio_core::Container;
//! use vfio_core::kernel::{Errno, Kernel};
//! use vfio_sim::wrap::{Counting, FailNth, Mode, Watched};
//! use vfio_sim::{Machine, SimKernel};
//!
//! let counting = Arc::new(Counting::default());
//! let failing = Arc::new(FailNth::default());
//! let kernel: Arc<dyn Kernel> = Arc::new(SimKernel::new(Machine::x86_64()));
//! let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, failing.clone()));
//! let kernel: Arc<dyn Kernel> = Arc::new(Watched::new(kernel, counting.clone()));
//!
//! Container::open(&kernel)?;
//! assert_eq!(counting.take()["VFIO_GET_API_VERSION"], 1);
//!
//! failing.arm(0, Errno::IO.into(), Mode::Once);
//! assert!(Container::open(&kernel).is_err());
//! assert_eq!(failing.failed().as_deref(), Some("VFIO_GET_API_VERSION"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod again;
mod call;
mod counting;
mod errnos;
mod fail_nth;
mod objects;
mod places;
mod recording;
mod replay;
pub mod trace;
mod tracing;
mod watched;

pub use again::{Again, Difference, again};
pub use call::{Call, Input, Name, Outcome, Request, Value};
pub use counting::Counting;
pub(crate) use errnos::errno_name;
pub use errnos::errnos;
pub use fail_nth::{Counted, FailNth, Mode};
pub use objects::{Object, Tag};
pub use recording::Recording;
pub use replay::{Deviation, Replay};
pub use trace::{BadTrace, Trace};
pub use tracing::Tracing;
pub use watched::{Watch, Watched};

pub use crate::names::{Kind, ioctl as ioctl_name};

//! Guest memory as a plain model, and edits of it that numbers choose: what devices reach is compared with it, on
//! simulated kernels at every call, on real ones by DMA.

mod layout;
mod model;
mod op;
mod ram;

pub use layout::Layout;
pub use model::{Change, Kind, Model, Page, Section};
pub use op::{Numbers, Op};
pub use ram::Ram;

/// Sections begin in so many pages.
pub const PAGES: usize = 48;
/// A section has no more pages.
pub const LONGEST: usize = 11;
/// So many blocks of memory there are.
pub const BLOCKS: usize = 3;
/// Each has so many pages.
pub const BLOCK_PAGES: usize = 24;

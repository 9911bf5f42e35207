//! BARs: what they are, what of them a guest reaches directly, and the registers that say where they are.
//!
//! Nothing here asks a kernel but [`Bars::of`]; the rest are values made from values.

mod kind;
mod layout;
mod msix;
mod pages;
mod registers;
mod relocation;
mod shape;
mod slice;
mod sub_page;

pub use kind::BarKind;
pub use layout::BarShape;
pub use msix::{Msix, Place};
pub use pages::PageSize;
pub(crate) use pages::overlap;
pub use registers::{BarRegister, BarRegisters, Change};
pub use shape::{Bar, Bars, Described};
pub use slice::{Slice, SliceKind};
pub use sub_page::{Placement, SubPage};

/// How many BARs a device has at most.
pub const BARS: usize = 6;

//! What the page of kernel behaviours says, clause by clause, asked of a real kernel and of its simulation by the same
//! code.
//!
//! A [`Clause`] is a sentence of the page with the numbers that it belongs to, and a function that asks a [`Host`] and
//! panics where the answer is another. [`Conformance`] runs each on both; `cargo test` runs all of them on every
//! simulated machine. What no kernel of the lab can be asked says so, with the reason, and is run on a simulated machine
//! of its own.
//!
//! A new clause is a line in `clauses/`, in the file of what is asked.
#![allow(clippy::panic, clippy::unwrap_used)] // A clause that is not so panics, as tests do; [`run`] catches it.

mod attempt;
mod clause;
mod clauses;
mod driver;
mod host;
mod lies;
mod machines;
mod mapped;
pub(crate) mod memory;
pub(crate) mod raw;
mod report;
mod rig;
mod table;

pub use clause::{Clause, Needs, Proof};
pub use clauses::all;
pub use host::Host;
pub use lies::{Found, Search};
pub use machines::machines;
pub use report::{Conformance, Outcome};

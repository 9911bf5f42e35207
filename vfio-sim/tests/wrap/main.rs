//! The wrappers: what they see, what they answer, and that they change nothing else.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot be set up must fail

mod counting;
mod failing;
mod replaying;
mod session;
mod told;
mod tracing;

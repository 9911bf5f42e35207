//! What the backends ask of the kernel, and what they make of its answers, with the answers scripted.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

mod contracts;
mod isolation;
mod kernel;
mod memory;
mod windows;

//! The firmware calls of a guest, on a simulated host whose hardware freezes what has made an error.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

mod eeh;

//! Guests on POWER, on simulated hosts: their windows and TCEs against a model.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot be set up must fail

mod boots;
mod cases;
mod failing;
mod kvm;
mod random;
mod rig;

//! Devices of simulated machines, assigned to a guest that is written down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that cannot go on has failed.

mod access;
mod config;
mod events;
mod hostile;
mod kvm;
mod moving;
mod placed;
mod ports;
mod power;
mod quirks;
mod reset;
mod rig;
mod rom;
mod threads;
mod two_devices;

//! Container, group, choice of the backend and order of release, on simulated kernels.
#![allow(clippy::unwrap_used)] // a test that cannot be set up must fail

mod address_spaces;
mod bad_input;
mod board;
mod bridge;
mod choosing;
mod device;
mod device_calls;
mod diagnosis;
mod dirty;
mod domain;
mod failing;
mod halfway;
mod handover;
mod isolation;
mod live_update;
mod many_devices;
mod overlay;
mod own_way;
mod probing;
mod refused_calls;
mod registry;
mod release;
mod setup;
mod simulated_device;

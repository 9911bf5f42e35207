//! The numbers and structs of `vfio_core::uapi`, and those of `vfio_core::kvm::uapi`, are those of the kernel: compared
//! with known numbers of each architecture, with the structs that bindgen made of the kernel's header, and with the
//! header itself as a C compiler reads it.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod bindings;
mod headers;
mod kvm;
mod layout;
mod opcodes;

//! IOMMUs: what a container's driver maps, and what a device reaches through it.

mod dma;

pub(crate) use dma::Fault;

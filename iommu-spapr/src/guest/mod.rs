//! What a VMM answers a POWER guest that asks its firmware (RTAS) about passed-through devices.

pub mod eeh;

//! What a guest programs of its device's interrupts.

use std::fmt::Debug;

use crate::virtual_config::MsiState;

/// An entry of the MSI-X table, as the guest has written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsixEntry {
    /// Where the message goes: a guest physical address.
    pub address: u64,
    /// What it says.
    pub data: u32,
    /// Whether it is held back.
    pub masked: bool,
}

/// Who delivers the interrupts: told whenever the guest changes something of them. Each method tells the whole of what it
/// is about, and is called only if that has changed.
pub trait Interrupts: Debug + Send + Sync {
    /// The guest has switched the interrupt line off, or on again.
    fn line(&self, disabled: bool) {
        let _ = disabled;
    }

    /// The MSI capability has changed.
    fn msi(&self, state: &MsiState) {
        let _ = state;
    }

    /// MSI-X was switched on or off, or all of its vectors masked or unmasked.
    fn msix(&self, enabled: bool, masked: bool) {
        let _ = (enabled, masked);
    }

    /// An entry of the MSI-X table has changed.
    fn vector(&self, vector: u16, entry: MsixEntry) {
        let _ = (vector, entry);
    }

    /// Which vectors are pending: bit *n* of word *w* is vector 64 *w* + *n*. The guest asks.
    fn pending(&self, word: usize) -> u64 {
        let _ = word;
        0
    }
}

/// Nobody delivers interrupts: for guests that poll.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undelivered;

impl Interrupts for Undelivered {}

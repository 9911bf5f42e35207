//! The controller's registers.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use vfio_core::address::Iova;
use vfio_core::device::Device;

use super::ring;
use crate::devices::registers::{ByteOrder, Registers};
use crate::wait;

const CAPABILITIES: u32 = 0x00;
const CONFIGURATION: u32 = 0x14;
const STATUS: u32 = 0x1c;
const ADMIN_QUEUE_SIZES: u32 = 0x24;
const SUBMISSION_QUEUE: u32 = 0x28;
const COMPLETION_QUEUE: u32 = 0x30;
const DOORBELLS: u32 = 0x1000;

const CONFIGURATION_ENABLE: u32 = 1 << 0;
const STATUS_READY: u32 = 1 << 0;
const STATUS_FATAL: u32 = 1 << 1;

/// An NVMe controller.
#[derive(Debug)]
pub(super) struct Controller {
    registers: Registers,
    capabilities: Capabilities,
}

/// The capability register, in two halves: not every controller takes accesses of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Capabilities {
    low: u32,
    high: u32,
}

impl Capabilities {
    /// How long it may take to become ready, or not ready.
    fn patience(self) -> Duration {
        Duration::from_millis(500) * (self.low >> 24)
    }

    /// The doorbells are so far apart, in bytes.
    fn doorbell_stride(self) -> u32 {
        4 << (self.high & 0xf)
    }

    /// Whether it knows the NVM command set.
    fn knows_nvm_commands(self) -> bool {
        self.high >> 5 & 1 == 1
    }

    /// Its smallest page: 0 for 4096 bytes, each one more for twice as many.
    fn smallest_page(self) -> u32 {
        self.high >> 16 & 0xf
    }
}

impl Controller {
    pub(super) fn new(device: &Device) -> Result<Self> {
        let registers = Registers::new(device, 0, ByteOrder::Little)?;
        let capabilities = Capabilities {
            low: registers.read(CAPABILITIES)?,
            high: registers.read(CAPABILITIES + 4)?,
        };
        Ok(Self {
            registers,
            capabilities,
        })
    }

    /// Compares the capabilities, which never change, as they are read in every way that there is.
    pub(super) fn check_capabilities(&self) -> Result<()> {
        let now = Capabilities {
            low: self.registers.read_both(CAPABILITIES)?,
            high: self.registers.read_both(CAPABILITIES + 4)?,
        };
        ensure!(
            now == self.capabilities,
            "the capabilities changed: {now:x?}"
        );
        Ok(())
    }

    /// The smallest page that it can have, which is the one that we use, in bytes.
    pub(super) fn page_size(&self) -> u64 {
        4096 << self.capabilities.smallest_page()
    }

    /// Whether it is enabled.
    pub(super) fn is_enabled(&self) -> Result<bool> {
        Ok(self.registers.read::<u32>(CONFIGURATION)? & CONFIGURATION_ENABLE != 0)
    }

    /// Whether it gave up: only disabling helps.
    pub(super) fn is_fatal(&self) -> Result<bool> {
        Ok(self.registers.read::<u32>(STATUS)? & STATUS_FATAL != 0)
    }

    /// Enables it, with an empty admin queue at these addresses.
    pub(super) fn enable(&self, submissions: Iova, completions: Iova) -> Result<()> {
        const SUBMISSION_ENTRY_OF_64_BYTES: u32 = 6 << 16;
        const COMPLETION_ENTRY_OF_16_BYTES: u32 = 4 << 20;
        const ADMIN_COMMANDS_ALONE: u32 = 7 << 4;

        let last_entry = u32::from(ring::ENTRIES - 1);
        self.registers
            .write(ADMIN_QUEUE_SIZES, last_entry << 16 | last_entry)?;
        self.write_address(SUBMISSION_QUEUE, submissions)?;
        self.write_address(COMPLETION_QUEUE, completions)?;
        let commands = match self.capabilities.knows_nvm_commands() {
            true => 0,
            false => ADMIN_COMMANDS_ALONE,
        };
        fence(Ordering::SeqCst); // the queues are in memory before the controller looks
        self.registers.write(
            CONFIGURATION,
            COMPLETION_ENTRY_OF_16_BYTES
                | SUBMISSION_ENTRY_OF_64_BYTES
                | self.capabilities.smallest_page() << 7
                | commands
                | CONFIGURATION_ENABLE,
        )?;
        self.wait_until(true)
    }

    /// Disables it: it forgets its queues, and does no more DMA.
    pub(super) fn disable(&self) -> Result<()> {
        let configuration: u32 = self.registers.read(CONFIGURATION)?;
        self.registers
            .write(CONFIGURATION, configuration & !CONFIGURATION_ENABLE)?;
        self.wait_until(false)
    }

    fn wait_until(&self, ready: bool) -> Result<()> {
        let arrived = || {
            let status: u32 = self.registers.read(STATUS)?;
            if (status & STATUS_READY != 0) == ready {
                return Ok(Some(()));
            }
            if ready && status & STATUS_FATAL != 0 {
                bail!("the controller cannot be enabled: status {status:#x}");
            }
            Ok(None)
        };
        wait::poll(self.capabilities.patience().max(wait::LONG), arrived)?.with_context(|| {
            format!(
                "the controller does not become {}ready",
                if ready { "" } else { "un" }
            )
        })
    }

    /// Says how far the admin submission queue is filled.
    pub(super) fn submitted(&self, tail: u16) -> Result<()> {
        fence(Ordering::SeqCst); // the entry is in memory before the controller looks
        self.registers.write(self.doorbell(0), u32::from(tail))
    }

    /// Says how far the admin completion queue is emptied.
    pub(super) fn taken(&self, head: u16) -> Result<()> {
        self.registers.write(self.doorbell(1), u32::from(head))
    }

    fn doorbell(&self, number: u32) -> u32 {
        DOORBELLS + number * self.capabilities.doorbell_stride()
    }

    fn write_address(&self, register: u32, address: Iova) -> Result<()> {
        let [a, b, c, d, e, f, g, h] = address.0.to_le_bytes();
        self.registers
            .write(register, u32::from_le_bytes([a, b, c, d]))?;
        self.registers
            .write(register + 4, u32::from_le_bytes([e, f, g, h]))
    }
}

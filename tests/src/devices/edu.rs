//! QEMU's `edu` device: a DMA engine with a buffer of its own, and an interrupt on request.
//!
//! QEMU gives it the byte order of the machine's processor *family*: on POWER its registers are
//! big-endian, under a little-endian kernel too.

use anyhow::{Context, Result, ensure};
use pci_device::{Command, ConfigSpace};
use vfio_core::address::{Access, DmaMask, Iova};
use vfio_core::device::Device;
use vfio_core::iommu::DmaBuffer;

use super::evidence::{self, Dma, TELLING};
use super::registers::{ByteOrder, Registers};
use super::{Cause, Copier, Driver, Reachable};
use crate::{random, wait};

/// 0xRRrr00ed: major and minor version.
const ID: u32 = 0x00;
/// Reads back inverted.
const LIVENESS: u32 = 0x04;
/// Which interrupts are asserted.
const IRQ_STATUS: u32 = 0x24;
/// Asserts interrupts.
const IRQ_RAISE: u32 = 0x60;
/// Takes interrupts back.
const IRQ_ACKNOWLEDGE: u32 = 0x64;
// The DMA registers have 64 bits: a write of 32 bits clears the others.
const DMA_SOURCE: u32 = 0x80;
const DMA_DESTINATION: u32 = 0x88;
const DMA_COUNT: u32 = 0x90;
const DMA_COMMAND: u32 = 0x98;

const COMMAND_RUN: u64 = 1 << 0;
const COMMAND_TO_MEMORY: u64 = 1 << 1;
const COMMAND_INTERRUPT: u64 = 1 << 2;

/// What the end of a transfer asserts.
const IRQ_DMA: u32 = 0x100;

/// Where the device's own buffer is, among the addresses of its DMA registers.
const BUFFER: u64 = 0x4_0000;
/// The buffer has 4096 bytes. A transfer must end before the last one: QEMU before 9.1 counts one too
/// many, and a transfer that goes too far is the end of QEMU.
const LARGEST: usize = 4095;

/// The driver.
#[derive(Debug)]
pub(super) struct Edu {
    config: ConfigSpace,
    registers: Registers,
    /// Memory of the driver's own: the way into the device's buffer, and out of it.
    staging: DmaBuffer,
}

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToDevice,
    ToMemory,
}

impl Edu {
    pub(super) fn new(device: &Device) -> Result<Self> {
        // What QEMU's device has unless it is told otherwise.
        const DEFAULT_MASK: DmaMask = DmaMask::bits(28);

        let config = ConfigSpace::of(device)?;
        config.enable(Command::MEMORY | Command::BUS_MASTER)?;
        let mut registers = Registers::new(device, 0, ByteOrder::Little)?;
        if !is_edu(registers.read(ID)?) {
            registers.order = ByteOrder::Big;
        }
        let staging = device
            .domain()
            .buffer(LARGEST, DEFAULT_MASK, Access::ReadWrite)
            .context("the driver's own buffer")?;
        Ok(Self {
            config,
            registers,
            staging,
        })
    }

    /// Moves bytes between memory and the place `at` in the device's buffer, and waits until that is done.
    fn transfer(&self, direction: Direction, memory: Iova, at: usize, len: usize) -> Result<()> {
        self.begin(direction, memory, at, len, 0)?;
        self.wait_until_idle()
    }

    fn begin(
        &self,
        direction: Direction,
        memory: Iova,
        at: usize,
        len: usize,
        flags: u64,
    ) -> Result<()> {
        ensure!(at + len <= LARGEST, "the device's buffer is too small");
        let own = BUFFER + at as u64;
        let (source, destination, command) = match direction {
            Direction::ToDevice => (memory.0, own, COMMAND_RUN),
            Direction::ToMemory => (own, memory.0, COMMAND_RUN | COMMAND_TO_MEMORY),
        };
        self.registers.write(DMA_SOURCE, source)?;
        self.registers.write(DMA_DESTINATION, destination)?;
        self.registers.write(DMA_COUNT, len as u64)?;
        self.registers.write(DMA_COMMAND, command | flags)
    }

    fn wait_until_idle(&self) -> Result<()> {
        let idle =
            || Ok((self.registers.read::<u64>(DMA_COMMAND)? & COMMAND_RUN == 0).then_some(()));
        wait::poll(wait::LONG, idle)?.context("the device does not finish its transfer")
    }

    /// Puts bytes into the device's buffer, and proves that it has them.
    fn load(&self, at: usize, bytes: &[u8]) -> Result<()> {
        self.staging.copy_from(0, bytes)?;
        self.transfer(Direction::ToDevice, self.staging.iova(), at, bytes.len())?;
        ensure!(
            self.part(at, bytes.len())? == bytes,
            "the device does not give back the bytes that it was given"
        );
        Ok(())
    }

    /// What the device has in a part of its buffer.
    fn part(&self, at: usize, len: usize) -> Result<Vec<u8>> {
        evidence::fill(&self.staging)?;
        self.transfer(Direction::ToMemory, self.staging.iova(), at, len)?;
        evidence::copy(&self.staging, 0, len)
    }
}

impl Driver for Edu {
    fn start(&mut self) -> Result<()> {
        self.config.enable(Command::MEMORY | Command::BUS_MASTER)?;
        self.wait_until_idle()?;
        self.registers.write(IRQ_ACKNOWLEDGE, u32::MAX)
    }

    fn identify(&mut self) -> Result<()> {
        let id: u32 = self.registers.read_both(ID)?;
        ensure!(is_edu(id), "the id register says {id:#x}");
        let word = u32::from_ne_bytes(random::array()?);
        self.registers.write(LIVENESS, word)?;
        let answer: u32 = self.registers.read_both(LIVENESS)?;
        ensure!(answer == !word, "the inverse of {word:#x} is {answer:#x}?");
        Ok(())
    }

    fn reads(&mut self, memory: &dyn Reachable) -> Result<Dma> {
        let span = Span::random(memory.len())?;
        let secret = evidence::fill(memory)?;
        let secret = &secret[span.memory..][..span.len];
        self.load(span.device, &random::bytes(span.len)?)?;
        let from = Iova(memory.iova().0 + span.memory as u64);
        self.transfer(Direction::ToDevice, from, span.device, span.len)?;
        evidence::of_read(secret, &self.part(span.device, span.len)?)
            .with_context(|| format!("{span:?}"))
    }

    fn writes(&mut self, memory: &dyn Reachable) -> Result<Dma> {
        let span = Span::random(memory.len())?;
        let source = random::bytes(span.len)?;
        self.load(span.device, &source)?;
        let before = evidence::fill(memory)?;
        let to = Iova(memory.iova().0 + span.memory as u64);
        self.transfer(Direction::ToMemory, to, span.device, span.len)?;
        evidence::of_write(memory, &before, span.memory, &source)
            .with_context(|| format!("{span:?}"))
    }

    fn copier(&self) -> Option<&dyn Copier> {
        Some(self)
    }

    fn causes(&self) -> &'static [Cause] {
        &[Cause::Request, Cause::DmaDone]
    }

    fn raise(&mut self, cause: Cause) -> Result<()> {
        match cause {
            Cause::Request => self.registers.write(IRQ_RAISE, 1u32),
            Cause::DmaDone => {
                let from = self.staging.iova();
                self.begin(Direction::ToDevice, from, 0, TELLING, COMMAND_INTERRUPT)
            }
        }
    }

    fn acknowledge(&mut self) -> Result<()> {
        self.wait_until_idle()?;
        let asserted: u32 = self.registers.read(IRQ_STATUS)?;
        ensure!(
            asserted == 1 || asserted == IRQ_DMA,
            "the device asserts interrupts {asserted:#x}"
        );
        self.registers.write(IRQ_ACKNOWLEDGE, asserted)
    }

    fn is_started(&self) -> Result<Option<bool>> {
        Ok(None) // QEMU's device keeps its registers over a reset
    }
}

impl Copier for Edu {
    fn fill(&self) -> Result<Vec<u8>> {
        let bytes = random::bytes(LARGEST)?;
        self.load(0, &bytes)?;
        Ok(bytes)
    }

    fn contents(&self) -> Result<Vec<u8>> {
        self.part(0, LARGEST)
    }

    fn read(&self, from: Iova, at: usize, len: usize) -> Result<()> {
        self.transfer(Direction::ToDevice, from, at, len)
    }

    fn write(&self, at: usize, to: Iova, len: usize) -> Result<()> {
        self.transfer(Direction::ToMemory, to, at, len)
    }
}

fn is_edu(id: u32) -> bool {
    id & 0xffff == 0x00ed
}

/// Which bytes are moved.
#[derive(Debug)]
struct Span {
    memory: usize,
    device: usize,
    len: usize,
}

impl Span {
    /// Any bytes of so much memory, enough to be told from others.
    fn random(memory: usize) -> Result<Self> {
        let len = TELLING + random::up_to(LARGEST.min(memory) - TELLING)?;
        Ok(Self {
            memory: random::up_to(memory - len)?,
            device: random::up_to(LARGEST - len)?,
            len,
        })
    }
}

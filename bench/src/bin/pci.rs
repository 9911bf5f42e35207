//! What a guest's accesses to its device cost on a real kernel: `pci NVME EDU`.
//!
//! Prints a line a measurement: its name, ours, the limit, with tabs between them; and for what is timed a line a round, with
//! our nanoseconds and those of raw accesses.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use iommu_type1 as _;
use pci_device::bar::BarRegister;
use pci_device::vmm::{Call, Recorder};
use pci_device::{AssignedDevice, Settings, Vmm};
use vfio_core::Vfio;
use vfio_core::iommu::Registry;
use vfio_core::kernel::Linux;
use vfio_sim::wrap::{Counting, Watched};

/// Counts what is allocated, whoever does it.
struct Allocations;

static MADE: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Allocations = Allocations;

// SAFETY: all of it is the system's.
unsafe impl GlobalAlloc for Allocations {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MADE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: passed on to our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: passed on to our caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

const COMMAND: u16 = 4;
const MEMORY: [u8; 2] = [2, 0];
/// Where the BAR is put.
const AT: u32 = 0x8000_0000;

/// In the BAR of an nvme: capabilities, which can be mapped, and behind the pending bits, where nothing is mapped.
const MAPPED: u64 = 0;
const TRAPPED: u64 = 0x3100;
/// In that of an edu: what it is.
const IDENTITY: u64 = 0;

fn main() -> Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let [nvme, edu] = &names[..] else {
        anyhow::bail!("which devices? an nvme and an edu");
    };
    calls(nvme)?;
    allocations(nvme)?;
    times(edu)
}

/// A device in a guest that has placed its first BAR.
fn assign(vfio: &Vfio, name: &str) -> Result<(AssignedDevice, Arc<Recorder>)> {
    let device = vfio.open(name.parse()?)?;
    let recorder = Arc::new(Recorder::default());
    let mut vmm = Vmm::with_bus(recorder.clone());
    vmm.slots = vec![recorder.clone()];
    let device = AssignedDevice::new(&device, vmm, &Settings::default())?;
    device.write_config(0x10, &AT.to_le_bytes());
    device.write_config(COMMAND, &MEMORY);
    ensure!(!recorder.slices().is_empty(), "nothing is mapped");
    Ok((device, recorder))
}

const BAR: BarRegister = BarRegister::Bar(0);

fn calls(name: &str) -> Result<()> {
    let calls = Arc::new(Counting::default());
    let watched = Watched::new(Arc::new(Linux), calls.clone());
    let (device, recorder) = assign(&Vfio::on(Arc::new(watched), Registry::linked()?), name)?;
    let all = || calls.take().values().sum::<u64>();

    let mut bytes = [0; 8];
    all();
    device.read(BAR, TRAPPED, &mut bytes);
    println!("calls of a trapped read of 8 bytes\t{}\t1", all());
    device.read(BAR, MAPPED, &mut bytes);
    println!("calls of a mapped read of 8 bytes\t{}\t0", all());

    let mut most = 0;
    for at in (0..4096).step_by(4) {
        let mut dword = [0; 4];
        device.read_config(at, &mut dword);
        most = most.max(all());
    }
    println!("calls of a dword of config space, at most\t{most}\t1");

    let slices = recorder.slices().len() as u64;
    recorder.take();
    device.write_config(0x10, &(AT + 0x10_0000).to_le_bytes());
    let moved = recorder.take();
    let is_slot = |call: &&Call| matches!(call, Call::SliceInserted(_) | Call::SliceRemoved(_));
    let operations = moved.iter().filter(is_slot).count() as u64;
    let each = operations.div_ceil(slices);
    println!("slot operations of a moved BAR, a mapped slice\t{each}\t2");
    Ok(())
}

/// Without anybody who counts calls: that allocates.
fn allocations(name: &str) -> Result<()> {
    let (device, _recorder) = assign(&Vfio::new()?, name)?;
    let mut bytes = [0; 8];
    let before = MADE.load(Ordering::Relaxed);
    for _ in 0..1000 {
        device.read(BAR, TRAPPED, black_box(&mut bytes));
        device.write(BAR, TRAPPED, &bytes);
    }
    let made = MADE.load(Ordering::Relaxed) - before;
    println!("allocations of 1,000 trapped reads and writes\t{made}\t0");
    Ok(())
}

/// Reads of a mapped register through the guest's device, and raw ones.
fn times(name: &str) -> Result<()> {
    const ROUNDS: usize = 101;
    const READS: u32 = 2_000;
    let (device, recorder) = assign(&Vfio::new()?, name)?;
    let slice = recorder.slices().pop().context("a slice")?;
    let memory = slice.memory.host_ptr().context("it has an address")?;
    let raw = memory.as_ptr().cast::<u32>();
    for round in 0..ROUNDS {
        let ours = || -> Result<u64> {
            let start = Instant::now();
            let mapped = device.mapped(BAR, IDENTITY).context("it is mapped")?;
            let register = mapped.register::<u32>(IDENTITY)?;
            for _ in 0..READS {
                black_box(register.read()?);
            }
            Ok(start.elapsed().as_nanos() as u64)
        };
        let theirs = || {
            let start = Instant::now();
            for _ in 0..READS {
                // SAFETY: the slice keeps the register mapped, and the device decodes its memory.
                black_box(unsafe { raw.read_volatile() });
            }
            start.elapsed().as_nanos() as u64
        };
        let (ours, theirs) = match round % 2 {
            0 => (ours()?, theirs()),
            _ => {
                let theirs = theirs();
                (ours()?, theirs)
            }
        };
        println!("mapped\t{ours}\t{theirs}");
    }
    Ok(())
}

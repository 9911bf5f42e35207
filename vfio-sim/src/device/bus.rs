//! A model at work: what it reaches of the rest of the machine.

use crate::fault::{Fault, Why};
use crate::iommu::AccessKind;
use crate::memory;
use crate::model::{Bus, Model};
use crate::world::World;

/// What a model is to do.
pub(super) enum Run<'a> {
    Read(u32, u64, &'a mut [u8]),
    Write(u32, u64, &'a [u8]),
}

impl World {
    /// Lets a device's model do something.
    pub(super) fn run(&mut self, bdf: &str, what: Run<'_>) {
        let Some(model) = self.state(bdf).model.take() else {
            return; // a device that reaches itself: nothing answers
        };
        let mut at_work = AtWork {
            world: self,
            bdf,
            model: Some(model),
        };
        let AtWork { world, bdf, model } = &mut at_work;
        let mut bus = Way { world, bdf };
        if let Some(model) = model {
            match what {
                Run::Read(bar, at, bytes) => model.read(&mut bus, number(bar), at, bytes),
                Run::Write(bar, at, bytes) => model.write(&mut bus, number(bar), at, bytes),
            }
        }
    }

    /// Moves bytes between a device and memory, through the IOMMU of the container that its group is in.
    fn dma(&mut self, bdf: &str, mut iova: u64, mut bytes: Dma<'_>) -> bool {
        let write = matches!(bytes, Dma::Write(_));
        if !self.state(bdf).config.is_master() {
            return self.fault(bdf, iova, write, Why::NotMaster);
        }
        let kind = match write {
            true => AccessKind::DmaWrite,
            false => AccessKind::DmaRead,
        };
        if self.stops(bdf, kind, iova, bytes.len()).is_some() {
            return self.fault(bdf, iova, write, Why::Frozen);
        }
        while bytes.len() > 0 {
            let Some(there) = self.translate(bdf, iova, write) else {
                self.has_erred(bdf);
                return self.fault(bdf, iova, write, Why::Blocked);
            };
            let len = usize::try_from(there.len).map_or(bytes.len(), |len| len.min(bytes.len()));
            if !bytes.take(len, there.vaddr) {
                let before = memory::len_before_gap(there.vaddr, len as u64).unwrap_or(0);
                return self.fault(bdf, iova.wrapping_add(before), write, Why::Stale);
            }
            iova = iova.wrapping_add(len as u64);
        }
        true
    }

    fn translate(&self, bdf: &str, iova: u64, write: bool) -> Option<crate::iommu::Translation> {
        let mut groups = self.machine.groups.iter();
        let group = groups.find(|group| group.devices.iter().any(|device| device.bdf == bdf))?;
        let container = self.containers.get(&self.container_of(group.id)?)?;
        container.driver.as_ref()?.iommu.translate(iova, write)
    }

    fn fault(&mut self, bdf: &str, iova: u64, write: bool, why: Why) -> bool {
        self.faults.push(Fault {
            bdf: bdf.to_owned(),
            iova,
            write,
            why,
        });
        false
    }
}

/// A model that was taken out of its place, where it goes back to, also if it panics.
struct AtWork<'a> {
    world: &'a mut World,
    bdf: &'a str,
    model: Option<Box<dyn Model>>,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.world.state(self.bdf).model = self.model.take();
    }
}

/// Six BARs fit.
fn number(bar: u32) -> u8 {
    u8::try_from(bar).unwrap_or(u8::MAX)
}

/// Bytes that are still to be moved.
enum Dma<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl Dma<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Read(bytes) => bytes.len(),
            Self::Write(bytes) => bytes.len(),
        }
    }

    /// Moves the first `len` of them; answers whether the memory is there.
    fn take(&mut self, len: usize, vaddr: u64) -> bool {
        match self {
            Self::Read(bytes) => {
                let (now, rest) = std::mem::take(bytes).split_at_mut(len);
                *bytes = rest;
                memory::read(vaddr, now)
            }
            Self::Write(bytes) => {
                let (now, rest) = bytes.split_at(len);
                *bytes = rest;
                memory::write(vaddr, now)
            }
        }
    }
}

/// The bus, for one device.
struct Way<'a> {
    world: &'a mut World,
    bdf: &'a str,
}

impl Bus for Way<'_> {
    fn read_memory(&mut self, iova: u64, bytes: &mut [u8]) -> bool {
        bytes.fill(0xff);
        self.world.dma(self.bdf, iova, Dma::Read(bytes))
    }

    fn write_memory(&mut self, iova: u64, bytes: &[u8]) -> bool {
        self.world.dma(self.bdf, iova, Dma::Write(bytes))
    }

    fn sends_messages(&self) -> bool {
        let state = self.world.devices.get(self.bdf);
        state.is_some_and(|state| state.irqs.sends_messages())
    }

    fn send_message(&mut self, vector: u32) {
        let passes = self.world.passes_messages(self.bdf);
        let state = self.world.state(self.bdf);
        if passes && state.config.is_master() {
            state.irqs.deliver(vector);
        }
    }

    fn set_line(&mut self, asserted: bool) {
        let state = self.world.state(self.bdf);
        state.line = asserted;
        state.update_line();
    }
}

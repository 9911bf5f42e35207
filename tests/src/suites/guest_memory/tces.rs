//! A device behind a host bridge of the guest reaches what the guest has put in its TCEs, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iommu_spapr::guest::{Bridge, DefaultWindow, DynamicWindows};
use vfio_core::address::{Access, DmaMask, Iova, IovaRange, PageSizes};
use vfio_core::guest::AddressSpace;
use vfio_core::iommu::{Domain, Reservation};

use super::look::Guest;
use super::{Outcome, Rig};
use crate::devices::Driver;
use crate::guest::{Kind, Layout, Model, Section};
use crate::random;
use crate::tce::{self, Op, PLACES, Place, Target, Which};

/// So many random calls of the guest are made before the device is had look.
const CALLS: usize = 12;
/// The window that the guest creates has 2 to the power of so many pages.
const PAGES_SHIFT: u32 = 8;
/// The guest's default window has so many pages of 4 KiB.
const PAGES: u64 = 2 * PLACES as u64;

pub(in crate::suites) fn reached(rig: &Rig, driver: &mut dyn Driver) -> Result<Outcome> {
    let domain = rig.device.domain();
    let Some(window) = domain.initial_windows().into_iter().next() else {
        return Ok(Outcome::NotHere("this IOMMU has no windows"));
    };
    // Cases before this one have left a window; the driver may have buffers in it.
    let _ = domain.reset_windows();
    // The default window is there from when it is first used.
    drop(domain.buffer(1, DmaMask::bits(32), Access::Read)?);
    let before = locked(rig)?;
    let mut seen = Seen::new(rig, window.range)?;
    let offered = seen.bridge.query().context("what the host offers")?;
    if offered.windows == 0 {
        return Ok(Outcome::NotHere(
            "the driver's own buffers have the window that a guest could have",
        ));
    }
    // Memory of small pages is not carried by larger ones.
    let host_page = rig.vfio().kernel().page_size();
    for page_shift in [16, 12].into_iter().filter(|it| 1 << it <= host_page) {
        seen.guest_boots(page_shift, driver)
            .with_context(|| format!("with pages of 2^{page_shift}"))?;
    }
    drop(seen);
    let after = locked(rig)?;
    ensure!(after == before, "locked is {after}, and was {before}");
    Ok(Outcome::Passed)
}

/// What this process has locked, in the kernel's words.
fn locked(rig: &Rig) -> Result<String> {
    let status = rig.vfio().kernel().read("/proc/self/status".as_ref())?;
    let status = String::from_utf8(status)?;
    let mut lines = status.lines();
    let line = lines.find_map(|line| line.strip_prefix("VmLck:"));
    Ok(line.context("VmLck")?.trim().to_owned())
}

/// By window and page.
type Reached = BTreeMap<(Layout, u64), Target>;

struct Seen {
    bridge: Bridge,
    model: tce::Model,
    guest: Guest,
    /// The host's default window, if what is outside of windows is not to be looked at.
    low: Option<IovaRange>,
    /// Base 2 logarithm of the size of the pages of the window that was created last.
    page_shift: u32,
    /// What the device could reach when it looked last.
    reached: Reached,
    _default: Reservation,
}

impl Seen {
    fn new(rig: &Rig, host: IovaRange) -> Result<Self> {
        let domain = rig.device.domain();
        let (range, held) = end_of(domain, host)?;
        let default = DefaultWindow {
            liobn: 0x8000_0000,
            range,
            page_shift: 12,
        };
        let dynamic = DynamicWindows {
            liobn: 0x8000_0001,
            start: Iova(1 << 59),
            page_sizes: PageSizes(0x1_1000),
            largest: 1 << 32,
        };
        let layout = Layout {
            base: range.first(),
            page: 1 << 16,
        };
        let guest = Guest::new(rig.vfio().kernel(), layout)?;
        let memory = Arc::new(AddressSpace::new());
        tce::populate(&memory, &guest.blocks())?;
        let bridge = Bridge::new(&memory, default, Some(dynamic))?;
        bridge.follow(domain)?;
        Ok(Self {
            bridge,
            model: tce::Model::new(default, dynamic, (1, dynamic.page_sizes)),
            guest,
            page_shift: 12,
            low: is_bare_metal(domain)?.then_some(host),
            reached: Reached::new(),
            _default: held,
        })
    }

    /// A window of its own, and random calls; then without that window; then anew.
    fn guest_boots(&mut self, page_shift: u32, driver: &mut dyn Driver) -> Result<()> {
        self.call(&Op::Create(page_shift, PAGES_SHIFT))?;
        self.page_shift = page_shift;
        // Both ends of both windows, once to be read only.
        for window in [Which::Default, Which::Dynamic] {
            for (number, rights) in [(0, 3), (PLACES - 1, 1)] {
                let target = tce::address(0) + ((number as u64) << 16 >> 2 & !0xffff);
                self.call(&Op::Put(Place { window, number }, target + rights))?;
            }
        }
        self.look(driver).context("at both ends")?;
        for _ in 0..CALLS {
            self.random_call()?;
        }
        self.look(driver).context("after random calls")?;
        self.call(&Op::Remove(Which::Dynamic))?;
        self.look(driver).context("when the window is gone")?;
        self.call(&Op::Reset)?;
        self.look(driver).context("after a reset")
    }

    fn call(&mut self, op: &Op) -> Result<()> {
        self.model.call(op, &self.bridge)
    }

    /// One that writes TCEs. What is written without being read is not for all devices to tell.
    fn random_call(&mut self) -> Result<()> {
        loop {
            let numbers = random::bytes(6)?;
            let op = Op::of(numbers.try_into().ok().context("six numbers")?);
            let tces: &[u64] = match &op {
                Op::Put(_, tce) => std::slice::from_ref(tce),
                Op::List(_, tces) => tces,
                Op::Stuff(..) => &[],
                Op::Create(..) | Op::Remove(_) | Op::Reset => continue,
            };
            if tces.iter().all(|tce| tce & 3 != 2) {
                return self.call(&op);
            }
        }
    }

    /// What is looked at around the window that starts there, or has started there.
    fn bounds(&self, start: Iova) -> IovaRange {
        let window = match self.low {
            None => None,
            Some(low) if low.first() <= start && start <= low.last() => Some(low),
            Some(_) => IovaRange::new(start, 1 << (PAGES_SHIFT + self.page_shift)),
        };
        window.unwrap_or(IovaRange::ALL)
    }

    /// At what is reached, and at what is not any more.
    fn look(&mut self, driver: &mut dyn Driver) -> Result<()> {
        let mut reached = Reached::new();
        for (start, page_shift) in self.model.windows() {
            let layout = Layout {
                base: Iova(start),
                page: 1 << page_shift,
            };
            let pages = self.model.reached(start).into_iter();
            reached.extend(pages.map(|(n, target)| ((layout, n), target)));
        }
        let mut layouts: Vec<_> = reached.keys().chain(self.reached.keys()).collect();
        layouts.dedup_by_key(|(layout, _)| *layout);
        let layouts: Vec<_> = layouts.into_iter().map(|(layout, _)| *layout).collect();
        let before = std::mem::replace(&mut self.reached, reached.clone());
        for layout in layouts {
            let model = Model {
                sections: sections(&reached, layout),
            };
            let gone = before.iter().filter(|(at, _)| !reached.contains_key(at));
            let gone: Reached = gone.map(|(at, target)| (*at, *target)).collect();
            self.guest.move_to(layout, self.bounds(layout.base));
            self.guest.look(&model.sections, &model, driver)?;
            self.guest
                .look(&sections(&gone, layout), &model, driver)
                .context("at what is not there any more")?;
        }
        Ok(())
    }
}

/// QEMU's bridges of bare metal take an address modulo the size of its window (`pnv_phb4_translate_tve`): there is nothing
/// outside of the windows that could be looked at. Tables of several levels are what tells.
fn is_bare_metal(domain: &Domain) -> Result<bool> {
    let limits = domain.capabilities()?.windows;
    Ok(limits.is_some_and(|limits| limits.levels > 1))
}

/// The pages of one window.
fn sections(reached: &Reached, layout: Layout) -> Vec<Section> {
    let here = reached.iter().filter(|((at, _), _)| *at == layout);
    let section = |(&(_, n), target): (&(Layout, u64), &Target)| {
        Some(Section {
            at: usize::try_from(n).ok()?,
            len: 1,
            block: target.block,
            offset: target.offset / layout.page,
            kind: match target.writes {
                true => Kind::Ram,
                false => Kind::Rom,
            },
            unit: None,
        })
    };
    here.filter_map(section).collect()
}

/// The last pages of a window of the host, with one more before them that nobody uses.
fn end_of(domain: &Domain, host: IovaRange) -> Result<(IovaRange, Reservation)> {
    const PAGE: u64 = 4096;
    let start = host.last().0 + 1 - PAGES * PAGE;
    let held = domain.alloc_at(Iova(start - PAGE), (PAGES + 1) * PAGE)?;
    let range = IovaRange::inclusive(Iova(start), host.last()).context("the end of a window")?;
    Ok((range, held))
}

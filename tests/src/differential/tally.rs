//! What was called how often.

use std::collections::BTreeMap;
use std::fmt;

use vfio_sim::Hazard;

use super::call::{Answer, Call};
use super::generate::Places;

/// No kind of call is more of them, in percent.
const MOST_OF_A_KIND: usize = 10;

/// The ioctls of the interface, each of which is made.
const IOCTLS: &[&str] = &[
    "VFIO_GET_API_VERSION",
    "VFIO_CHECK_EXTENSION",
    "VFIO_SET_IOMMU",
    "VFIO_GROUP_GET_STATUS",
    "VFIO_GROUP_SET_CONTAINER",
    "VFIO_GROUP_UNSET_CONTAINER",
    "VFIO_GROUP_GET_DEVICE_FD",
    "VFIO_DEVICE_GET_INFO",
    "VFIO_DEVICE_GET_REGION_INFO",
    "VFIO_DEVICE_GET_IRQ_INFO",
    "VFIO_DEVICE_SET_IRQS",
    "VFIO_DEVICE_RESET",
    "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
    "VFIO_DEVICE_PCI_HOT_RESET",
    "VFIO_DEVICE_IOEVENTFD",
    "VFIO_DEVICE_FEATURE",
    "VFIO_IOMMU_MAP_DMA",
    "VFIO_IOMMU_UNMAP_DMA",
];
const OF_TYPE1: &[&str] = &["VFIO_IOMMU_GET_INFO", "VFIO_IOMMU_DIRTY_PAGES"];
const OF_SPAPR: &[&str] = &[
    "VFIO_IOMMU_SPAPR_TCE_GET_INFO",
    "VFIO_IOMMU_ENABLE",
    "VFIO_IOMMU_DISABLE",
    "VFIO_IOMMU_SPAPR_REGISTER_MEMORY",
    "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY",
    "VFIO_IOMMU_SPAPR_TCE_CREATE",
    "VFIO_IOMMU_SPAPR_TCE_REMOVE",
    "VFIO_EEH_PE_OP",
];

/// So many of the calls that succeed change what an IOMMU does, at the least, in percent.
const LEAST_CHANGES: usize = 50;

/// So many calls, by kind.
#[derive(Debug)]
pub(super) struct Tally {
    /// What a call is said to change depends on it.
    is_spapr: bool,
    kinds: BTreeMap<String, Count>,
    hazards: BTreeMap<Hazard, usize>,
}

#[derive(Debug, Default)]
struct Count {
    calls: usize,
    successes: usize,
    changes: usize,
}

impl Tally {
    pub(super) fn of(places: &Places) -> Self {
        Self {
            is_spapr: places.spapr,
            kinds: BTreeMap::new(),
            hazards: BTreeMap::new(),
        }
    }

    pub(super) fn count(&mut self, call: &Call, answer: &Answer) {
        let count = self.kinds.entry(call.kind(self.is_spapr)).or_default();
        count.calls += 1;
        count.successes += usize::from(answer.is_success());
        count.changes += usize::from(answer.is_success() && call.changes_iommu(self.is_spapr));
    }

    pub(super) fn hazard(&mut self, hazards: &[Hazard]) {
        for hazard in hazards {
            *self.hazards.entry(*hazard).or_default() += 1;
        }
    }

    /// Whether one more would make its kind more frequent than it may be. What is beside the IOMMU waits until enough
    /// has changed there.
    pub(super) fn has_enough_of(&self, call: &Call) -> bool {
        const HEAD_START: usize = 30;
        let is_idle = self.changes() <= LEAST_CHANGES && self.calls() > HEAD_START;
        if is_idle && call.is_beside_iommu() {
            return true;
        }
        let count = self
            .kinds
            .get(&call.kind(self.is_spapr))
            .map_or(0, |count| count.calls);
        (count + 1) * 100 > (MOST_OF_A_KIND * (self.calls() + 1)).max(HEAD_START * 100)
    }

    /// Why it says less than it should: too many calls of one kind, or too many that come to nothing.
    pub(super) fn complaints(&self) -> Vec<String> {
        const LEAST_SUCCESSES: usize = 40;

        let (calls, successes) = (self.calls(), self.sum(|it| it.successes));
        let of_iommu = if self.is_spapr { OF_SPAPR } else { OF_TYPE1 };
        let ioctls = IOCTLS.iter().chain(of_iommu);
        let missing = ioctls.filter(|name| !self.kinds.contains_key(**name));
        let mut complaints: Vec<_> = missing.map(|name| format!("nobody asked {name}")).collect();
        for (kind, count) in &self.kinds {
            if count.calls * 100 > MOST_OF_A_KIND * calls {
                complaints.push(format!(
                    "more than {MOST_OF_A_KIND} % of the calls are {kind}"
                ));
            }
        }
        if percent(successes, calls) < LEAST_SUCCESSES {
            complaints.push(format!("less than {LEAST_SUCCESSES} % succeeded"));
        }
        if self.changes() < LEAST_CHANGES {
            complaints.push(format!(
                "less than {LEAST_CHANGES} % of those changed anything"
            ));
        }
        complaints
    }

    /// How many of the successes changed what an IOMMU does, in percent.
    fn changes(&self) -> usize {
        percent(self.sum(|it| it.changes), self.sum(|it| it.successes))
    }

    fn sum(&self, of: fn(&Count) -> usize) -> usize {
        self.kinds.values().map(of).sum()
    }

    pub(super) fn calls(&self) -> usize {
        self.kinds.values().map(|count| count.calls).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.calls().max(1);
        let successes = self.sum(|it| it.successes);
        writeln!(f, "{:<40} calls  of all  succeeded", "call")?;
        for (kind, count) in &self.kinds {
            let (calls, successes) = (count.calls, count.successes);
            let share = calls * 1000 / all;
            writeln!(
                f,
                "{kind:<40} {calls:>5}  {:>3}.{} %  {successes:>9}",
                share / 10,
                share % 10
            )?;
        }
        writeln!(
            f,
            "{} calls, {} % succeeded, {} % of those changed what an IOMMU does",
            self.calls(),
            percent(successes, all),
            self.changes()
        )?;
        for (hazard, times) in &self.hazards {
            writeln!(f, "left out: {hazard:?}, {times} times")?;
        }
        Ok(())
    }
}

fn percent(part: usize, all: usize) -> usize {
    part * 100 / all.max(1)
}

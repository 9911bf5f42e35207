//! Tells the VMM what a guest's accesses met, and each thing once: a guest must not be able to fill a log.

use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vfio_core::host::Bdf;

use crate::vmm::{Event, Observer};

#[derive(Debug)]
pub(super) struct Reporter {
    device: Bdf,
    observer: Arc<dyn Observer>,
    /// The kinds of events that were told, and of which BAR.
    told: Mutex<Vec<(Discriminant<Event>, Option<usize>)>>,
}

impl Reporter {
    pub(super) fn new(device: Bdf, observer: Arc<dyn Observer>) -> Self {
        Self {
            device,
            observer,
            told: Mutex::default(),
        }
    }

    pub(super) fn report(&self, event: Event) {
        let about = match &event {
            Event::AccessFailed(bar, _) | Event::NotPlaced(bar, ..) => Some(super::index(*bar)),
            Event::NotMapped(bar, ..) | Event::StillMapped(bar, ..) => Some(usize::from(*bar)),
            Event::Unassigned(bar) => Some(*bar),
            _ => None,
        };
        let what = (discriminant(&event), about);
        let mut told = self.told();
        if told.contains(&what) {
            return;
        }
        told.push(what);
        drop(told);
        self.observer.event(self.device, event);
    }

    /// From now on everything is told again.
    pub(super) fn forget(&self) {
        self.told().clear();
    }

    fn told(&self) -> MutexGuard<'_, Vec<(Discriminant<Event>, Option<usize>)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

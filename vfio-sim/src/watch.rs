//! Waits for eventfds of the caller: what the kernel does when one is signalled.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use vfio_core::kernel::{Errno, Result};

use crate::eventfd::EventFd;
use crate::world::World;

/// Something that is done each time that an eventfd is signalled. It ends when this and its clones are dropped, by somebody who has the
/// world: it is not done afterwards, and if it was the last one for its eventfd, no count is taken.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    waiter: Arc<Waiter>,
    /// Lives as long as it is to be done.
    token: Option<Arc<()>>,
}

/// A thread that waits for an eventfd, for all that is done when it is signalled.
pub(crate) struct Waiter {
    fd: EventFd,
    /// Lets the thread look whether there is something to do still.
    stop: OwnedFd,
    acts: Mutex<Acts>,
}

#[derive(Default)]
struct Acts {
    all: Vec<Act>,
    /// Nothing was left to do, and the thread has ended.
    is_over: bool,
}

struct Act {
    token: Weak<()>,
    act: Box<dyn Fn(&mut World) + Send>,
}

impl Watch {
    /// Calls `act` each time that `fd` is signalled, from a thread that all have who watch that eventfd.
    pub(crate) fn new(
        world: &mut World,
        fd: EventFd,
        act: impl Fn(&mut World) + Send + 'static,
    ) -> Result<Self> {
        let token = Arc::new(());
        let act = Act {
            token: Arc::downgrade(&token),
            act: Box::new(act),
        };
        let watch = |waiter| Self {
            waiter,
            token: Some(token),
        };
        world.waiters.retain(|waiter| waiter.strong_count() > 0);
        let mut known = world.waiters.iter().filter_map(Weak::upgrade);
        if let Some(waiter) = known.find(|waiter| waiter.fd.is_same(&fd) && !waiter.acts().is_over)
        {
            waiter.acts().all.push(act);
            return Ok(watch(waiter));
        }
        let waiter = Arc::new(Waiter {
            fd,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            acts: Mutex::new(Acts {
                all: vec![act],
                is_over: false,
            }),
        });
        let (waits, me) = (Arc::clone(&waiter), world.me.clone());
        thread::Builder::new()
            .name("vfio-sim".to_owned())
            .spawn(move || waits.wait(&me))
            .map_err(|_| Errno::NOMEM)?;
        world.waiters.push(Arc::downgrade(&waiter));
        Ok(watch(waiter))
    }

    /// Whether the eventfd can be signalled no more: its last fd was closed.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.waiter.fd.is_abandoned()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.token = None;
        // The thread is not waited for: it may be about to ask for the world, which is its owner's now.
        let _ = rustix::io::write(&self.waiter.stop, &1u64.to_ne_bytes());
    }
}

impl Waiter {
    fn wait(&self, world: &Weak<Mutex<World>>) {
        while self.goes_on() {
            match self.is_signalled() {
                None => return,
                Some(false) => {}
                Some(true) => {
                    let Some(world) = world.upgrade() else {
                        return;
                    };
                    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                    self.act(&mut world);
                }
            }
        }
    }

    /// Does what is to be done still, now that nobody else has the world.
    fn act(&self, world: &mut World) {
        world.notice_closed();
        if self.goes_on() && self.fd.take() {
            for Act { act, .. } in &self.acts().all {
                act(world);
            }
        }
    }

    /// Whether something is to be done still. Once nothing is, this is over.
    fn goes_on(&self) -> bool {
        let mut acts = self.acts();
        acts.all.retain(|act| act.token.strong_count() > 0);
        acts.is_over |= acts.all.is_empty();
        !acts.is_over
    }

    fn acts(&self) -> MutexGuard<'_, Acts> {
        self.acts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is signalled, or until something has changed: `false`. `None`: it cannot wait.
    fn is_signalled(&self) -> Option<bool> {
        let mut both = [
            PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut both, None) {
            Err(Errno::INTR) => Some(false),
            Err(_) => None,
            Ok(_) if both[1].revents().is_empty() => Some(true),
            Ok(_) => {
                let _ = rustix::io::read(&self.stop, &mut [0; 8]);
                Some(false)
            }
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("fd", &self.fd)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    fn world() -> Arc<Mutex<World>> {
        Arc::new_cyclic(|me| Mutex::new(World::new(Machine::x86_64(), Weak::clone(me))))
    }

    /// An eventfd that was signalled so often, and what the kernel holds of it.
    fn signalled(times: u32) -> (OwnedFd, EventFd) {
        let own = eventfd(times, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let held = EventFd::of_number(own.as_raw_fd()).unwrap();
        (own, held)
    }

    /// A watch that counts, and its count.
    fn counting(world: &mut World, fd: EventFd) -> (Watch, Arc<AtomicU32>) {
        let acts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&acts);
        let watch = Watch::new(world, fd, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        (watch.unwrap(), acts)
    }

    fn in_time(is_so: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !is_so() {
            assert!(Instant::now() < patience);
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn one_that_has_ended_does_nothing() {
        let world = world();
        let (own, fd) = signalled(1);
        let mut held = world.lock().unwrap();
        let (watch, acts) = counting(&mut held, fd);
        // Long enough for the thread to have seen the signal, and to wait for the world.
        thread::sleep(Duration::from_millis(100));
        drop(watch);
        drop(held);

        in_time(|| Arc::strong_count(&acts) == 1); // the thread has ended
        assert_eq!(acts.load(Ordering::SeqCst), 0);
        assert_eq!(
            rustix::io::read(&own, &mut [0; 8]),
            Ok(8),
            "the count is there still"
        );
    }

    #[test]
    fn all_who_watch_an_eventfd_learn_of_a_signal() {
        let world = world();
        let (own, fd) = signalled(0);
        let mut held = world.lock().unwrap();
        let (_first, first) = counting(&mut held, fd);
        let (_second, second) = counting(&mut held, EventFd::of_number(own.as_raw_fd()).unwrap());
        drop(held);
        for times in 1..4 {
            rustix::io::write(&own, &1u64.to_ne_bytes()).unwrap();
            in_time(|| [&first, &second].map(|acts| acts.load(Ordering::SeqCst)) == [times; 2]);
        }
    }

    #[test]
    fn one_can_be_watched_again() {
        let world = world();
        let (own, fd) = signalled(0);
        for _ in 0..50 {
            let fd = EventFd::of_number(own.as_raw_fd()).unwrap();
            let (_watch, acts) = counting(&mut world.lock().unwrap(), fd);
            rustix::io::write(&own, &1u64.to_ne_bytes()).unwrap();
            in_time(|| acts.load(Ordering::SeqCst) == 1);
        }
        drop(fd);
    }
}

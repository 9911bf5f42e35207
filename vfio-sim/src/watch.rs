//! Waits for eventfds of the caller: what the kernel does when one is signalled.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use vfio_core::kernel::{Errno, Result};

use crate::eventfd::EventFd;
use crate::world::World;

/// A wait for an eventfd. It ends when its last clone is dropped, by somebody who has the world: nothing is done afterwards, and
/// no count is taken.
#[derive(Debug, Clone)]
pub(crate) struct Watch(
    #[expect(dead_code, reason = "the last one's drop ends the wait")] Arc<Wait>,
);

#[derive(Debug)]
struct Wait {
    /// Wakes the thread up.
    stop: Arc<OwnedFd>,
}

impl Watch {
    /// Calls `act` each time that `fd` is signalled, from a thread of its own.
    pub(crate) fn new(
        world: Weak<Mutex<World>>,
        fd: EventFd,
        act: impl Fn(&mut World) + Send + 'static,
    ) -> Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stopped = Arc::clone(&stop);
        let owned = Arc::new(Wait { stop });
        // The thread looks once it has the world too.
        let goes_on = Arc::downgrade(&owned);
        let wait = move || {
            while is_signalled(&fd, &stopped) {
                let Some(world) = world.upgrade() else {
                    return;
                };
                let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
                if goes_on.strong_count() == 0 {
                    return;
                }
                if fd.take() {
                    act(&mut world);
                }
            }
        };
        thread::Builder::new()
            .name("vfio-sim".to_owned())
            .spawn(wait)
            .map_err(|_| Errno::NOMEM)?;
        Ok(Self(owned))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // The thread is not waited for: it may be about to ask for the world, which is its owner's now.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
    }
}

/// Waits until one of both is signalled; answers whether it is the first alone.
fn is_signalled(fd: &EventFd, stop: &OwnedFd) -> bool {
    loop {
        let mut both = [
            PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN),
        ];
        match poll(&mut both, None) {
            Err(Errno::INTR) => continue,
            Err(_) => return false,
            Ok(_) => return both[1].revents().is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn one_that_has_ended_does_nothing() {
        let world =
            Arc::new_cyclic(|me| Mutex::new(World::new(Machine::x86_64(), Weak::clone(me))));
        let own = eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        let acts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&acts);
        let held = world.lock().unwrap();
        let fd = EventFd::of_number(own.as_raw_fd()).unwrap();
        let watch = Watch::new(Arc::downgrade(&world), fd, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        // Long enough for the thread to have seen the signal, and to wait for the world.
        thread::sleep(Duration::from_millis(100));
        drop(watch.unwrap());
        drop(held);

        let patience = Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&acts) > 1 {
            assert!(Instant::now() < patience, "the thread does not end");
            thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(acts.load(Ordering::SeqCst), 0);
        assert_eq!(
            rustix::io::read(&own, &mut [0; 8]),
            Ok(8),
            "the count is there still"
        );
    }
}

//! A group: opened and closed by several at once.

use std::sync::Arc;

use shuttle::thread;

use crate::check;
use crate::watch::{BDF, SIBLING, boot, open};

#[test]
fn a_group_is_never_met_while_it_is_being_closed() {
    check(|| {
        let vfio = Arc::new(boot().0);
        let threads = [BDF, SIBLING, BDF].map(|bdf| {
            let vfio = Arc::clone(&vfio);
            thread::spawn(move || {
                for _ in 0..2 {
                    // The kernel would say that the group is busy.
                    let device = open(&vfio, bdf).unwrap();
                    drop(device);
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn devices_that_are_open_at_once_share_their_group() {
    check(|| {
        let vfio = Arc::new(boot().0);
        let first = open(&vfio, BDF).unwrap();
        let other = Arc::clone(&vfio);
        let second = thread::spawn(move || open(&other, SIBLING).unwrap());
        let third = thread::spawn(move || open(&vfio, SIBLING).unwrap());
        let (second, third) = (second.join().unwrap(), third.join().unwrap());
        assert!(first.domain() == second.domain() && second.domain() == third.domain());
        first.close().unwrap();
        assert!(second.domain().capabilities().is_ok());
    });
}

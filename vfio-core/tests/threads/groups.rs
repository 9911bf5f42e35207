//! A group: opened and closed by several at once.

use std::sync::Arc;

use shuttle::thread;
use vfio_core::{AddressSpaceId, ErrorKind, OpenOptions};

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

/// The device that is open may be closed while another one asks for its group.
#[test]
fn a_group_that_is_refused_to_another_address_space_is_closed_once() {
    check(|| {
        let vfio = Arc::new(boot().0);
        let (bdf, sibling) = (BDF.parse().unwrap(), SIBLING.parse().unwrap());
        let threads = [bdf, sibling].map(|bdf| {
            let vfio = Arc::clone(&vfio);
            thread::spawn(move || {
                let space = OpenOptions::default().in_space(AddressSpaceId::unique());
                if let Err(error) = vfio.open_with(bdf, space) {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
                }
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        open(&vfio, BDF).unwrap();
    });
}

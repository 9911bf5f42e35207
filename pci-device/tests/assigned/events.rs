//! What the kernel has to say about a device.

use pci_device::Notification;
use vfio_core::ErrorKind;
use vfio_core::device::IrqIndex;
use vfio_sim::machine::Device;

use super::rig::*;

#[test]
fn a_release_request_and_an_error_are_told() {
    let rig = Rig::new(Device::assorted(BDF));
    let notifications = rig.device.notifications().unwrap();
    assert_eq!(notifications.fds().count(), 2);
    assert_eq!(notifications.take().unwrap(), []);
    rig.sim.request_release(BDF);
    assert_eq!(
        notifications.take().unwrap(),
        [Notification::ReleaseRequested]
    );
    assert_eq!(notifications.take().unwrap(), []);
    // It asks again as long as the device is held.
    rig.sim.request_release(BDF);
    rig.device
        .device()
        .fire_irqs(IrqIndex::Error, 0, 1)
        .unwrap();
    let both = [Notification::Error, Notification::ReleaseRequested];
    assert_eq!(notifications.take().unwrap(), both);
    // Another one's would take them away from this one.
    let error = rig.device.notifications().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    notifications.close().unwrap();
    // The kernel has let go: they can be had again.
    let again = rig.device.notifications().unwrap();
    assert_eq!(again.take().unwrap(), []);
}

/// What is not on PCI Express reports no errors, and is asked for back all the same.
#[test]
fn a_device_that_reports_no_errors() {
    let rig = Rig::new(Device::edu(BDF));
    let notifications = rig.device.notifications().unwrap();
    assert_eq!(notifications.fds().count(), 1);
    rig.sim.request_release(BDF);
    assert_eq!(
        notifications.take().unwrap(),
        [Notification::ReleaseRequested]
    );
}

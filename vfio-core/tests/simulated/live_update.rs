//! What is asked of a backend whose mappings can outlive a process, and what comes of its answers.

use std::cell::{Cell, RefCell};

use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::iommu::{Domain, IommuBackend, LiveUpdate, Reach, Registration};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Device, ErrorKind, Result};

use crate::setup::{BDF, Idle, alone, boot, open, v2};

thread_local! {
    /// What the backend answers to have forgotten.
    static FORGOTTEN: Cell<u64> = const { Cell::new(0) };
    static ASKED: RefCell<Vec<IovaRange>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Forgets;

impl LiveUpdate for Forgets {
    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn forget(&self, range: IovaRange) -> Result<u64> {
        ASKED.with_borrow_mut(|asked| asked.push(range));
        Ok(FORGOTTEN.get())
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn renew(&self, _: IovaRange, _: HostRange) -> Result<()> {
        Ok(())
    }
}

fn attach(container: Container) -> Result<Box<dyn IommuBackend>> {
    Ok(Box::new(Idle::updating(container, &Forgets)))
}

fn device() -> Device {
    let forgets = Registration {
        name: "forgets",
        preference: 1,
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
    };
    let (_, vfio) = boot(alone(), [forgets]);
    open(&vfio, BDF).unwrap()
}

fn pages(first: u64, count: u64) -> IovaRange {
    IovaRange::new(Iova(first << 12), count << 12).unwrap()
}

#[allow(unsafe_code)] // nothing is mapped
fn map(domain: &Domain, range: IovaRange) {
    let memory = HostRange::new(0x10_0000, usize::try_from(range.size()).unwrap()).unwrap();
    // SAFETY: the backend maps nothing.
    unsafe { domain.map(range, memory, Access::Read) }.unwrap();
}

#[test]
fn all_mappings_are_forgotten_by_one_call_and_counted() {
    let device = device();
    let domain = device.domain();
    assert_eq!(domain.forget_addresses().unwrap(), []);
    assert_eq!(ASKED.take(), [], "nothing is mapped");
    let mapped = [pages(5, 2), pages(7, 1), pages(100, 4)];
    for range in [mapped[2], mapped[0], mapped[1]] {
        map(domain, range);
    }
    FORGOTTEN.set(7 << 12);
    assert_eq!(domain.forget_addresses().unwrap(), mapped);
    assert_eq!(ASKED.take(), [pages(5, 99)]);
    for wrong in [0, 6 << 12, 8 << 12] {
        FORGOTTEN.set(wrong);
        let error = domain.forget_addresses().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Kernel);
        assert_eq!(error.iova(), Some(pages(5, 99)));
        let said = format!("those of {wrong:#x} bytes");
        assert!(error.to_string().contains(&said), "{error}");
    }
    assert_eq!(domain.unmap(pages(0, 200)).unwrap(), 7 << 12);
}

#[test]
#[allow(unsafe_code)] // nothing is renewed
fn a_backend_that_cannot_do_it_says_so() {
    let (_, vfio) = boot(alone(), [v2()]);
    let device = open(&vfio, BDF).unwrap();
    let error = device.domain().forget_addresses().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // SAFETY: there is no mapping.
    let error = unsafe { device.domain().renew_addresses([]) }.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

//! A kernel that unmaps less than it was asked to, and guest memory that is torn by it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use vfio_core::address::{Access, HostRange, Iova, IovaRange};
use vfio_core::guest::{AddressSpace, Block, GuestIommu, Request, Section, Tear, Translation};
use vfio_core::iommu::{Capabilities, IommuBackend, Reach, Registration};
use vfio_core::uapi::TYPE1V2_IOMMU;
use vfio_core::{Container, Device, ErrorKind, Result};

use crate::setup::{BDF, alone, boot, idle_capabilities, open, v2};

const PAGE: u64 = 4096;
const MEMORY: usize = 0x7000_0000;

/// What is mapped, by first address; and whether the next unmap takes only half of it.
#[derive(Debug)]
struct State {
    mapped: BTreeMap<u64, (IovaRange, HostRange)>,
    halves: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    mapped: BTreeMap::new(),
    halves: false,
});
/// One test at a time has that.
static TURN: Mutex<()> = Mutex::new(());

#[derive(Debug)]
struct Halving {
    _container: Container,
}

#[allow(unsafe_code)] // the trait's promise
// SAFETY: it maps nothing.
unsafe impl IommuBackend for Halving {
    fn capabilities(&self) -> Result<Capabilities> {
        Ok(idle_capabilities())
    }

    #[allow(unsafe_code)] // the trait's; nothing is mapped
    unsafe fn map(&self, iova: IovaRange, memory: HostRange, _: Access) -> Result<()> {
        let mapped = &mut STATE.lock().unwrap().mapped;
        mapped.insert(iova.first().0, (iova, memory));
        Ok(())
    }

    fn unmap(&self, iova: IovaRange) -> Result<u64> {
        let state = &mut *STATE.lock().unwrap();
        if std::mem::take(&mut state.halves) {
            return Ok(iova.size() / 2);
        }
        state.mapped.remove(&iova.first().0);
        Ok(iova.size())
    }
}

fn device() -> Device {
    let attach = |container| -> Result<Box<dyn IommuBackend>> {
        Ok(Box::new(Halving {
            _container: container,
        }))
    };
    let halving = Registration {
        reach: Reach::Container {
            extension: TYPE1V2_IOMMU,
            attach,
        },
        ..v2()
    };
    open(&boot(alone(), [halving]).1, BDF).unwrap()
}

fn mapped() -> Vec<(IovaRange, HostRange)> {
    STATE.lock().unwrap().mapped.values().copied().collect()
}

fn halve() {
    STATE.lock().unwrap().halves = true;
}

fn range(page: u64, pages: u64) -> IovaRange {
    IovaRange::new(Iova(page * PAGE), pages * PAGE).unwrap()
}

fn block(owner: &Arc<()>) -> Block {
    let memory = HostRange::new(MEMORY, 16 * 4096).unwrap();
    #[allow(unsafe_code)] // nothing is mapped
    // SAFETY: no device reaches it, and nobody does.
    unsafe {
        Block::new(memory, Arc::clone(owner))
    }
}

/// A device, the owner of memory, and a guest that has it, which the device follows.
fn followed() -> (Device, Arc<()>, AddressSpace) {
    let (device, owner, space) = (device(), Arc::new(()), AddressSpace::new());
    let section = Section::ram(range(1, 4), &block(&owner), 0).unwrap();
    let _ = space.follow(device.domain()).unwrap();
    let _ = space.edit().insert(section).commit().unwrap();
    (device, owner, space)
}

#[test]
fn guest_memory_is_torn_and_repaired() {
    let _turn = TURN.lock();
    let (_device, owner, space) = followed();
    let before = mapped();

    halve();
    let error = space.edit().remove(range(1, 4)).commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Torn, "{error}");
    assert!(error.to_string().contains("0x2000 bytes"), "{error}");
    let torn = space.torn();
    let shown: Vec<_> = torn.iter().map(|(_, it)| (it.range, it.tear)).collect();
    assert_eq!(shown, [(range(1, 4), Tear::Missing)]);
    let refused = space.edit().remove(range(1, 4)).commit().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Torn, "{refused}");

    drop(torn);
    space.repair().unwrap();
    assert_eq!((mapped(), space.torn().len()), (before, 0));
    let _ = space.edit().remove(range(1, 4)).commit().unwrap();
    assert_eq!((mapped(), Arc::strong_count(&owner)), (vec![], 1));
}

#[test]
fn memory_of_which_the_rest_may_be_mapped_is_never_freed() {
    let _turn = TURN.lock();
    let (_device, owner, space) = followed();
    halve();
    drop(space);
    assert_eq!(Arc::strong_count(&owner), 2);
    STATE.lock().unwrap().mapped.clear();
}

#[test]
fn a_guests_iommu_unmaps_the_rest_when_it_is_asked_again() {
    let _turn = TURN.lock();
    let device = device();
    let owner = Arc::new(());
    let space = Arc::new(AddressSpace::new());
    let section = Section::ram(range(1, 4), &block(&owner), 0).unwrap();
    let _ = space.edit().insert(section).commit().unwrap();
    let iommu = GuestIommu::of(&space);
    iommu.follow(device.domain(), []).unwrap();
    let there = range(100, 4);
    let (to, access) = (Iova(PAGE), Access::ReadWrite);
    let map = Request::Map(Translation {
        range: there,
        to,
        access,
    });
    iommu.apply(&[map]).unwrap();

    halve();
    let unmade = iommu.apply(&[Request::Unmap(there)]).unwrap_err();
    assert!(unmade.to_string().contains("0x2000 bytes"), "{unmade}");
    assert_eq!(mapped().len(), 1);
    iommu.apply(&[Request::Unmap(there)]).unwrap();
    assert_eq!(mapped(), []);

    iommu.apply(&[map]).unwrap();
    halve();
    drop(iommu);
    let torn = space.torn();
    assert_eq!((torn.len(), torn[0].1.tear), (1, Tear::Left));
    drop(torn);
    space.repair().unwrap();
    assert_eq!((mapped(), space.followers()), (vec![], 0));
    drop(space);
    assert_eq!(Arc::strong_count(&owner), 1);
}

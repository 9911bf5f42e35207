//! Devices reach memory where it is mapped, as it is mapped, and nowhere else.

use vfio_core::kernel::Arg;
use vfio_core::uapi::{
    self, SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory, TYPE1V2_IOMMU,
};
use vfio_sim::{Fault, Machine, Why};

use crate::door::{BOTH, READ, WRITE, call, ioctl, map, unmap};
use crate::memory::{Memory, random};
use crate::probe::{self, NAME};
use crate::rig::{Open, Rig};

fn fault(iova: u64, write: bool, why: Why) -> Vec<Fault> {
    vec![Fault {
        bdf: NAME.into(),
        iova,
        write,
        why,
    }]
}

fn rig() -> (Rig, Open, Memory) {
    let (rig, device) = Rig::probe();
    let memory = Memory::new(&rig.sim, 3);
    (rig, device, memory)
}

#[test]
fn what_is_mapped_is_reached() {
    let (rig, device, memory) = rig();
    rig.map(0x10_0000, &memory).unwrap();
    let (there, back) = (random(5000), random(5000));
    assert!(device.dma_write(0x10_0123, &there), "across pages");
    assert_eq!(memory.get(0x123..0x123 + 5000), there);
    memory.put(0x1100, &back);
    assert_eq!(device.dma_read(0x10_1100, 5000), (true, back));
    assert_eq!(rig.sim.take_faults(), []);
}

#[test]
fn b21_a_right_is_for_one_direction() {
    let mut machine = Machine::x86_64().with_devices([probe::device(NAME)]);
    machine.release = "6.16.0".into();
    assert!(machine.has_write_only());
    let rig = Rig::new(machine, TYPE1V2_IOMMU);
    let device = rig.open(NAME);
    device.master(true);
    let memory = Memory::new(&rig.sim, 3);
    let bytes = random(16);
    memory.put(0, &bytes);
    let at = |iova| (iova, memory.at(), 0x1000);
    map(&rig.sim, &rig.container, at(0), READ).unwrap();
    map(&rig.sim, &rig.container, at(0x1000), WRITE).unwrap();
    assert_eq!(device.dma_read(0, 16), (true, bytes.clone()));
    assert!(!device.dma_write(0, &random(16)));
    assert_eq!(rig.sim.take_faults(), fault(0, true, Why::Blocked));
    assert_eq!(memory.get(0..16), bytes, "it is as it was");
    assert_eq!(device.dma_read(0x1000, 16), (false, vec![0xff; 16]));
    assert_eq!(rig.sim.take_faults(), fault(0x1000, false, Why::Blocked));
    assert!(device.dma_write(0x1000, &random(16)));
}

#[test]
fn what_is_not_mapped_is_not_reached() {
    let (rig, device, memory) = rig();
    assert!(!device.dma_write(0x5000, &[1]));
    assert_eq!(rig.sim.take_faults(), fault(0x5000, true, Why::Blocked));
    rig.map(0, &memory).unwrap();
    assert!(device.dma_write(0, &[1]));
    rig.unmap(0, memory.len()).0.unwrap();
    assert!(!device.dma_write(0, &[2]));
    assert_eq!(rig.sim.take_faults(), fault(0, true, Why::Blocked));
    assert_eq!(memory.get(0..1), [1]);
    assert_eq!(rig.sim.take_faults(), [], "they were taken");
}

#[test]
fn across_the_end_of_a_mapping() {
    let (rig, device, memory) = rig();
    let end = 0x4_0000 + memory.len();
    rig.map(0x4_0000, &memory).unwrap();
    let bytes = random(100);
    assert!(!device.dma_write(end - 60, &bytes));
    assert_eq!(
        rig.sim.take_faults(),
        fault(end, true, Why::Blocked),
        "the first that is not mapped"
    );
    let last = usize::try_from(memory.len()).unwrap();
    assert_eq!(
        memory.get(last - 60..last),
        bytes[..60],
        "what came before arrived"
    );
}

#[test]
fn neighbours_in_iova_need_not_be_in_memory() {
    let (rig, device, memory) = rig();
    let page = |n: u64| memory.at() + n * 0x1000;
    for (n, at) in [(0, page(2)), (1, page(0)), (2, page(1))] {
        map(&rig.sim, &rig.container, (n * 0x1000, at, 0x1000), BOTH).unwrap();
    }
    let bytes = random(0x3000);
    assert!(device.dma_write(0, &bytes));
    assert_eq!(memory.get(0x2000..0x3000), bytes[..0x1000]);
    assert_eq!(memory.get(0..0x2000), bytes[0x1000..]);
}

#[test]
fn memory_that_went_while_it_was_mapped_is_stale() {
    let (rig, device, memory) = rig();
    rig.map(0, &memory).unwrap();
    memory.lose(0x2000..0x3000);
    assert!(!device.dma_write(0x1f00, &random(0x200)));
    assert_eq!(
        rig.sim.take_faults(),
        fault(0x2000, true, Why::Stale),
        "the first that has gone"
    );
    assert!(!device.dma_read(0x2800, 4).0);
    assert_eq!(rig.sim.take_faults(), fault(0x2800, false, Why::Stale));
    assert!(
        device.dma_write(0x1f00, &random(0x100)),
        "the rest is there"
    );
}

#[test]
fn f91_no_bus_master_no_dma() {
    let (rig, device, memory) = rig();
    rig.map(0, &memory).unwrap();
    device.master(false);
    assert!(!device.dma_write(0, &[1]));
    assert_eq!(rig.sim.take_faults(), fault(0, true, Why::NotMaster));
    device.master(true);
    assert!(device.dma_write(0, &[1]));
}

#[test]
fn b32_pages_that_went_are_looked_for_at_the_new_address() {
    let (rig, _device, memory) = rig();
    let other = Memory::new(&rig.sim, 3);
    let range = (0, memory.len());
    rig.map(0, &memory).unwrap();
    let forget = uapi::DMA_UNMAP_FLAG_VADDR;
    unmap(&rig.sim, &rig.container, range, forget).0.unwrap();
    let renewed = (0, other.at(), other.len());
    map(&rig.sim, &rig.container, renewed, uapi::DMA_MAP_FLAG_VADDR).unwrap();
    let reached = || rig.sim.mappings()[0].vaddr;
    assert_eq!(reached(), memory.at(), "as long as they are there");
    memory.lose(0..usize::try_from(memory.len()).unwrap());
    assert_eq!(reached(), other.at());
}

#[test]
fn tces_lead_page_by_page() {
    for iommu in [SPAPR_TCE_IOMMU, SPAPR_TCE_V2_IOMMU] {
        let machine = Machine::pseries().with_devices([probe::device(NAME)]);
        let rig = Rig::new(machine, iommu);
        let memory = Memory::new(&rig.sim, 2);
        let mut block = SpaprRegisterMemory {
            argsz: 24,
            flags: 0,
            vaddr: memory.at(),
            size: memory.len(),
        };
        match iommu {
            SPAPR_TCE_IOMMU => {
                let none = Arg::None;
                ioctl(&rig.sim, &rig.container, uapi::SPAPR_ENABLE, none).unwrap();
            }
            _ => {
                call(
                    &rig.sim,
                    &rig.container,
                    uapi::SPAPR_REGISTER_MEMORY,
                    &mut block,
                )
                .unwrap();
            }
        }
        let device = rig.open(NAME);
        device.master(true);
        rig.map(0x1000, &memory).unwrap();
        let bytes = random(0x2000);
        assert!(device.dma_write(0x1100, &bytes));
        assert_eq!(memory.get(0x100..0x2100), bytes);
        // The second page only for reading, in the place of what was there.
        let second = (0x2000, memory.at() + 0x1000, 0x1000);
        map(&rig.sim, &rig.container, second, READ).unwrap();
        assert!(!device.dma_write(0x1ff0, &random(32)));
        assert_eq!(rig.sim.take_faults(), fault(0x2000, true, Why::Blocked));
        assert!(device.dma_read(0x1ff0, 32).0);
    }
}

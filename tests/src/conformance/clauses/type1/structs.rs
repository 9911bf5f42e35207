//! B20: the structs of the calls.

use vfio_core::kernel::{Arg, Errno, Opcode, Result};
use vfio_core::uapi::{DmaMap, DmaUnmap};
use vfio_core::uapi::{IOMMU_DIRTY_PAGES, IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA};

use super::{put, refused, rig, take};
use crate::conformance::clause::Needs::Type1;
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::memory::Memory;
use crate::conformance::raw::{BOTH, call, ioctl, map};
use crate::conformance::rig::Rig;

/// Every flag that MAP and UNMAP do not know.
const UNKNOWN: std::ops::Range<u32> = 3..32;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B20"],
        "MAP: argsz below the struct is refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            for argsz in [0, 8, 31] {
                assert_eq!(map_with(&rig, &memory, argsz), Err(Errno::INVAL), "{argsz}");
            }
            assert_eq!(map_with(&rig, &memory, 32), Ok(0));
        },
    ),
    both(&["B20"], "MAP: argsz may be larger", &[Type1], |host| {
        let (rig, memory) = rig(host, 1);
        assert_eq!(map_with(&rig, &memory, 4096), Ok(0));
    }),
    both(
        &["B20"],
        "MAP: flags that are not known are refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            for bit in UNKNOWN {
                let range = (0, memory.at(), memory.len());
                let answer = map(rig.kernel(), &rig.container, range, BOTH | 1 << bit);
                assert_eq!(answer, Err(Errno::INVAL), "bit {bit}");
            }
            assert_eq!(rig.unmap(0, memory.len()), (Ok(0), 0), "nothing was mapped");
        },
    ),
    both(
        &["B20"],
        "UNMAP: argsz below the struct is refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            put(&rig, 0, &memory, host.page()).unwrap();
            for argsz in [0, 8, 23] {
                let answer = unmap_with(&rig, host.page(), argsz);
                assert_eq!(answer, (Err(Errno::INVAL), host.page()), "{argsz}");
            }
            assert_eq!(unmap_with(&rig, host.page(), 24), (Ok(0), host.page()));
        },
    ),
    both(&["B20"], "UNMAP: argsz may be larger", &[Type1], |host| {
        let (rig, memory) = rig(host, 1);
        put(&rig, 0, &memory, host.page()).unwrap();
        assert_eq!(unmap_with(&rig, host.page(), 4096), (Ok(0), host.page()));
    }),
    both(
        &["B20"],
        "UNMAP: flags that are not known are refused",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            put(&rig, 0, &memory, host.page()).unwrap();
            for bit in UNKNOWN {
                let answer = take(&rig, (0, host.page()), 1 << bit);
                assert_eq!(answer, refused(host.page()), "bit {bit}");
            }
            assert_eq!(
                rig.unmap(0, host.page()),
                (Ok(0), host.page()),
                "it was there"
            );
        },
    ),
    both(
        &["B20"],
        "a bad pointer is EFAULT, of every call",
        &[Type1],
        |host| {
            for call in [
                IOMMU_GET_INFO,
                IOMMU_MAP_DMA,
                IOMMU_UNMAP_DMA,
                IOMMU_DIRTY_PAGES,
            ] {
                assert_eq!(at_address(host, call, 0), Err(Errno::FAULT), "{call:#x}");
            }
        },
    ),
    both(
        &["B20"],
        "a struct whose end is not there is EFAULT, whatever its argsz",
        &[Type1],
        |host| {
            let memory = host.memory(2);
            let page = usize::try_from(host.page()).unwrap();
            memory.put(page - 8, &[0; 8]);
            memory.lose(page..2 * page);
            let place = usize::try_from(memory.at()).unwrap() + page - 8;
            for call in [IOMMU_GET_INFO, IOMMU_MAP_DMA, IOMMU_UNMAP_DMA] {
                assert_eq!(
                    at_address(host, call, place),
                    Err(Errno::FAULT),
                    "{call:#x}"
                );
            }
        },
    ),
    both(
        &["B20", "B30"],
        "a struct that the size cannot be written back to is EFAULT, and the mapping is gone",
        &[Type1],
        |host| {
            /// A page that is smaller than none of the machines'.
            const UNMAP: DmaUnmap = DmaUnmap {
                argsz: 24,
                flags: 0,
                iova: 0,
                size: 4096,
            };
            static READ_ONLY: [u8; 24] = zerocopy::transmute!(UNMAP);
            let (rig, memory) = rig(host, 1);
            put(&rig, 0, &memory, host.page()).unwrap();
            let answer = ioctl(
                rig.kernel(),
                &rig.container,
                IOMMU_UNMAP_DMA,
                Arg::In(&READ_ONLY),
            );
            assert_eq!(answer, Err(Errno::FAULT));
            assert_eq!(rig.unmap(0, host.page()), (Ok(0), 0));
            assert_eq!(host.locked(), 0);
        },
    ),
    both(&["B20"], "MAP writes nothing back", &[Type1], |host| {
        let (rig, memory) = rig(host, 1);
        let good = DmaMap {
            argsz: 64,
            flags: BOTH,
            vaddr: memory.at(),
            iova: 0,
            size: host.page(),
        };
        for (mut asked, answer) in [(good, Ok(0)), (good, Err(Errno::EXIST))] {
            assert_eq!(
                call(rig.kernel(), &rig.container, IOMMU_MAP_DMA, &mut asked),
                answer
            );
            let fields = (
                asked.argsz,
                asked.flags,
                asked.vaddr,
                asked.iova,
                asked.size,
            );
            assert_eq!(fields, (64, BOTH, memory.at(), 0, host.page()));
        }
    }),
    both(
        &["B20", "B30"],
        "UNMAP writes back the size and nothing else",
        &[Type1],
        |host| {
            let (rig, memory) = rig(host, 1);
            put(&rig, 0, &memory, host.page()).unwrap();
            let mut asked = DmaUnmap {
                argsz: 64,
                flags: 0,
                iova: 0,
                size: 4 * host.page(),
            };
            call(rig.kernel(), &rig.container, IOMMU_UNMAP_DMA, &mut asked).unwrap();
            let fields = (asked.argsz, asked.flags, asked.iova, asked.size);
            assert_eq!(fields, (64, 0, 0, host.page()));
        },
    ),
];

fn map_with(rig: &Rig, memory: &Memory, argsz: u32) -> Result<u32> {
    let (vaddr, size) = (memory.at(), memory.len());
    let mut map = DmaMap {
        argsz,
        flags: BOTH,
        vaddr,
        iova: 0,
        size,
    };
    call(rig.kernel(), &rig.container, IOMMU_MAP_DMA, &mut map)
}

fn unmap_with(rig: &Rig, size: u64, argsz: u32) -> (Result<u32>, u64) {
    let mut unmap = DmaUnmap {
        argsz,
        flags: 0,
        iova: 0,
        size,
    };
    let answer = call(rig.kernel(), &rig.container, IOMMU_UNMAP_DMA, &mut unmap);
    (answer, unmap.size)
}

/// A call whose struct is said to be there.
fn at_address(host: &Host, opcode: Opcode, address: usize) -> Result<u32> {
    let rig = host.rig();
    ioctl(rig.kernel(), &rig.container, opcode, Arg::Value(address))
}

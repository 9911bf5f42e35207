//! D49 to D51, P3, H3, H4: memory that is registered.

use vfio_core::kernel::{Errno, Opcode, Result};
use vfio_core::uapi::{self, SPAPR_TCE_V2_IOMMU, SpaprRegisterMemory};

use super::calls::{
    EINVAL, block, create, good_block, plain, put, register, remove, unregister, v2,
};
use crate::conformance::clause::Needs::{Powernv, Spapr, TwoGroups};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::raw::leave;
use crate::conformance::rig::Rig;

const REGISTER: Opcode = uapi::SPAPR_REGISTER_MEMORY;
const UNREGISTER: Opcode = uapi::SPAPR_UNREGISTER_MEMORY;

/// The last page of all: a range that wraps.
fn wrapping(host: &Host) -> u64 {
    0u64.wrapping_sub(host.page())
}

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["D49"],
        "REGISTER: argsz below 24 is EINVAL, a larger one is fine",
        &[Spapr],
        |host| {
            let answers = |argsz| {
                each(host, REGISTER, |block| SpaprRegisterMemory {
                    argsz,
                    ..block
                })
            };
            assert_eq!(
                [0, 23, 24, 100].map(answers),
                [EINVAL, EINVAL, Ok(0), Ok(0)]
            );
        },
    ),
    both(&["D49"], "REGISTER: any flag is EINVAL", &[Spapr], |host| {
        for flags in [1, 1 << 31] {
            let answer = each(host, REGISTER, |block| SpaprRegisterMemory {
                flags,
                ..block
            });
            assert_eq!(answer, EINVAL);
        }
    }),
    both(
        &["D49"],
        "REGISTER of a bad pointer is EFAULT",
        &[Spapr],
        |host| {
            assert_eq!(plain(&host.rig(), REGISTER), Err(Errno::FAULT));
        },
    ),
    both(
        &["D49"],
        "REGISTER: an address that is no whole host page is EINVAL",
        &[Spapr],
        |host| {
            for more in [1, 0x1000, host.page() / 2] {
                let moved =
                    |block: SpaprRegisterMemory| good_block(block.vaddr + more, host.page());
                assert_eq!(each(host, REGISTER, moved), EINVAL);
            }
        },
    ),
    both(
        &["D49"],
        "REGISTER: a size that is no whole host pages is EINVAL",
        &[Spapr],
        |host| {
            for less in [1, 0x1000, host.page() / 2] {
                let shorter =
                    |block: SpaprRegisterMemory| good_block(block.vaddr, block.size - less);
                assert_eq!(each(host, REGISTER, shorter), EINVAL);
            }
        },
    ),
    both(
        &["D49"],
        "REGISTER: a range that wraps is EINVAL",
        &[Spapr],
        |host| {
            let answer = each(host, REGISTER, |_| good_block(wrapping(host), host.page()));
            assert_eq!(answer, EINVAL);
        },
    ),
    both(
        &["D49"],
        "REGISTER of exactly what is registered here is EBUSY",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 2);
            let locked = host.locked();
            assert_eq!(register(&rig, memory.at(), memory.len()), Err(Errno::BUSY));
            assert_eq!(host.locked(), locked);
        },
    ),
    both(
        &["D49"],
        "REGISTER of a part of what is registered is EINVAL",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 3);
            let locked = host.locked();
            for n in 0..3 {
                let answer = register(&rig, memory.at() + n * host.page(), host.page());
                assert_eq!(answer, EINVAL);
            }
            assert_eq!(host.locked(), locked);
        },
    ),
    both(
        &["D49"],
        "REGISTER of what overlaps something registered is EINVAL",
        &[Spapr],
        |host| {
            let (rig, memory) = (host.rig_of(SPAPR_TCE_V2_IOMMU), host.memory(3));
            let page = host.page();
            register(&rig, memory.at() + page, page).unwrap();
            let locked = host.locked();
            for (first, pages) in [(0, 2), (1, 2), (0, 3)] {
                let answer = register(&rig, memory.at() + first * page, pages * page);
                assert_eq!(answer, EINVAL);
            }
            assert_eq!(host.locked(), locked);
            assert_eq!(
                register(&rig, memory.at(), page),
                Ok(0),
                "beside it is fine"
            );
            assert_eq!(register(&rig, memory.at() + 2 * page, page), Ok(0));
        },
    ),
    both(
        &["D49"],
        "REGISTER of memory that is not there is EFAULT, and accounts nothing",
        &[Spapr],
        |host| {
            let rig = host.rig();
            let before = host.locked();
            assert_eq!(register(&rig, 0, host.page()), Err(Errno::FAULT));
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["D49"],
        "REGISTER of read-only memory is EFAULT",
        &[Spapr],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            memory.freeze(0..0x1_0000);
            assert_eq!(register(&rig, memory.at(), memory.len()), Err(Errno::FAULT));
        },
    ),
    both(
        &["D49"],
        "REGISTER: that it is not there is found before an overlap",
        &[Spapr],
        |host| {
            let (rig, memory) = (host.rig_of(SPAPR_TCE_V2_IOMMU), host.memory(2));
            register(&rig, memory.at() + host.page(), host.page()).unwrap();
            memory.lose(0..0x2_0000);
            assert_eq!(register(&rig, memory.at(), memory.len()), Err(Errno::FAULT));
        },
    ),
    both(
        &["P3"],
        "REGISTER of memory that is there in part answers how much of it is",
        &[Spapr],
        |host| {
            for there in [1, 3] {
                let (rig, memory) = (host.rig(), host.memory(4));
                let before = host.locked();
                memory.lose(there * 0x1_0000..0x4_0000);
                let answer = register(&rig, memory.at(), memory.len());
                assert_eq!(answer, Ok(u32::try_from(there).unwrap()));
                assert_eq!(host.locked(), before);
            }
        },
    ),
    both(
        &["P3", "C40"],
        "then nothing is registered, and nothing can be mapped",
        &[Spapr],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(2));
            memory.lose(0x1_0000..0x2_0000);
            assert_eq!(register(&rig, memory.at(), memory.len()), Ok(1));
            assert_eq!(put(&rig, 0, memory.at(), 0x1000), Err(Errno::PERM));
            let answer = unregister(&rig, memory.at(), memory.len());
            assert_eq!(answer, Err(Errno::NOENT));
            assert_eq!(register(&rig, memory.at(), host.page()), Ok(0));
        },
    ),
    both(&["H4"], "REGISTER of nothing is ENOMEM", &[Spapr], |host| {
        let (rig, memory) = (host.rig(), host.memory(1));
        assert_eq!(register(&rig, memory.at(), 0), Err(Errno::NOMEM));
    }),
    both(
        &["D50"],
        "two containers register the same memory, which is accounted once, until both have gone",
        &[Powernv, TwoGroups],
        |host| {
            let before = host.locked();
            let (first, memory) = v2(host, 2);
            let second = Rig::new(host.kernel(), host.group_id(1), SPAPR_TCE_V2_IOMMU);
            assert_eq!(register(&second, memory.at(), memory.len()), Ok(0));
            assert_eq!(host.locked() - before, memory.len());
            leave(first.kernel(), &first.group).unwrap();
            assert_eq!(host.locked() - before, memory.len());
            assert_eq!(second.map(0, &memory), Ok(0));
            leave(second.kernel(), &second.group).unwrap();
            assert_eq!(host.locked(), before);
        },
    ),
    both(
        &["D50"],
        "what another container registered overlaps, too",
        &[Spapr, TwoGroups],
        |host| {
            let (_first, memory) = v2(host, 2);
            let second = Rig::new(host.kernel(), host.group_id(1), SPAPR_TCE_V2_IOMMU);
            assert_eq!(register(&second, memory.at(), host.page()), EINVAL);
        },
    ),
    both(
        &["D50", "D51"],
        "what another container alone registered is ENOENT to UNREGISTER",
        &[Spapr, TwoGroups],
        |host| {
            let (_first, memory) = v2(host, 1);
            let second = Rig::new(host.kernel(), host.group_id(1), SPAPR_TCE_V2_IOMMU);
            let other = host.memory(1);
            register(&second, other.at(), other.len()).unwrap();
            let answer = unregister(&second, memory.at(), memory.len());
            assert_eq!(answer, Err(Errno::NOENT));
        },
    ),
    both(
        &["D50", "D52"],
        "what another container registered can be mapped",
        &[Powernv, TwoGroups],
        |host| {
            let (_first, memory) = v2(host, 1);
            let second = Rig::new(host.kernel(), host.group_id(1), SPAPR_TCE_V2_IOMMU);
            let other = host.memory(1);
            register(&second, other.at(), other.len()).unwrap();
            assert_eq!(second.map(0, &memory), Ok(0));
        },
    ),
    both(
        &["D51"],
        "UNREGISTER before any REGISTER is EPERM, before the pointer",
        &[Spapr],
        |host| {
            assert_eq!(plain(&host.rig(), UNREGISTER), Err(Errno::PERM));
        },
    ),
    both(
        &["D51"],
        "UNREGISTER: argsz below 24 is EINVAL",
        &[Spapr],
        |host| {
            let answers = |argsz| {
                each(host, UNREGISTER, |block| SpaprRegisterMemory {
                    argsz,
                    ..block
                })
            };
            assert_eq!([23, 24, 100].map(answers), [EINVAL, Ok(0), Ok(0)]);
        },
    ),
    both(
        &["D51"],
        "UNREGISTER: any flag is EINVAL",
        &[Spapr],
        |host| {
            let answer = each(host, UNREGISTER, |block| SpaprRegisterMemory {
                flags: 1,
                ..block
            });
            assert_eq!(answer, EINVAL);
        },
    ),
    both(
        &["D51"],
        "UNREGISTER of what is no whole host pages is EINVAL",
        &[Spapr],
        |host| {
            for (more, less) in [(1, 0), (0x1000, 0), (0, 1), (0, 0x1000)] {
                let moved =
                    |block: SpaprRegisterMemory| good_block(block.vaddr + more, block.size - less);
                assert_eq!(each(host, UNREGISTER, moved), EINVAL);
            }
        },
    ),
    both(
        &["D51"],
        "UNREGISTER of a part is ENOENT",
        &[Spapr],
        |host| {
            for first in [0, 1] {
                let part = |block: SpaprRegisterMemory| {
                    good_block(block.vaddr + first * host.page(), host.page())
                };
                assert_eq!(each(host, UNREGISTER, part), Err(Errno::NOENT));
            }
        },
    ),
    both(
        &["D51"],
        "UNREGISTER of more than a registration is ENOENT",
        &[Spapr],
        |host| {
            let more =
                |block: SpaprRegisterMemory| good_block(block.vaddr, block.size + host.page());
            assert_eq!(each(host, UNREGISTER, more), Err(Errno::NOENT));
        },
    ),
    both(
        &["D51"],
        "UNREGISTER of nothing is ENOENT",
        &[Spapr],
        |host| {
            let none = |block: SpaprRegisterMemory| good_block(block.vaddr, 0);
            assert_eq!(each(host, UNREGISTER, none), Err(Errno::NOENT));
        },
    ),
    both(
        &["D51"],
        "UNREGISTER gives back what was accounted, and is ENOENT the second time",
        &[Spapr],
        |host| {
            let before = host.locked();
            let (rig, memory) = v2(host, 2);
            assert_eq!(unregister(&rig, memory.at(), memory.len()), Ok(0));
            assert_eq!(host.locked(), before);
            let again = unregister(&rig, memory.at(), memory.len());
            assert_eq!(again, Err(Errno::NOENT));
            assert_eq!(register(&rig, memory.at(), host.page()), Ok(0));
        },
    ),
    both(
        &["D51b"],
        "UNREGISTER after a CREATE is ENOENT",
        &[Spapr],
        |host| {
            let rig = host.rig();
            create(&rig, 16, 1 << 30, 1).unwrap();
            assert_eq!(unregister(&rig, 0, host.page()), Err(Errno::NOENT));
        },
    ),
    both(
        &["D51b"],
        "UNREGISTER after a REMOVE is ENOENT",
        &[Spapr],
        |host| {
            let rig = host.rig();
            remove(&rig, 0).unwrap();
            assert_eq!(unregister(&rig, 0, host.page()), Err(Errno::NOENT));
        },
    ),
    both(
        &["D51b"],
        "UNREGISTER after a REGISTER that failed is ENOENT",
        &[Spapr],
        |host| {
            let rig = host.rig();
            assert_eq!(register(&rig, 1, host.page()), EINVAL);
            assert_eq!(unregister(&rig, 0, host.page()), Err(Errno::NOENT));
        },
    ),
    both(
        &["D51b"],
        "UNREGISTER of a range that wraps is ENOENT",
        &[Spapr],
        |host| {
            let answer = each(host, UNREGISTER, |_| {
                good_block(wrapping(host), host.page())
            });
            assert_eq!(answer, Err(Errno::NOENT));
        },
    ),
    both(
        &["H3", "D51"],
        "UNREGISTER of what is mapped answers 0, and it stays accounted for good",
        &[Spapr],
        |host| {
            let (rig, memory) = v2(host, 1);
            rig.map(0, &memory).unwrap();
            let locked = host.locked();
            assert_eq!(unregister(&rig, memory.at(), memory.len()), Ok(0));
            assert_eq!(host.locked(), locked);
            assert_eq!(rig.map(0x1_0000, &memory), Ok(0), "it can be mapped still");
            let again = unregister(&rig, memory.at(), memory.len());
            assert_eq!(again, Err(Errno::NOENT));
            assert_eq!(rig.unmap(0, 0x2_0000).0, Ok(0));
            assert_eq!(host.locked(), locked);
            memory.keep(); // its addresses are registered as long as the process lives
        },
    ),
];

/// Of a container with two pages that are registered (or ready to be): what is answered to the good call for them,
/// changed.
fn each(
    host: &Host,
    opcode: Opcode,
    change: impl Fn(SpaprRegisterMemory) -> SpaprRegisterMemory,
) -> Result<u32> {
    let (rig, memory) = v2(host, 2);
    if opcode == REGISTER {
        unregister(&rig, memory.at(), memory.len()).unwrap();
    }
    block(&rig, opcode, change(good_block(memory.at(), memory.len())))
}

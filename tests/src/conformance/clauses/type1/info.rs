//! B33: what GET_INFO answers.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{IOMMU_GET_INFO, IOMMU_INFO_CAPS, IOMMU_INFO_PGSIZES, TYPE1_IOMMU};

use crate::conformance::clause::Needs::{TwoGroups, Type1};
use crate::conformance::clause::{Clause, both};
use crate::conformance::host::Host;
use crate::conformance::raw::{ioctl, join};
use crate::conformance::rig::Rig;

/// Where the capabilities begin.
const HEAD: usize = 24;
/// What the capabilities are called by.
const RANGES: u16 = 1;
const MIGRATION: u16 = 2;
const ENTRIES: u16 = 3;
/// What is in the buffer before.
const BEFORE: u8 = 0xa5;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["B33"],
        "argsz below 16 is refused, and nothing is written",
        &[Type1],
        |host| {
            let rig = host.rig();
            for argsz in [0, 8, 15] {
                let (answer, bytes) = ask(&rig, argsz, 64);
                assert_eq!(answer, Err(Errno::INVAL));
                assert_eq!(bytes[4..], [BEFORE; 60]);
            }
        },
    ),
    both(
        &["B33"],
        "argsz of 16 is enough: flags, page sizes, and the need",
        &[Type1],
        |host| {
            let rig = host.rig();
            let (answer, bytes) = ask(&rig, 16, 64);
            assert_eq!(answer, Ok(0));
            assert_eq!(word(&bytes, 0), needed(host));
            assert_eq!(word(&bytes, 4), IOMMU_INFO_PGSIZES | IOMMU_INFO_CAPS);
            assert_eq!(long(&bytes, 8), page_sizes(host));
        },
    ),
    both(
        &["B33"],
        "behind argsz nothing is written",
        &[Type1],
        |host| {
            let rig = host.rig();
            for argsz in [16, 20, 24] {
                let (answer, bytes) = ask(&rig, argsz, 256);
                assert_eq!(answer, Ok(0));
                let rest = &bytes[argsz as usize..];
                assert!(rest.iter().all(|byte| *byte == BEFORE), "{argsz}: {rest:?}");
            }
        },
    ),
    both(
        &["B33"],
        "the IOMMU's page sizes are answered",
        &[Type1],
        |host| {
            let info = Info::of(&host.rig());
            assert_eq!(info.page_sizes(), page_sizes(host));
            let smallest = 1 << info.page_sizes().trailing_zeros();
            assert_eq!(smallest, host.page(), "the smallest is the host's page");
        },
    ),
    both(
        &["B33"],
        "capabilities come in their order: migration, entries, ranges",
        &[Type1],
        |host| {
            assert_eq!(Info::of(&host.rig()).ids(), [MIGRATION, ENTRIES, RANGES]);
        },
    ),
    both(&["B33"], "version 1 answers the same", &[Type1], |host| {
        let bytes = |version| Info::of(&host.rig_of(version)).0;
        assert_eq!(bytes(TYPE1_IOMMU), bytes(host.iommu()));
    }),
    both(
        &["B33"],
        "the capabilities begin right behind the struct",
        &[Type1],
        |host| {
            assert_eq!(word(&Info::of(&host.rig()).0, 16), 24);
        },
    ),
    both(
        &["B33"],
        "every capability is of version 1",
        &[Type1],
        |host| {
            let info = Info::of(&host.rig());
            let version = |at| half(&info.0, at + 2);
            assert!(info.chain().all(|at| version(at) == 1));
        },
    ),
    both(
        &["B33", "B34"],
        "migration: the smallest page, and bitmaps of up to 256 MiB",
        &[Type1],
        |host| {
            let info = Info::of(&host.rig());
            let at = info.capability(MIGRATION);
            assert_eq!(word(&info.0, at + 8), 0, "no flags");
            assert_eq!(long(&info.0, at + 16), host.page());
            assert_eq!(long(&info.0, at + 24), 1 << 28);
        },
    ),
    both(
        &["B33", "B23"],
        "entries left: fewer with each mapping",
        &[Type1],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            for n in 0..3 {
                assert_eq!(Info::of(&rig).entries_left(), 65535 - n);
                rig.map(u64::from(n) * host.page(), &memory).unwrap();
            }
        },
    ),
    both(
        &["B33", "B24"],
        "ranges: those that can be mapped, first and last address",
        &[Type1],
        |host| {
            assert_eq!(Info::of(&host.rig()).ranges(), host.type1().unwrap().ranges);
        },
    ),
    both(
        &["B33", "B19"],
        "ranges: another group like the first changes nothing",
        &[Type1, TwoGroups],
        |host| {
            let rig = host.rig();
            let before = Info::of(&rig).0;
            let second = host.group(1);
            join(rig.kernel(), &second, &rig.container).unwrap();
            assert_eq!(Info::of(&rig).0, before);
        },
    ),
    both(
        &["B33"],
        "ranges: mappings change nothing",
        &[Type1],
        |host| {
            let (rig, memory) = (host.rig(), host.memory(1));
            rig.map(0, &memory).unwrap();
            assert_eq!(Info::of(&rig).ranges(), host.type1().unwrap().ranges);
        },
    ),
    both(
        &["B33"],
        "capabilities that do not fit by a byte: success, the need, no offset",
        &[Type1],
        |host| {
            let rig = host.rig();
            let argsz = needed(host) - 1;
            let (answer, bytes) = ask(&rig, argsz, argsz as usize);
            assert_eq!(answer, Ok(0));
            assert_eq!(word(&bytes, 0), needed(host));
            assert_eq!(word(&bytes, 4), IOMMU_INFO_PGSIZES | IOMMU_INFO_CAPS);
            assert_eq!(word(&bytes, 16), 0);
            assert!(
                bytes[HEAD..].iter().all(|byte| *byte == BEFORE),
                "none is written in part"
            );
        },
    ),
    both(&["B33"], "what is needed is enough", &[Type1], |host| {
        let rig = host.rig();
        let (answer, bytes) = ask(&rig, needed(host), needed(host) as usize);
        assert_eq!((answer, word(&bytes, 16)), (Ok(0), 24));
    }),
    both(
        &["B33"],
        "with more room argsz stays, and the rest of it too",
        &[Type1],
        |host| {
            let rig = host.rig();
            let (answer, bytes) = ask(&rig, 1024, 1024);
            assert_eq!((answer, word(&bytes, 0)), (Ok(0), 1024));
            assert!(
                bytes[needed(host) as usize..]
                    .iter()
                    .all(|byte| *byte == BEFORE)
            );
        },
    ),
    both(
        &["B33"],
        "the flags that come in do not count",
        &[Type1],
        |host| {
            let rig = host.rig();
            let mut bytes = vec![0xff; 256];
            bytes[..4].copy_from_slice(&256_u32.to_ne_bytes());
            let answer = ioctl(
                rig.kernel(),
                &rig.container,
                IOMMU_GET_INFO,
                Arg::InOut(&mut bytes),
            );
            assert_eq!(answer, Ok(0));
            assert_eq!(word(&bytes, 4), IOMMU_INFO_PGSIZES | IOMMU_INFO_CAPS);
        },
    ),
];

/// A whole answer.
pub(super) struct Info(Vec<u8>);

impl Info {
    pub(super) fn of(rig: &Rig) -> Self {
        const PLENTY: u32 = 1024;
        let (answer, bytes) = ask(rig, PLENTY, PLENTY as usize);
        assert_eq!(answer, Ok(0));
        Self(bytes)
    }

    fn page_sizes(&self) -> u64 {
        long(&self.0, 8)
    }

    /// Where the capabilities are.
    fn chain(&self) -> impl Iterator<Item = usize> {
        let next = |at: u32| (at != 0).then_some(at as usize);
        std::iter::successors(next(word(&self.0, 16)), move |at| {
            next(word(&self.0, at + 4))
        })
    }

    fn ids(&self) -> Vec<u16> {
        self.chain().map(|at| half(&self.0, at)).collect()
    }

    fn capability(&self, id: u16) -> usize {
        self.chain().find(|at| half(&self.0, *at) == id).unwrap()
    }

    pub(super) fn entries_left(&self) -> u32 {
        word(&self.0, self.capability(ENTRIES) + 8)
    }

    fn ranges(&self) -> Vec<(u64, u64)> {
        let at = self.capability(RANGES);
        let count = word(&self.0, at + 8) as usize;
        let range = |n| {
            (
                long(&self.0, at + 16 + 16 * n),
                long(&self.0, at + 24 + 16 * n),
            )
        };
        (0..count).map(range).collect()
    }
}

/// What is answered with that `argsz` and room, and what is there then.
fn ask(rig: &Rig, argsz: u32, room: usize) -> (Result<u32>, Vec<u8>) {
    let mut bytes = vec![BEFORE; room];
    bytes[..4].copy_from_slice(&argsz.to_ne_bytes());
    let answer = ioctl(
        rig.kernel(),
        &rig.container,
        IOMMU_GET_INFO,
        Arg::InOut(&mut bytes),
    );
    (answer, bytes)
}

/// The struct, the headers, migration, entries (padded), and 16 bytes a range.
fn needed(host: &Host) -> u32 {
    let ranges = u32::try_from(host.type1().unwrap().ranges.len()).unwrap();
    24 + 32 + 16 + 16 + 16 * ranges
}

fn page_sizes(host: &Host) -> u64 {
    host.type1().unwrap().page_sizes
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

//! What a change would lock, beside what this process may.

use std::ops::Range;

use crate::address::{HostRange, Size};
use crate::error::{Error, ErrorKind, Result};
use crate::iommu::Domain;
use crate::kernel::{Errno, Kernel};
use crate::memlock::Account;

use super::piece::Piece;
use super::plan::Step;
use super::populate::WORTH;

/// Refuses a change that the kernel would refuse for `RLIMIT_MEMLOCK` after having pinned much of it. `plans` are made
/// one after the other.
///
/// A small one is left to the kernel, whose answer comes as soon.
pub(super) fn check(plans: &[(&Domain, &[Step<'_>])]) -> Result<()> {
    if plans.iter().map(|(_, steps)| mapped(steps)).sum::<u64>() < WORTH {
        return Ok(());
    }
    match Shortage::of(plans) {
        Some(shortage) if shortage.is_sure => {
            let error = Error::new(ErrorKind::Exhausted, "commit", "guest memory");
            Err(shortage.named(error))
        }
        _ => Ok(()),
    }
}

/// What the kernel answered to a change that was undone, with the limit that would be enough if that was what it lacked.
pub(super) fn explain(error: Error, plans: &[(&Domain, &[Step<'_>])]) -> Error {
    if error.errno() != Some(Errno::NOMEM) {
        return error;
    }
    match Shortage::of(plans) {
        Some(shortage) => shortage.named(error),
        None => error,
    }
}

/// A change takes more than the limit.
#[derive(Debug)]
struct Shortage {
    limit: u64,
    /// The limit that is enough.
    enough: u64,
    /// Whether it is certain that the kernel refuses.
    is_sure: bool,
}

impl Shortage {
    fn of(plans: &[(&Domain, &[Step<'_>])]) -> Option<Self> {
        let locks = |(domain, _): &&(&Domain, _)| domain.locks_what_is_mapped();
        let plans: Vec<_> = plans.iter().filter(locks).collect();
        let kernel = plans.first()?.0.kernel();
        let limit = kernel.memlock_limit()?;
        let account = Account::read(&**kernel);
        let locked = account.locked().filter(|_| !account.is_exempt())?;
        let steps = || plans.iter().flat_map(|(_, steps)| steps.iter());
        let most = plans.iter().map(|(_, steps)| mapped(steps)).sum::<u64>();
        if locked.saturating_add(most) <= limit {
            return None;
        }
        let accounted = Accounted::read(&**kernel);
        let all = |piece: &Piece<'_>| piece.range.size();
        let sure = |piece: &Piece<'_>| match accounted.has(piece) {
            true => all(piece),
            false => 0,
        };
        let enough = locked.saturating_add(peak(steps(), all, sure));
        let least = locked.saturating_add(peak(steps(), sure, all));
        (enough > limit).then_some(Self {
            limit,
            enough,
            is_sure: least > limit,
        })
    }

    fn named(&self, error: Error) -> Error {
        error
            .because_also(format!(
                "{} would be locked, and this process may lock {}",
                Size(self.enough),
                Size(self.limit)
            ))
            .lacking_memlock(self.enough)
    }
}

/// How many bytes are mapped.
fn mapped(steps: &[Step<'_>]) -> u64 {
    let sizes = steps.iter().map(|step| match step {
        Step::Map(piece) => piece.range.size(),
        Step::Unmap(_) => 0,
    });
    sizes.sum()
}

/// How many bytes more are locked on the way than before, at the most, where a map locks `more` and an unmap frees `less`.
fn peak<'s, 'a: 's>(
    steps: impl Iterator<Item = &'s Step<'a>>,
    more: impl Fn(&Piece<'a>) -> u64,
    less: impl Fn(&Piece<'a>) -> u64,
) -> u64 {
    let (mut now, mut peak) = (0i128, 0);
    for step in steps {
        now += match step {
            Step::Map(piece) => i128::from(more(piece)),
            Step::Unmap(pieces) => -pieces.iter().map(|it| i128::from(less(it))).sum::<i128>(),
        };
        peak = peak.max(now);
    }
    u64::try_from(peak).unwrap_or(u64::MAX)
}

/// Where this process has memory of which every page is accounted for certain: its own, and shared memory. That of a
/// device is not (B26), be it a BAR or persistent memory.
#[derive(Debug)]
struct Accounted(Vec<Range<usize>>);

impl Accounted {
    fn read(kernel: &dyn Kernel) -> Self {
        let maps = kernel.read("/proc/self/maps".as_ref()).unwrap_or_default();
        Self::of(&String::from_utf8_lossy(&maps))
    }

    fn of(maps: &str) -> Self {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for range in maps.lines().filter_map(accounted) {
            match ranges.last_mut().filter(|last| last.end == range.start) {
                Some(last) => last.end = range.end,
                None => ranges.push(range),
            }
        }
        Self(ranges)
    }

    /// Memory that is only read may be the page of zeros, which is nobody's before Linux 6.2 (B25).
    fn has(&self, piece: &Piece<'_>) -> bool {
        piece.access.writes() && piece.memory().is_some_and(|memory| self.holds(memory))
    }

    fn holds(&self, memory: HostRange) -> bool {
        let after = self.0.partition_point(|it| it.start <= memory.addr());
        let range = after.checked_sub(1).and_then(|at| self.0.get(at));
        range.is_some_and(|it| memory.last() < it.end)
    }
}

/// The addresses of a line, if its memory is accounted: `7f00-7f10 rw-p 00000000 00:00 0 `, and a path if it is a file's.
fn accounted(line: &str) -> Option<Range<usize>> {
    const SHARED: [&str; 5] = [
        "/memfd:",
        "/dev/zero",
        "/dev/shm/",
        "/dev/hugepages/",
        "/anon_hugepage",
    ];
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let (inode, path) = (words.nth(3)?, words.next().unwrap_or_default());
    let address = |text| usize::from_str_radix(text, 16).ok();
    let is_accounted = inode == "0" || SHARED.iter().any(|it| path.starts_with(it));
    is_accounted.then_some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
        10000-20000 rw-p 00000000 00:00 0 \n\
        20000-30000 rw-s 00000000 00:01 1033 /memfd:ram (deleted)\n\
        30000-40000 rw-s 00000000 00:05 7 /dev/dax0.0\n\
        40000-50000 rw-s 00000000 00:0f 12 anon_inode:[vfio-device]\n\
        50000-60000 r-xp 00000000 08:01 99 /usr/lib/libc.so.6\n\
        60000-70000 rw-p 00000000 00:00 0 [heap]\n\
        70000-80000 rw-s 00000000 00:17 3 /dev/shm/guest ram\n";

    #[test]
    fn memory_of_the_process_is_accounted_and_a_devices_is_not() {
        let accounted = Accounted::of(MAPS);
        assert_eq!(accounted.0, [0x10000..0x30000, 0x60000..0x80000]);
        for (addr, len, is) in [
            (0x10000, 0x20000, true),
            (0x18000, 0x10000, true),
            (0x2f000, 0x1001, false),
            (0xf000, 0x2000, false),
            (0x30000, 1, false),
            (0x7ffff, 1, true),
            (0x80000, 1, false),
        ] {
            let memory = HostRange::new(addr, len).unwrap();
            assert_eq!(accounted.holds(memory), is, "{memory}");
        }
        assert_eq!(Accounted::of("nothing like it\n1-2 x\n").0, []);
    }
}

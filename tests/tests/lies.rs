//! A wrong simulation is seen: lies that are told are found by a clause or by random calls, but for those that are listed
//! here with the reason.
//!
//! Each is looked for in a process of its own kind: where a mapping survives its memory, a device may reach anything of
//! the process. An argument is a part of the names of lies: only those are told.

use std::process::{Command, ExitCode, Stdio};
use std::thread;

use anyhow::{Result, bail};
use vfio_sim::{Lie, What};
use vfio_tests::conformance::{Found, Search, machines};

/// Of a hundred lies that are told, so many must be found.
const GOAL: usize = 95;

/// Those that are told and not found.
const MISSED: &[(&str, &str)] = &[
    (
        "close: leaves config space as it was",
        "opening restores config space once more",
    ),
    (
        "close: leaves the registers as it was",
        "opening resets the device once more",
    ),
    (
        "VFIO_IOMMU_UNMAP_DMA (sPAPR): leaves the registered memory as it was",
        "how often memory is mapped only shows in what a kernel must not be asked (H3)",
    ),
];

/// Answers of the table that none of the machines gives, so that nobody can lie about them.
const NEVER_GIVEN: &[(&str, &str)] = &[
    (
        "VFIO_DEVICE_SET_IRQS: ENODEV becomes ENOTTY",
        "a device without a line has no such interrupt: F81 answers first",
    ),
    (
        "VFIO_EEH_PE_OP: ENOENT becomes ENXIO",
        "every platform that is simulated can reset",
    ),
    (
        "VFIO_EEH_PE_OP: ENXIO becomes EPERM",
        "every platform that is simulated can inject errors",
    ),
    (
        "VFIO_EEH_PE_OP: EPERM becomes ERANGE",
        "another process (C38) asks for something else",
    ),
    (
        "VFIO_GROUP_GET_DEVICE_FD: EAGAIN becomes EFAULT",
        "resets take no time here, so that none holds a device (A14)",
    ),
    (
        "VFIO_GROUP_GET_DEVICE_FD: EPERM becomes EACCES",
        "groups without an IOMMU alone say so",
    ),
    (
        "VFIO_IOMMU_ENABLE: ENODEV becomes ENOMEM",
        "without a group A6 answers first",
    ),
    (
        "VFIO_IOMMU_MAP_DMA (type1): ENOSPC becomes EOVERFLOW",
        "65535 mappings are too many here: a kernel that lies keeps what it knows at each call",
    ),
    (
        "VFIO_IOMMU_MAP_DMA (type1): EOVERFLOW becomes EEXIST",
        "from Linux 6.18 on",
    ),
    (
        "VFIO_IOMMU_SPAPR_TCE_CREATE: ENXIO becomes EPERM",
        "without a group A6 answers first",
    ),
    (
        "VFIO_IOMMU_SPAPR_TCE_GET_INFO: ENXIO becomes EPERM",
        "without a group A6 answers first",
    ),
    (
        "VFIO_IOMMU_SPAPR_TCE_GET_INFO: EPERM becomes EINVAL",
        "another process (C38) asks for something else",
    ),
    (
        "VFIO_IOMMU_UNMAP_DMA (sPAPR): ENOMEM becomes ENXIO",
        "nobody unmaps first where the default window is too much to be locked (C43)",
    ),
    (
        "VFIO_IOMMU_UNMAP_DMA (type1): EBUSY becomes EFAULT",
        "mediated devices alone say so",
    ),
    (
        "VFIO_IOMMU_UNMAP_DMA (type1): EOVERFLOW becomes EBUSY",
        "from Linux 6.18 on",
    ),
    (
        "open (group): ENODEV becomes EPERM",
        "only while the group goes (A12)",
    ),
    (
        "open (group): EPERM becomes EBUSY",
        "groups without an IOMMU alone say so",
    ),
];

/// What became of a lie: `None` was the end of the process that looked for it.
type Fate = Option<Found>;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [word, from, to] if word == CHILD => look(from, to).map(|()| true),
        rest => judge(rest.iter().find(|it| !it.starts_with('-'))),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// As a process of its own: looks for some of the lies, and says of each what became of it.
const CHILD: &str = "--look";

fn look(from: &str, to: &str) -> Result<()> {
    let (from, to) = (from.parse::<usize>()?, to.parse::<usize>()?);
    let search = Search::on(machines());
    for lie in Lie::all().take(to).skip(from) {
        println!("{:?}", search.look_for(lie)?);
    }
    Ok(())
}

/// Lets others look for lies, in processes that may come to their end by it, and says whether enough are found.
fn judge(filter: Option<&String>) -> Result<bool> {
    let all: Vec<_> = Lie::all().collect();
    let is_wanted = |lie: &Lie| filter.is_none_or(|filter| lie.to_string().contains(filter));
    let wanted: Vec<_> = (0..all.len()).filter(|n| is_wanted(&all[*n])).collect();
    let first = wanted.first().copied().unwrap_or(0);
    let last = wanted.last().map_or(0, |last| last + 1);
    let middle = first + (last - first) / 2;
    let fates = thread::scope(|scope| {
        let halves = [(first, middle), (middle, last)];
        let running = halves.map(|(from, to)| scope.spawn(move || fates(from, to)));
        let fates: Result<Vec<_>> = running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| bail!("a search has panicked"))
            })
            .collect();
        anyhow::Ok(fates?.concat())
    })?;
    let fates: Vec<_> = (first..last)
        .zip(fates)
        .filter(|(n, _)| is_wanted(&all[*n]))
        .collect();
    let of = |fate: Fate| {
        let fates = fates.iter().filter(move |(_, it)| *it == fate);
        fates.map(|(n, _)| all[*n])
    };
    let missed = unexplained("missed", of(Some(Found::Missed)), MISSED);
    // Not every number decides something, and not every call changes every part; but every answer is there to be given.
    let is_answer = |lie: &Lie| matches!(lie.what, What::Swapped { .. });
    let silent = of(Some(Found::NeverTold)).filter(is_answer);
    let silent = unexplained("never given", silent, NEVER_GIVEN);

    let count = |fate| of(fate).count();
    let (clauses, random) = (
        count(Some(Found::ByClause)),
        count(Some(Found::ByRandomCalls)),
    );
    let (ends, never) = (count(None), count(Some(Found::NeverTold)));
    let found = clauses + random + ends;
    let told = found + count(Some(Found::Missed));
    println!(
        "{found} of {told} lies found: {clauses} by clauses, {random} by random calls, {ends} by the end of the process; \
         {never} never told"
    );
    Ok(missed + silent == 0 && found * 100 >= told * GOAL)
}

/// What became of the lies from one to before another.
fn fates(from: usize, to: usize) -> Result<Vec<Fate>> {
    let mut fates = Vec::new();
    while from + fates.len() < to {
        let next = (from + fates.len()).to_string();
        let output = Command::new(std::env::current_exe()?)
            .args([CHILD, &next, &to.to_string()])
            .stderr(Stdio::inherit())
            .output()?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            fates.push(Some(match line {
                "ByClause" => Found::ByClause,
                "ByRandomCalls" => Found::ByRandomCalls,
                "Missed" => Found::Missed,
                "NeverTold" => Found::NeverTold,
                line => bail!("the search has said {line:?}"),
            }));
        }
        match output.status.code() {
            Some(0) => {}
            None => fates.push(None), // a signal
            Some(status) => bail!("the search has ended with status {status}"),
        }
    }
    Ok(fates)
}

/// Says what became of lies, with the reason; answers how many have none.
fn unexplained(heading: &str, lies: impl Iterator<Item = Lie>, reasons: &[(&str, &str)]) -> usize {
    let mut count = 0;
    for lie in lies.map(|lie| lie.to_string()) {
        let reason = reasons.iter().find(|(known, _)| *known == lie);
        count += usize::from(reason.is_none());
        let reason = reason.map_or("and nobody knows why", |(_, reason)| *reason);
        println!("{heading}: {lie}: {reason}");
    }
    count
}

//! How long it takes to map a guest's memory, and to merge dirty pages, beside a peer.
//!
//! Times are compared with times of the same run alone: pairs are timed in turns, and a goal is one for the median of
//! the pairs. On a busy machine it can be missed; no test asks for it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Goal, Measured, PEER, programs};
use crate::lab::{Machine, Request};
use crate::ui::Ui;
use crate::workspace;

/// What the program is asked to map, and how the table calls it.
const MAPS: [(&str, &str, Goal); 4] = [
    (
        "cold small",
        "microseconds to map 512 MiB that is not there yet, of 4 KiB pages",
        Goal::AtMost(0.75),
    ),
    (
        "cold huge",
        "the same of transparent huge pages",
        Goal::AtMost(0.6),
    ),
    (
        "present small",
        "microseconds to map 512 MiB that is there, of 4 KiB pages",
        Goal::AtMost(1.05),
    ),
    (
        "present huge",
        "the same of transparent huge pages",
        Goal::MoreByAtMost(1000), // 2 ms a GiB
    ),
];

/// Longer than all of it takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(1200);

const MERGE: &str = "microseconds to merge the dirty pages of a guest of 1 TiB, in 1 word of 1,000";

pub(super) fn measure(ui: &Ui) -> Result<Vec<Measured>> {
    let mut measured = maps(ui)?;
    measured.push(merge(ui)?);
    Ok(measured)
}

/// On a real kernel, in a machine with two processors whose memory is all there: else whoever touches a page first pays
/// for the emulator's. Memory may be locked without a limit: what it costs to look at one is the same for any size, half
/// a millisecond in that machine, and the goals are for each byte.
fn maps(ui: &Ui) -> Result<Vec<Measured>> {
    let machine = Machine::find("x86_64").context("there is no machine x86_64")?;
    let runs = MAPS.map(|(what, ..)| format!(" && /bin/times map $BDF $BDF2 {what}"));
    let script = format!("ulimit -l unlimited{}", runs.concat());
    let request = Request {
        devices: ["edu", "nvme"].map(str::to_owned).to_vec(),
        cpus: 2,
        timeout: LIMIT,
        memory: Some("2G".to_owned()),
        qemu_args: vec!["-mem-prealloc".to_owned()],
        ..Request::new(machine, ["sh", "-c", &script])
    };
    let output = programs::in_machine("times", request, ui)?;
    let of = |(what, name, goal)| {
        let pairs = pairs(&output, &format!("map {what}"))?;
        Ok(Measured::of_pairs(name, "microseconds", &pairs, PEER, goal))
    };
    MAPS.into_iter().map(of).collect()
}

/// On this machine: it needs no device.
fn merge(ui: &Ui) -> Result<Measured> {
    let program = programs::native("times", ui)?;
    let _step = ui.step("time a merge");
    let (success, output) = workspace::output(Command::new(program).arg("merge"))?;
    ensure!(success, "time a merge:\n{output}");
    let pairs = pairs(&output, "merge")?;
    let peer = "a read of as many bytes";
    Ok(Measured::of_pairs(
        MERGE,
        "microseconds",
        &pairs,
        peer,
        Goal::AtMost(2.0),
    ))
}

/// The pairs of this name that a program has printed.
fn pairs(output: &str, what: &str) -> Result<Vec<(u64, u64)>> {
    let lines = output.lines().filter_map(programs::line);
    let lines = lines.filter(|(name, ..)| *name == what);
    let pairs: Vec<_> = lines.map(|(_, ours, peer)| (ours, peer)).collect();
    ensure!(!pairs.is_empty(), "{what} was not measured:\n{output}");
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_those_of_one_name() {
        let output = "boot\nmap cold small\t5\t10\r\nmap cold huge\t1\t2\nmap cold small\t6\t10\n";
        assert_eq!(pairs(output, "map cold small").unwrap(), [(5, 10), (6, 10)]);
        assert!(pairs(output, "map present small").is_err());
    }
}

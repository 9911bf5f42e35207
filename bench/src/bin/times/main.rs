//! How long something takes, beside a peer, in pairs: `times map FIRST SECOND cold|present small|huge`, a guest's memory
//! mapped for two devices of different groups, or `times merge`, a bitmap of dirty pages merged into another.
//!
//! Prints a line a pair: what was measured, ours, the peer's, in microseconds, with tabs between them.

mod map;
mod memory;
mod merge;
mod pairs;

use std::env::args;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let pairs = match words[..] {
        ["map", first, second, state, pages] => {
            let kind = memory::Kind::parse(state, pages)?;
            map::measure(first.parse()?, second.parse()?, kind)?
        }
        ["merge"] => merge::measure()?,
        _ => bail!("what? map FIRST SECOND cold|present small|huge, or merge"),
    };
    let what = words.iter().filter(|word| !word.contains(':'));
    let what = what.copied().collect::<Vec<_>>().join(" ");
    for (ours, peer) in pairs {
        println!("{what}\t{}\t{}", ours.as_micros(), peer.as_micros());
    }
    Ok(())
}

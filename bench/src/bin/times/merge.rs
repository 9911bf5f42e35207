//! The dirty pages of a guest of 1 TiB, few as they are while it is moved, are merged into a bitmap that somebody has;
//! beside it, as many bytes are read.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vfio_core::address::{Iova, IovaRange};
use vfio_core::iommu::DirtyBitmap;

use super::pairs::{self, time};

const GUEST: u64 = 1 << 40;
const PAGE: u64 = 4096;
const WORDS: usize = (GUEST / PAGE / 64) as usize;
/// One word in so many has a dirty page.
const RARE: usize = 1000;
/// So many bitmaps take turns, more than a cache holds: what is measured is memory.
const BITMAPS: usize = 8;
/// So many pairs are timed.
const PAIRS: usize = 41;

pub fn measure() -> Result<Vec<(Duration, Duration)>> {
    let range = IovaRange::new(Iova(0), GUEST).context("a range")?;
    let mut into = DirtyBitmap::new(range, PAGE)?;
    let word = |n: usize| if n % RARE == 0 { 1 << (n % 64) } else { 0 };
    let bitmap: Vec<u64> = (0..WORDS).map(word).collect();
    let bitmaps = vec![bitmap; BITMAPS];
    let turns = || bitmaps.iter().cycle();
    let (mut merged, mut read) = (turns(), turns().skip(BITMAPS / 2));
    let pairs = pairs::measure(
        PAIRS,
        || {
            let words = merged.next().context("no bitmap")?;
            let (took, merged) = time(|| into.merge_words(Iova(0), words));
            merged?;
            Ok(took)
        },
        || {
            let words = read.next().context("no bitmap")?;
            let (took, _) = time(|| words.iter().fold(0, |all, word| all ^ word));
            Ok(took)
        },
    )?;
    let dirty = into.count();
    ensure!(dirty == WORDS.div_ceil(RARE) as u64, "{dirty} are dirty");
    Ok(pairs)
}

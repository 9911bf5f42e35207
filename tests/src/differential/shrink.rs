//! The shortest sequence that still differs.

use anyhow::Result;

use super::sequence::Sequence;

/// Leaves out calls, many at a time and then one by one, as long as `differs` says so of what is left; and the limit,
/// if it has nothing to do with it.
pub(super) fn shrink(
    sequence: Sequence,
    differs: impl Fn(&Sequence) -> Result<bool>,
) -> Result<Sequence> {
    let mut shortest = sequence;
    let mut piece = shortest.calls.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < shortest.calls.len() {
            let mut fewer = shortest.calls.clone();
            fewer.drain(at..(at + piece).min(fewer.len()));
            let fewer = shortest.with(fewer);
            if !fewer.calls.is_empty() && differs(&fewer)? {
                shortest = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    let unlimited = Sequence {
        memlock: None,
        ..shortest.clone()
    };
    Ok(if shortest.memlock.is_some() && differs(&unlimited)? {
        unlimited
    } else {
        shortest
    })
}

//! The shortest sequence that still differs.

use anyhow::Result;

use super::call::Call;

/// Leaves out calls, many at a time and then one by one, as long as `differs` says so of what is left.
pub(super) fn shrink(
    calls: &[Call],
    differs: impl Fn(&[Call]) -> Result<bool>,
) -> Result<Vec<Call>> {
    let mut calls = calls.to_vec();
    let mut piece = calls.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < calls.len() {
            let mut fewer = calls.clone();
            fewer.drain(at..(at + piece).min(calls.len()));
            if !fewer.is_empty() && differs(&fewer)? {
                calls = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    Ok(calls)
}

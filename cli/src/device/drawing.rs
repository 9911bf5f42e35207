//! A BAR as a picture: its slices in a row.

use super::report::SliceName;

/// How wide a picture is, unless there are more slices than that.
const WIDTH: usize = 64;

/// What a slice is drawn with.
pub(super) fn glyph(kind: SliceName) -> char {
    match kind {
        SliceName::Mapped => '#',
        SliceName::Trapped => '.',
        SliceName::Table => 'T',
        SliceName::Pending => 'P',
    }
}

/// Slices of these kinds and sizes: each as wide as it is large, and at least one character.
pub(super) fn draw(slices: &[(SliceName, u64)]) -> String {
    let sizes: Vec<u64> = slices.iter().map(|(_, size)| *size).collect();
    let drawn = slices.iter().zip(widths(&sizes, WIDTH));
    drawn
        .flat_map(|((kind, _), width)| std::iter::repeat_n(glyph(*kind), width))
        .collect()
}

/// So many characters shared out by size. What is left over goes to the largest.
fn widths(sizes: &[u64], width: usize) -> Vec<usize> {
    let free = width.saturating_sub(sizes.len());
    let total: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    let share = |size: &u64| {
        let part = u128::from(*size) * free as u128 / total.max(1);
        1 + usize::try_from(part).unwrap_or(free)
    };
    let mut widths: Vec<usize> = sizes.iter().map(share).collect();
    let left = width.saturating_sub(widths.iter().sum());
    let largest = (0..sizes.len()).max_by_key(|at| sizes.get(*at));
    if let Some(width) = largest.and_then(|at| widths.get_mut(at)) {
        *width += left;
    }
    widths
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_picture_has_the_slices_in_their_order() {
        let drawn = draw(&[
            (SliceName::Mapped, 0x2000),
            (SliceName::Table, 0x410),
            (SliceName::Trapped, 0xbf0),
            (SliceName::Pending, 0x10),
        ]);
        assert_eq!(drawn.len(), WIDTH);
        let mut kinds: Vec<char> = drawn.chars().collect();
        kinds.dedup();
        assert_eq!(kinds, ['#', 'T', '.', 'P']);
        assert_eq!(draw(&[(SliceName::Mapped, u64::MAX)]), "#".repeat(WIDTH));
    }

    proptest! {
        #[test]
        fn every_slice_is_seen_and_the_width_is_kept(sizes in prop::collection::vec(1_u64.., 1..100)) {
            let widths = widths(&sizes, WIDTH);
            prop_assert!(widths.iter().all(|width| *width > 0));
            prop_assert_eq!(widths.iter().sum::<usize>(), WIDTH.max(sizes.len()));
            let pairs = sizes.iter().zip(&widths);
            for (one, other) in pairs.clone().zip(pairs.skip(1)) {
                if one.0 < other.0 {
                    prop_assert!(one.1 <= other.1);
                }
            }
        }
    }
}

//! What is no longer to be reached, and what is to be.

use super::piece::Piece;

/// The bytes in which two states differ, the lowest addresses first.
#[derive(Debug, Default)]
pub(super) struct Change<'a> {
    /// Reached before, and not afterwards, or not so.
    pub(super) gone: Vec<Piece<'a>>,
    /// Reached afterwards, and not before, or not so.
    pub(super) come: Vec<Piece<'a>>,
}

impl<'a> Change<'a> {
    /// From some pieces to others: each in the order of their addresses, and none overlaps another of its state.
    pub(super) fn between(old: &[Piece<'a>], new: &[Piece<'a>]) -> Self {
        Self {
            gone: without_alike(old, new, stays),
            come: without_alike(new, old, |new, old| stays(old, new)),
        }
    }
}

/// Whether what was there stays as it was. Another device's memory may not have been mapped: what must be mapped comes anew.
fn stays(old: &Piece<'_>, new: &Piece<'_>) -> bool {
    old.is_like(new) && (new.section.is_peer() || !old.section.is_peer())
}

/// What some pieces have that others have not, or not alike.
fn without_alike<'a>(
    some: &[Piece<'a>],
    others: &[Piece<'a>],
    is_alike: impl Fn(&Piece<'a>, &Piece<'a>) -> bool,
) -> Vec<Piece<'a>> {
    let mut left = Vec::new();
    let mut next = 0;
    for piece in some {
        let mut rest = Some(*piece);
        // Others that end before this piece begins do so for the pieces after it too.
        while others
            .get(next)
            .is_some_and(|it| it.range.last() < piece.range.first())
        {
            next += 1;
        }
        let near = others.iter().skip(next);
        for other in near.take_while(|it| it.range.first() <= piece.range.last()) {
            let Some(now) = rest.filter(|now| now.range.overlaps(other.range)) else {
                continue;
            };
            if is_alike(&now, other) {
                let (before, after) = split(now, other);
                left.extend(before);
                rest = after;
            }
        }
        left.extend(rest);
    }
    left
}

/// What is before and after another that it overlaps.
fn split<'a>(piece: Piece<'a>, by: &Piece<'a>) -> (Option<Piece<'a>>, Option<Piece<'a>>) {
    let (mut before, mut after) = (None, None);
    for part in piece.outside(by.range) {
        match part.range.first() < by.range.first() {
            true => before = Some(part),
            false => after = Some(part),
        }
    }
    (before, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{HostRange, Iova, IovaRange};
    use crate::guest::{Block, Section};

    fn block() -> Block {
        static MEMORY: [u8; 0x1000] = [0; 0x1000];
        let range = HostRange::new(MEMORY.as_ptr() as usize, MEMORY.len()).unwrap();
        #[allow(unsafe_code)] // nothing is mapped
        // SAFETY: it is there as long as the program, and no device reaches it.
        unsafe {
            Block::new(range, ())
        }
    }

    fn ram(block: &Block, first: u64, last: u64, offset: usize) -> Section {
        let range = IovaRange::inclusive(Iova(first), Iova(last)).unwrap();
        Section::ram(range, block, offset).unwrap()
    }

    fn shown(pieces: &[Piece<'_>], block: &Block) -> Vec<(u64, u64, usize)> {
        let of = |it: &Piece<'_>| {
            let place = it.host - block.range().addr();
            (it.range.first().0, it.range.last().0, place)
        };
        pieces.iter().map(of).collect()
    }

    type Shown = Vec<(u64, u64, usize)>;

    fn between(block: &Block, old: &[Section], new: &[Section]) -> (Shown, Shown) {
        fn pieces(sections: &[Section]) -> Vec<Piece<'_>> {
            sections.iter().map(|it| it.piece().unwrap()).collect()
        }
        let (old, new) = (pieces(old), pieces(new));
        let change = Change::between(&old, &new);
        (shown(&change.gone, block), shown(&change.come, block))
    }

    #[test]
    fn what_stays_is_in_neither() {
        let it = block();
        let old = [ram(&it, 0x100, 0x1ff, 0x100)];
        assert_eq!(between(&it, &old, &old), (vec![], vec![]));
        let larger = [ram(&it, 0x080, 0x2ff, 0x080)];
        let grown = vec![(0x80, 0xff, 0x80), (0x200, 0x2ff, 0x200)];
        assert_eq!(between(&it, &old, &larger), (vec![], grown.clone()));
        assert_eq!(between(&it, &larger, &old), (grown, vec![]));
        let parts = [ram(&it, 0x100, 0x13f, 0x100), ram(&it, 0x180, 0x1ff, 0x180)];
        let hole = vec![(0x140, 0x17f, 0x140)];
        assert_eq!(between(&it, &old, &parts), (hole, vec![]));
    }

    #[test]
    fn other_memory_or_rights_are_a_change() {
        let (it, other) = (block(), block());
        let old = [ram(&it, 0x100, 0x1ff, 0x100)];
        let all = vec![(0x100, 0x1ff, 0x100)];
        let elsewhere = [ram(&it, 0x100, 0x1ff, 0x101)];
        assert_eq!(
            between(&it, &old, &elsewhere),
            (all.clone(), vec![(0x100, 0x1ff, 0x101)])
        );
        let new_block = [ram(&other, 0x100, 0x1ff, 0x100)];
        assert_eq!(between(&it, &old, &new_block), (all.clone(), all.clone()));
        let read_only = [Section::rom(old[0].range(), &it, 0x100).unwrap()];
        assert_eq!(between(&it, &old, &read_only), (all.clone(), all));
    }
}

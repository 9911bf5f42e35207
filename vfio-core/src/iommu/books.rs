//! What is mapped where: the part of the contract that is the same on every platform.

use crate::address::{Access, Iova, IovaRange};

use super::origin::Origin;
use super::ranges::Ranges;

/// Whether a mapping is at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Mapped,
    /// Being mapped or unmapped at this moment.
    Changing,
}

/// What is known of a mapping.
#[derive(Debug, Clone, Copy)]
struct Entry {
    state: State,
    /// What the guest lets devices do, if it has mapped this in its own IOMMU.
    access: Option<Access>,
    /// And where in the guest the memory is.
    guest: Iova,
}

impl Entry {
    #[inline]
    fn changing(origin: Option<Origin>) -> Self {
        Self {
            state: State::Changing,
            access: origin.map(|it| it.access),
            guest: origin.map_or(Iova(0), |it| it.guest),
        }
    }

    fn origin(&self) -> Option<Origin> {
        let guest = self.guest;
        self.access.map(|access| Origin { guest, access })
    }
}

/// The live mappings and the reserved addresses of one domain.
#[derive(Debug, Default)]
pub(super) struct Books {
    mapped: Ranges<Entry>,
    reserved: Ranges<()>,
}

/// Why a range cannot be unmapped.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotUnmapped {
    /// A mapping is only partly inside.
    Bisects(IovaRange),
    /// Another thread is mapping or unmapping it.
    Changing(IovaRange),
}

impl Books {
    /// Takes a range for a mapping that is about to be made; answers the mapping in the way.
    #[inline(always)] // the usual way to map
    pub(super) fn begin_map(
        &mut self,
        range: IovaRange,
        origin: Option<Origin>,
    ) -> Result<(), IovaRange> {
        self.mapped.insert(range, Entry::changing(origin))
    }

    /// Takes the one mapping of that very range that is about to be unmapped, if there is one at rest.
    #[inline(always)] // the usual way to unmap
    pub(super) fn begin_unmap_one(&mut self, range: IovaRange) -> bool {
        self.mapped.get_mut(range).is_some_and(|entry| {
            std::mem::replace(&mut entry.state, State::Changing) == State::Mapped
        })
    }

    /// The same, of one that the guest has made in its own IOMMU.
    #[inline]
    pub(super) fn begin_unmap_translated(&mut self, range: IovaRange) -> bool {
        self.mapped.get_mut(range).is_some_and(|entry| {
            let is_one = entry.state == State::Mapped && entry.access.is_some();
            if is_one {
                entry.state = State::Changing;
            }
            is_one
        })
    }

    /// The same, of whole pages of one that the guest has made, which becomes several.
    pub(super) fn begin_unmap_part(&mut self, range: IovaRange) -> bool {
        let mapping = self.mapped.overlapping(range);
        match mapping.filter(|it| it.contains(range)) {
            Some(mapping) if self.is_translated(mapping) => {
                self.cut(range);
                self.begin_unmap_translated(range)
            }
            _ => false,
        }
    }

    fn is_translated(&mut self, mapping: IovaRange) -> bool {
        let entry = self.mapped.get_mut(mapping);
        entry.is_some_and(|entry| entry.access.is_some())
    }

    /// Writes a mapping at rest down as two, where a range begins or ends inside of it.
    pub(super) fn cut(&mut self, range: IovaRange) {
        self.cut_at(range.first());
        if let Some(behind) = range.last().0.checked_add(1) {
            self.cut_at(Iova(behind));
        }
    }

    fn cut_at(&mut self, at: Iova) {
        let found = IovaRange::new(at, 1).and_then(|edge| self.mapped.overlapping(edge));
        let Some(mapping) = found.filter(|it| it.first() < at) else {
            return;
        };
        let entry = self.mapped.get_mut(mapping).map(|entry| *entry);
        let Some(entry) = entry.filter(|entry| entry.state == State::Mapped) else {
            return;
        };
        let before = IovaRange::inclusive(mapping.first(), Iova(at.0 - 1));
        let after = IovaRange::inclusive(at, mapping.last());
        self.mapped.remove(mapping);
        for part in before.into_iter().chain(after) {
            let origin = entry.origin().map(|it| it.of_part(mapping, part));
            let changed = Entry {
                state: State::Mapped,
                ..Entry::changing(origin)
            };
            // Nothing is in the way: it was all one.
            let _ = self.mapped.insert(part, changed);
        }
    }

    /// Takes the one mapping of that very range, or a range for one that somebody else has made; answers whether it was
    /// known, or the mapping in the way.
    #[cold]
    pub(super) fn begin_renew(&mut self, range: IovaRange) -> Result<bool, IovaRange> {
        match self.begin_unmap_one(range) {
            true => Ok(true),
            false => self.begin_map(range, None).map(|()| false),
        }
    }

    /// Takes the whole mappings inside a range that are about to be unmapped: answers them, the lowest first.
    pub(super) fn begin_unmap(&mut self, range: IovaRange) -> Result<Vec<IovaRange>, NotUnmapped> {
        let edges = [range.first(), range.last()];
        for edge in edges.into_iter().filter_map(|at| IovaRange::new(at, 1)) {
            if let Some(mapping) = self.mapped.overlapping(edge) {
                if !range.contains(mapping) {
                    return Err(NotUnmapped::Bisects(mapping));
                }
            }
        }
        let inside = self.mapped.starting_in(range);
        let mut busy = inside
            .iter()
            .filter(|(_, entry)| entry.state == State::Changing);
        if let Some(&(busy, _)) = busy.next() {
            return Err(NotUnmapped::Changing(busy));
        }
        let take = |(mapping, entry): (_, &mut Entry)| {
            entry.state = State::Changing;
            mapping
        };
        Ok(inside.into_iter().map(take).collect())
    }

    /// The mappings that have an address in a range, the lowest first.
    pub(super) fn overlapping(&mut self, range: IovaRange) -> Vec<IovaRange> {
        let edge = IovaRange::new(range.first(), 1);
        let before = edge.and_then(|edge| self.mapped.overlapping(edge));
        let before = before.filter(|it| it.first() < range.first());
        let inside = self.mapped.starting_in(range);
        let inside = inside.into_iter().map(|(mapping, _)| mapping);
        before.into_iter().chain(inside).collect()
    }

    /// Those of them that the guest has mapped in its own IOMMU.
    pub(super) fn translated(&mut self, range: IovaRange) -> Vec<(IovaRange, Origin)> {
        let found = self.overlapping(range).into_iter();
        let found = found.filter_map(|it| Some((it, self.mapped.get_mut(it)?.origin()?)));
        found.collect()
    }

    /// The first mapping that begins behind an address.
    pub(super) fn next(&self, after: Iova) -> Option<IovaRange> {
        self.mapped.next(after)
    }

    /// From the first mapping that has an address in a range to the last one behind it, so that all is of at most
    /// `enough` bytes; the first one may be larger.
    pub(super) fn first_run(&self, range: IovaRange, enough: u64) -> Option<IovaRange> {
        let next = |after| self.next(after).filter(|it| it.overlaps(range));
        let edge = IovaRange::new(range.first(), 1)?;
        let mut run = self
            .mapped
            .overlapping(edge)
            .or_else(|| next(range.first()))?;
        while let Some(more) = next(run.last()) {
            match IovaRange::inclusive(run.first(), more.last()) {
                Some(longer) if longer.size() <= enough => run = longer,
                _ => break,
            }
        }
        Some(run)
    }

    /// How many mappings there are.
    pub(super) fn count(&self) -> u64 {
        self.mapped.len() as u64
    }

    /// The change of one range is over: it is mapped now, or it is not.
    #[inline]
    pub(super) fn finish(&mut self, range: IovaRange, mapped: bool) {
        if !mapped {
            self.mapped.remove(range);
        } else if let Some(entry) = self.mapped.get_mut(range) {
            entry.state = State::Mapped;
        }
    }

    /// Reserves `size` bytes at the lowest free place inside `within` that is aligned to `align`, a power
    /// of two. Address 0 is never given out: to many devices it means "no buffer".
    pub(super) fn reserve(
        &mut self,
        within: IovaRange,
        size: u64,
        align: u64,
    ) -> Option<IovaRange> {
        let within = IovaRange::inclusive(within.first().max(Iova(1)), within.last())?;
        let range = within.lowest_free(size, align, |range| self.in_use(range))?;
        self.reserved.insert(range, ()).ok()?;
        Some(range)
    }

    /// Reserves these very addresses; answers the mapping or reservation in the way.
    pub(super) fn reserve_at(&mut self, range: IovaRange) -> Result<(), IovaRange> {
        match self.in_use(range) {
            Some(taken) => Err(taken),
            None => self.reserved.insert(range, ()),
        }
    }

    /// A mapping or reservation that overlaps `range`.
    pub(super) fn in_use(&self, range: IovaRange) -> Option<IovaRange> {
        let mapped = self.mapped.overlapping(range);
        mapped.or_else(|| self.reserved.overlapping(range))
    }

    pub(super) fn unreserve(&mut self, range: IovaRange) {
        self.reserved.remove(range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(first: u64, last: u64) -> IovaRange {
        IovaRange::inclusive(Iova(first), Iova(last)).unwrap()
    }

    fn mapped(books: &mut Books, first: u64, last: u64) {
        books.begin_map(range(first, last), None).unwrap();
        books.finish(range(first, last), true);
    }

    #[test]
    fn an_overlap_is_refused_and_named() {
        let mut books = Books::default();
        mapped(&mut books, 0x2000, 0x3fff);
        for (first, last) in [
            (0x1000, 0x2000),
            (0x3fff, 0x5000),
            (0, 0x9000),
            (0x2800, 0x2fff),
        ] {
            assert_eq!(
                books.begin_map(range(first, last), None),
                Err(range(0x2000, 0x3fff))
            );
        }
        mapped(&mut books, 0x1000, 0x1fff);
        mapped(&mut books, 0x4000, 0x4fff);
    }

    #[test]
    fn an_unmap_takes_whole_mappings_or_none() {
        let mut books = Books::default();
        mapped(&mut books, 0x1000, 0x1fff);
        mapped(&mut books, 0x4000, 0x5fff);
        for bisecting in [
            range(0x1000, 0x17ff),
            range(0, 0x4fff),
            range(0x4800, 0x4fff),
        ] {
            assert!(matches!(
                books.begin_unmap(bisecting),
                Err(NotUnmapped::Bisects(_))
            ));
        }
        let all = books.begin_unmap(range(0, u64::MAX)).unwrap();
        let inside = [range(0x1000, 0x1fff), range(0x4000, 0x5fff)];
        assert_eq!(all, inside);
        assert!(matches!(
            books.begin_unmap(range(0, u64::MAX)),
            Err(NotUnmapped::Changing(_))
        ));
        books.finish(inside[0], true);
        books.finish(inside[1], false);
        assert_eq!(books.begin_unmap(range(0, u64::MAX)).unwrap(), [inside[0]]);
        assert!(!books.begin_unmap_one(inside[0]));
        books.finish(inside[0], true);
        assert!(!books.begin_unmap_one(range(0x1000, 0x2fff)));
        assert!(books.begin_unmap_one(inside[0]));
    }

    #[test]
    fn a_reservation_avoids_mappings_reservations_and_address_zero() {
        let mut books = Books::default();
        mapped(&mut books, 0x2000, 0x2fff);
        let within = range(0, 0x5fff);
        let mut places = Vec::new();
        while let Some(place) = books.reserve(within, 0x1000, 0x1000) {
            places.push(place.first().0);
        }
        assert_eq!(places, [0x1000, 0x3000, 0x4000, 0x5000]);
        books.unreserve(range(0x4000, 0x4fff));
        assert_eq!(
            books.reserve(range(0x1000, 0x5fff), 0x800, 0x800),
            Some(range(0x4000, 0x47ff))
        );
        assert_eq!(
            books.reserve(range(u64::MAX - 0xfff, u64::MAX), 0x2000, 0x1000),
            None
        );
    }

    /// The same in the simplest way: lists that are searched from end to end.
    #[derive(Debug, Default)]
    struct Model {
        mapped: Vec<(IovaRange, State)>,
        reserved: Vec<IovaRange>,
    }

    impl Model {
        fn mapped_in(&self, range: IovaRange) -> impl Iterator<Item = (IovaRange, State)> {
            let mapped = self.mapped.iter().copied();
            mapped.filter(move |(known, _)| known.overlaps(range))
        }

        fn is_used(&self, range: IovaRange) -> bool {
            let reserved = self.reserved.iter().any(|known| known.overlaps(range));
            reserved || self.mapped_in(range).next().is_some()
        }

        fn set(&mut self, range: IovaRange, state: Option<State>) {
            self.mapped.retain(|(known, _)| *known != range);
            self.mapped.extend(state.map(|state| (range, state)));
        }

        /// The lowest place.
        fn place(&self, within: IovaRange, size: u64, align: u64) -> Option<IovaRange> {
            (within.first().0.max(1)..=within.last().0)
                .filter(|start| start % align == 0)
                .filter_map(|start| IovaRange::new(Iova(start), size))
                .find(|&place| within.contains(place) && !self.is_used(place))
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Map(IovaRange),
        Unmap(IovaRange),
        /// Of those that are changing, this one; whether it is mapped now.
        Finish(prop::sample::Index, bool),
        Reserve(IovaRange, u64, u64),
        ReserveAt(IovaRange),
        Unreserve(prop::sample::Index),
    }

    fn any_range() -> impl Strategy<Value = IovaRange> {
        (0..60u64, 0..8u64).prop_map(|(first, more)| range(first, first + more))
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any_range().prop_map(Step::Map),
            2 => any_range().prop_map(Step::Unmap),
            1 => (0..60u64, 0..60u64).prop_map(|(a, b)| Step::Unmap(range(a.min(b), a.max(b)))),
            5 => (any::<prop::sample::Index>(), prop::bool::weighted(0.7))
                .prop_map(|(which, mapped)| Step::Finish(which, mapped)),
            1 => (any_range(), 1..6u64, 0..3u32)
                .prop_map(|(within, size, shift)| Step::Reserve(within, size, 1 << shift)),
            1 => any_range().prop_map(Step::ReserveAt),
            1 => any::<prop::sample::Index>().prop_map(Step::Unreserve),
        ]
    }

    fn unmap(books: &mut Books, model: &mut Model, range: IovaRange) {
        let inside: Vec<_> = model.mapped_in(range).collect();
        let changing = |&(_, state): &(IovaRange, State)| state == State::Changing;
        let very = inside == [(range, State::Mapped)];
        assert_eq!(books.begin_unmap_one(range), very);
        if very {
            model.set(range, Some(State::Changing));
            return;
        }
        match books.begin_unmap(range) {
            Ok(taken) => {
                let mut expected: Vec<_> = inside.iter().map(|&(known, _)| known).collect();
                expected.sort_by_key(|known| known.first());
                assert_eq!(taken, expected);
                assert!(
                    inside
                        .iter()
                        .all(|one| !changing(one) && range.contains(one.0))
                );
                for known in taken {
                    model.set(known, Some(State::Changing));
                }
            }
            Err(NotUnmapped::Bisects(by)) => {
                assert!(!range.contains(by) && inside.iter().any(|&(known, _)| known == by));
            }
            Err(NotUnmapped::Changing(by)) => {
                assert!(inside.iter().any(|one| one.0 == by && changing(one)));
                assert!(inside.iter().all(|&(known, _)| range.contains(known)));
            }
        }
    }

    fn make(books: &mut Books, model: &mut Model, step: Step) {
        match step {
            Step::Map(range) => match books.begin_map(range, None) {
                Ok(()) => {
                    assert_eq!(model.mapped_in(range).count(), 0);
                    model.set(range, Some(State::Changing));
                }
                Err(other) => assert!(model.mapped_in(range).any(|(known, _)| known == other)),
            },
            Step::Unmap(range) => unmap(books, model, range),
            Step::Finish(which, mapped) => {
                let known = model.mapped.iter();
                let changing: Vec<_> = known.filter(|one| one.1 == State::Changing).collect();
                if !changing.is_empty() {
                    let range = which.get(&changing).0;
                    books.finish(range, mapped);
                    model.set(range, mapped.then_some(State::Mapped));
                }
            }
            Step::Reserve(within, size, align) => {
                let place = books.reserve(within, size, align);
                assert_eq!(place, model.place(within, size, align));
                model.reserved.extend(place);
            }
            Step::ReserveAt(range) => match books.reserve_at(range) {
                Ok(()) => {
                    assert!(!model.is_used(range));
                    model.reserved.push(range);
                }
                Err(by) => assert!(by.overlaps(range) && model.is_used(range)),
            },
            Step::Unreserve(which) => {
                if !model.reserved.is_empty() {
                    let range = model
                        .reserved
                        .swap_remove(which.index(model.reserved.len()));
                    books.unreserve(range);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_books_are_what_a_list_would_be(steps in prop::collection::vec(any_step(), 0..120)) {
            let (mut books, mut model) = (Books::default(), Model::default());
            for step in steps {
                make(&mut books, &mut model, step);
                for at in 0..70 {
                    let here = range(at, at);
                    assert_eq!(books.in_use(here).is_some(), model.is_used(here));
                }
            }
        }
    }
}

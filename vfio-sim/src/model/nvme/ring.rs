//! One queue in memory: who writes its entries is ahead of who reads them, at most once around.

/// A queue.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    address: u64,
    /// The size of an entry in bytes.
    entry: u64,
    entries: u32,
    /// The next entry that is read.
    head: u32,
    /// The next entry that is written.
    tail: u32,
}

impl Ring {
    /// An empty one. It has at least two entries.
    pub(super) fn new(address: u64, entry: u64, entries: u32) -> Self {
        Self {
            address,
            entry,
            entries: entries.max(2),
            head: 0,
            tail: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    pub(super) fn is_full(&self) -> bool {
        self.after(self.tail) == self.head
    }

    pub(super) fn head(&self) -> u32 {
        self.head
    }

    /// Where the next entry is that is read.
    pub(super) fn head_address(&self) -> Option<u64> {
        self.place(self.head)
    }

    /// Where the next entry is that is written.
    pub(super) fn tail_address(&self) -> Option<u64> {
        self.place(self.tail)
    }

    /// An entry was read.
    pub(super) fn pop(&mut self) {
        self.head = self.after(self.head);
    }

    /// An entry was written; answers whether it was the last one before the first.
    pub(super) fn push(&mut self) -> bool {
        self.tail = self.after(self.tail);
        self.tail == 0
    }

    /// The driver says how far it has read. It is not believed if there is no such entry.
    pub(super) fn set_head(&mut self, head: u32) {
        if head < self.entries {
            self.head = head;
        }
    }

    /// The driver says how far it has written. It is not believed if there is no such entry.
    pub(super) fn set_tail(&mut self, tail: u32) {
        if tail < self.entries {
            self.tail = tail;
        }
    }

    fn after(&self, index: u32) -> u32 {
        match index + 1 < self.entries {
            true => index + 1,
            false => 0,
        }
    }

    /// None beyond the last address.
    fn place(&self, index: u32) -> Option<u64> {
        self.address.checked_add(self.entry * u64::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_around() {
        let mut ring = Ring::new(0x1000, 16, 3);
        assert!(ring.is_empty());
        assert!(!ring.push());
        assert!(!ring.push());
        assert!(ring.is_full());
        ring.pop();
        assert_eq!(ring.head_address(), Some(0x1010));
        assert_eq!(ring.tail_address(), Some(0x1020));
        assert!(ring.push());
        assert!(ring.is_full());
        ring.set_head(3);
        assert_eq!(ring.head(), 1);
        ring.set_head(0);
        assert!(ring.is_empty());
        ring.set_tail(u32::MAX);
        assert!(ring.is_empty());
        ring.set_tail(2);
        assert!(ring.is_full());
    }

    #[test]
    fn no_entry_is_beyond_the_last_address() {
        let mut ring = Ring::new(u64::MAX - 0xfff, 64, 4096);
        ring.set_head(63);
        assert_eq!(ring.head_address(), Some(u64::MAX - 63));
        ring.set_head(64);
        assert_eq!(ring.head_address(), None);
    }
}

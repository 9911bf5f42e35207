//! The controller's registers, but for its status and its doorbells.

pub(super) const CAPABILITIES: u64 = 0x00;
pub(super) const VERSION: u64 = 0x08;
pub(super) const MASK_SET: u64 = 0x0c;
pub(super) const MASK_CLEAR: u64 = 0x10;
pub(super) const CONFIGURATION: u64 = 0x14;
pub(super) const STATUS: u64 = 0x1c;
pub(super) const QUEUE_SIZES: u64 = 0x24;
pub(super) const SUBMISSIONS: u64 = 0x28;
pub(super) const COMPLETIONS: u64 = 0x30;
/// The doorbell of the admin submission queue.
pub(super) const SUBMITTED: u64 = 0x1000;
/// The doorbell of the admin completion queue.
pub(super) const TAKEN: u64 = 0x1004;

/// Version 1.4 of the specification.
pub(super) const VERSION_VALUE: u32 = 0x0001_0400;

/// Queues of 2048 entries, which must be contiguous; ready within 7.5 s; pages of 4 to 64 KiB; commands of the NVM
/// set, or of one that is named. Doorbells follow each other directly.
const CAPABILITIES_VALUE: u64 = 0x7ff | 1 << 16 | 15 << 24 | LARGEST_PAGE << 52;
const COMMAND_SETS: u64 = 1 << 0 | 1 << 6;
/// Commands of the administrator alone.
const ADMINISTRATOR: u64 = 1 << 7;
/// 0 is 4096 bytes, each one more twice as many.
const LARGEST_PAGE: u64 = 4;

/// What a driver sets.
#[derive(Debug, Clone, Default)]
pub(super) struct Registers {
    pub(super) configuration: u32,
    pub(super) queue_sizes: u32,
    /// Where the admin submission queue is.
    pub(super) submissions: u64,
    /// Where the admin completion queue is.
    pub(super) completions: u64,
    /// The vectors that do not assert the line.
    pub(super) masked: u32,
    /// Whether it can be enabled for its administrator alone, as QEMU's was before version 10.
    pub(super) administrator: bool,
}

impl Registers {
    /// The 32 bits at an offset.
    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset {
            CAPABILITIES => halves(self.capabilities())[0],
            HIGH_CAPABILITIES => halves(self.capabilities())[1],
            VERSION => VERSION_VALUE,
            MASK_SET | MASK_CLEAR => self.masked,
            CONFIGURATION => self.configuration,
            QUEUE_SIZES => self.queue_sizes,
            SUBMISSIONS => halves(self.submissions)[0],
            HIGH_SUBMISSIONS => halves(self.submissions)[1],
            COMPLETIONS => halves(self.completions)[0],
            HIGH_COMPLETIONS => halves(self.completions)[1],
            _ => 0,
        }
    }

    /// Sets the 32 bits at an offset, if there is no more to it.
    pub(super) fn write(&mut self, offset: u64, word: u32) {
        let high = u64::from(word) << 32;
        let low = u64::from(word);
        match offset {
            MASK_SET => self.masked |= word,
            MASK_CLEAR => self.masked &= !word,
            QUEUE_SIZES => self.queue_sizes = word,
            SUBMISSIONS => self.submissions = self.submissions & HIGH | low,
            HIGH_SUBMISSIONS => self.submissions = self.submissions & !HIGH | high,
            COMPLETIONS => self.completions = self.completions & HIGH | low,
            HIGH_COMPLETIONS => self.completions = self.completions & !HIGH | high,
            _ => {}
        }
    }

    /// A reset, of either kind: the admin queue's registers stay.
    pub(super) fn disable(&mut self) {
        self.configuration = 0;
        self.masked = 0;
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.configuration & 1 != 0
    }

    /// Whether the driver announced that power will go.
    pub(super) fn is_shut_down(&self) -> bool {
        self.configuration >> 14 & 3 != 0
    }

    fn command_sets(&self) -> u64 {
        match self.administrator {
            true => COMMAND_SETS | ADMINISTRATOR,
            false => COMMAND_SETS,
        }
    }

    fn capabilities(&self) -> u64 {
        CAPABILITIES_VALUE | self.command_sets() << 37
    }

    /// The size of a page in bytes, if the controller can be enabled with these settings.
    pub(super) fn page_size(&self) -> Option<u64> {
        let command_set = self.configuration >> 4 & 7;
        let page = self.configuration >> 7 & 0xf;
        let page_size = 4096 << page;
        let fits = self.command_sets() >> command_set & 1 == 1
            && u64::from(page) <= LARGEST_PAGE
            && self.submissions % page_size == 0
            && self.completions % page_size == 0
            && self.submission_entries() > 1
            && self.completion_entries() > 1;
        fits.then_some(page_size)
    }

    /// At most 4096.
    pub(super) fn submission_entries(&self) -> u32 {
        (self.queue_sizes & 0xfff) + 1
    }

    /// At most 4096.
    pub(super) fn completion_entries(&self) -> u32 {
        (self.queue_sizes >> 16 & 0xfff) + 1
    }
}

const HIGH_CAPABILITIES: u64 = CAPABILITIES + 4;
const HIGH_SUBMISSIONS: u64 = SUBMISSIONS + 4;
const HIGH_COMPLETIONS: u64 = COMPLETIONS + 4;
/// The high half of a register of 64 bits.
const HIGH: u64 = 0xffff_ffff_0000_0000;

/// The low one, the high one.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Registers {
        Registers {
            configuration: 6 << 16 | 4 << 20,
            queue_sizes: 7 << 16 | 7,
            submissions: 0x1_0000,
            completions: 0x2_0000,
            masked: 0,
            administrator: false,
        }
    }

    #[test]
    fn impossible_settings_are_found() {
        assert_eq!(good().page_size(), Some(4096));
        let with = |change: fn(&mut Registers)| {
            let mut registers = good();
            change(&mut registers);
            registers.page_size()
        };
        assert_eq!(with(|r| r.configuration |= 4 << 7), Some(0x1_0000));
        assert_eq!(with(|r| r.configuration |= 5 << 7), None);
        assert_eq!(with(|r| r.configuration |= 15 << 7), None);
        assert_eq!(with(|r| r.configuration |= 6 << 4), Some(4096));
        assert_eq!(with(|r| r.configuration |= 1 << 4), None);
        assert_eq!(with(|r| r.configuration |= 7 << 4), None);
        let for_administrators = |r: &mut Registers| {
            r.administrator = true;
            r.configuration |= 7 << 4;
        };
        assert_eq!(with(for_administrators), Some(4096));
        assert_eq!(with(|r| r.submissions += 64), None);
        assert_eq!(with(|r| r.completions += 16), None);
        assert_eq!(with(|r| r.queue_sizes = 7), None);
        assert_eq!(with(|r| r.queue_sizes = 7 << 16), None);
    }

    #[test]
    fn addresses_are_written_by_halves() {
        let mut registers = Registers::default();
        registers.write(SUBMISSIONS, 0x1122_3344);
        registers.write(SUBMISSIONS + 4, 0x5566_7788);
        assert_eq!(registers.submissions, 0x5566_7788_1122_3344);
        registers.write(SUBMISSIONS, 0);
        assert_eq!(registers.submissions, 0x5566_7788_0000_0000);
        assert_eq!(registers.read(SUBMISSIONS + 4), 0x5566_7788);
    }
}

//! What a guest asks for.

use super::{BLOCK, BLOCKS, PLACES, address};

/// A call of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `H_PUT_TCE`
    Put(Place, u64),
    /// `H_PUT_TCE_INDIRECT`
    List(Place, Vec<u64>),
    /// `H_STUFF_TCE`
    Stuff(Place, usize),
    /// `ibm,create-pe-dma-window`: base 2 logarithms of the sizes of a page, and of how many there are.
    Create(u32, u32),
    /// `ibm,remove-pe-dma-window`
    Remove(Which),
    /// `ibm,reset-pe-dma-window`, or a reset of the guest.
    Reset,
}

/// A window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that the guest begins with.
    Default,
    /// The one that it creates.
    Dynamic,
}

/// A page of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which window.
    pub window: Which,
    /// Which of its pages, of the first ones and the last ones.
    pub number: usize,
}

/// What a call is chosen by: any numbers. The smaller, the simpler.
pub type Numbers = [u8; 6];

impl Op {
    /// The call that these numbers choose.
    #[must_use]
    pub fn of([what, place, target, count, rights, more]: Numbers) -> Self {
        let window = match place / 128 {
            0 => Which::Default,
            _ => Which::Dynamic,
        };
        let place = Place {
            window,
            number: usize::from(place % 128) % PLACES,
        };
        let count = 1 + usize::from(count) % 12;
        match what % 16 {
            0..4 => Self::Put(place, tce(target, rights, more)),
            4..8 => {
                let first = tce(target, rights, more);
                let step = match more % 4 {
                    0 => 0x1000,
                    _ => 0x1_0000,
                };
                let next = |n: usize| match usize::from(more / 4 % 8) == n {
                    true => 0, // a gap
                    false => first + n as u64 * step,
                };
                Self::List(place, (0..count).map(next).collect())
            }
            8..11 => Self::Stuff(place, count),
            11..14 => Self::Create(
                [16, 12, 16, 21][usize::from(target) % 4],
                6 + u32::from(more % 8),
            ),
            14 => Self::Remove(window),
            _ => Self::Reset,
        }
    }
}

/// A TCE that leads to memory most of the time, and to whole pages.
fn tce(target: u8, rights: u8, more: u8) -> u64 {
    let block = usize::from(target) % (BLOCKS + 1); // one more than there are
    let pages = (BLOCK >> 16) as u64;
    let page = match more % 3 {
        0 => u64::from(more) % pages * 0x1_0000 + 0x1000 * u64::from(target / 64),
        _ => u64::from(more) % pages * 0x1_0000,
    };
    let rights = match rights % 8 {
        0..5 => 3,
        5 => 1,
        6 => 2,
        _ => 0,
    };
    address(block) + page + rights
}

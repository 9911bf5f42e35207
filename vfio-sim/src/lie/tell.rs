//! Telling a lie about a call.

use std::os::fd::OwnedFd;

use vfio_core::Answer;
use vfio_core::kernel::{Errno, Result};

use super::{Field, Part, What, kept::Kept};
use crate::device::Mappable;
use crate::world::{self, World};

/// How a call is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// As it was asked, and its answer is the caller's.
    AsIs,
    /// As it was asked, to see what comes of it: nothing is written for the caller, and all is undone.
    ToSee,
    /// With another number, to see what comes of it.
    BentToSee(Field, i64),
    /// With another number, and its answer is the caller's.
    Bent(Field, i64),
}

impl Asked {
    /// Reads bytes from an offset this way.
    pub(crate) fn read(
        self,
        bytes: &mut [u8],
        offset: u64,
        read: impl FnOnce(&mut [u8], u64) -> Result<usize>,
    ) -> Result<usize> {
        match self {
            Self::AsIs => read(bytes, offset),
            Self::Bent(_, by) => read(bytes, offset.wrapping_add_signed(by)),
            Self::ToSee => read(&mut vec![0; bytes.len()], offset),
            Self::BentToSee(_, by) => {
                let offset = offset.wrapping_add_signed(by);
                read(&mut vec![0; bytes.len()], offset)
            }
        }
    }
}

/// What a call can answer.
pub(crate) trait Said: Sized {
    /// The number that it is, if it is one.
    fn number(&self) -> Option<u32> {
        None
    }

    /// The answer that is that number.
    fn of(number: u32) -> Result<Self> {
        let _ = number;
        Err(Errno::RANGE)
    }
}

impl Said for world::Answer {
    fn number(&self) -> Option<u32> {
        match self {
            Self::Value(value) => Some(*value),
            Self::Fd(_) => None,
        }
    }

    fn of(number: u32) -> Result<Self> {
        Ok(Self::Value(number))
    }
}

impl Said for () {}
impl Said for usize {}
impl Said for OwnedFd {}
impl Said for Mappable {}

impl World {
    /// Makes a call, or lies about it.
    pub(crate) fn tell<T: Said>(
        &mut self,
        call: &str,
        mut ask: impl FnMut(&mut Self, Asked) -> Result<T>,
    ) -> Result<T> {
        let lie = self.told.lie.filter(|lie| lie.call == call);
        match lie.map(|lie| lie.what) {
            None => ask(self, Asked::AsIs),
            Some(What::Swapped { truth, instead }) => {
                let answer = ask(self, Asked::AsIs);
                let said = match &answer {
                    Ok(value) => value.number().map(Answer::Returned),
                    Err(errno) => Some(Answer::Errno(*errno)),
                };
                let is_meant = match (said, truth) {
                    (Some(Answer::Returned(number)), Answer::Returned(_)) => number > 0,
                    (said, truth) => said == Some(truth),
                };
                if !is_meant {
                    return answer;
                }
                self.told.has_lied = true;
                match instead {
                    Answer::Errno(errno) => Err(errno),
                    Answer::Returned(number) => T::of(number),
                }
            }
            Some(What::LeftOut(part)) => self.leave_out(part, |world| ask(world, Asked::AsIs)),
            Some(What::Bound { field, by, is_lax }) => {
                let truth = self.see(&mut ask, Asked::ToSee);
                let other = self.see(&mut ask, Asked::BentToSee(field, by));
                match (truth, other) {
                    (Err(_), Ok(_)) if is_lax => {
                        self.told.has_lied = true;
                        ask(self, Asked::Bent(field, by))
                    }
                    (Ok(_), Err(errno)) if !is_lax => {
                        self.told.has_lied = true;
                        Err(errno)
                    }
                    _ => ask(self, Asked::AsIs),
                }
            }
        }
    }

    /// Changes something, but for a part of it, if it is done.
    fn leave_out<T>(
        &mut self,
        part: Part,
        change: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        let before = Kept::of(self);
        let models = (part == Part::Registers).then(|| self.take_models());
        let answer = change(self);
        let is_done = answer.is_ok();
        if let Some(models) = models {
            self.put_models(models);
            self.told.has_lied |= is_done;
        } else if is_done {
            self.told.has_lied |= before.put_back(self, part);
        }
        answer
    }

    fn see<T>(
        &mut self,
        ask: &mut impl FnMut(&mut Self, Asked) -> Result<T>,
        how: Asked,
    ) -> Result<T> {
        let before = Kept::of(self);
        let models = self.take_models();
        let answer = ask(self, how);
        self.put_models(models);
        before.put_all_back(self);
        answer
    }
}

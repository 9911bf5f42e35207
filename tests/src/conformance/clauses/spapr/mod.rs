//! C36 to D58, P1 to P3, H1 to H6: sPAPR.

mod account;
mod calls;
mod eeh;
mod enable;
mod engine;
mod entries;
mod groups;
mod huge;
mod info;
mod map;
mod owner;
mod register;
mod remove;
mod tables;
mod unmap;
mod windows;

use crate::conformance::clause::Clause;

pub(super) const CLAUSES: &[&[Clause]] = &[
    info::CLAUSES,
    owner::CLAUSES,
    enable::CLAUSES,
    account::CLAUSES,
    map::CLAUSES,
    unmap::CLAUSES,
    entries::CLAUSES,
    register::CLAUSES,
    huge::CLAUSES,
    windows::CLAUSES,
    tables::CLAUSES,
    remove::CLAUSES,
    groups::CLAUSES,
    eeh::CLAUSES,
];

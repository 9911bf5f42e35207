//! A guest's config space: what each register is, lists of any kind, and what holds for any bytes and any writes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that cannot go on has failed.

mod any;
mod built;
mod header;
mod lists;
mod model;
mod standard;

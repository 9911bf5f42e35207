//! What must hold for every value, not only for those that somebody thought of.

mod addresses;
mod names;
mod walks;

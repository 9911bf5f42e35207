//! Guests on POWER, on simulated hosts: their windows and TCEs against a model.

mod boots;
mod cases;
mod failing;
mod random;
mod rig;

//! What a device's state is, kept so that a [lie](crate::Lie) can put a part of it back.

use std::collections::BTreeMap;

use crate::lie::{Part, put};
use crate::model::Model;
use crate::token::Token;
use crate::world::World;

use super::State;
use super::config::Config;
use super::ioeventfd::IoEventFd;
use super::irqs::Irqs;

/// The state of a device, but for what its model knows.
#[derive(Debug)]
pub(crate) struct Kept {
    config: Config,
    irqs: Irqs,
    ioeventfds: Vec<IoEventFd>,
    is_asleep: bool,
    vf_token: Token,
}

impl State {
    pub(crate) fn keep(&self) -> Kept {
        Kept {
            config: self.config.clone(),
            irqs: self.irqs.clone(),
            ioeventfds: self.ioeventfds.clone(),
            is_asleep: self.is_asleep,
            vf_token: self.vf_token,
        }
    }

    /// Puts a part back; answers whether it had changed.
    pub(crate) fn put_back(&mut self, kept: &Kept, part: Part) -> bool {
        match part {
            Part::Config => put(&mut self.config, &kept.config),
            Part::Interrupts => put(&mut self.irqs, &kept.irqs),
            Part::IoEventFds => put(&mut self.ioeventfds, &kept.ioeventfds),
            Part::Sleep => put(&mut self.is_asleep, &kept.is_asleep),
            Part::Tokens => put(&mut self.vf_token, &kept.vf_token),
            _ => false,
        }
    }
}

/// What devices do, by their names.
pub(crate) type Models = BTreeMap<String, Box<dyn Model>>;

impl World {
    /// From now on devices do nothing.
    pub(crate) fn take_models(&mut self) -> Models {
        let devices = self.devices.iter_mut();
        devices
            .filter_map(|(bdf, state)| Some((bdf.clone(), state.model.take()?)))
            .collect()
    }

    /// Devices do again what they did.
    pub(crate) fn put_models(&mut self, models: Models) {
        for (bdf, model) in models {
            self.state(&bdf).model = Some(model);
        }
    }
}

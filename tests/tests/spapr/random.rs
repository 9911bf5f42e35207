//! Random calls of the guest, devices that join and leave.

use proptest::prelude::*;
use vfio_tests::tce::{Numbers, Op};

use crate::rig::{Rig, hosts};

#[derive(Debug, Clone)]
pub(crate) enum Step {
    Call(Op),
    Join,
    Leave,
}

pub(crate) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let call = any::<Numbers>().prop_map(|numbers| Step::Call(Op::of(numbers)));
    let step = prop_oneof![12 => call, 1 => Just(Step::Join), 1 => Just(Step::Leave)];
    prop::collection::vec(step, 1..most)
}

impl Rig {
    pub(crate) fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        match step {
            Step::Call(op) => self.call(op),
            Step::Join => self.join(),
            Step::Leave => self.leave(),
        }
    }

    /// One device is behind the bridge.
    pub(crate) fn started(host: usize, steps: &[Step]) -> Self {
        let mut rig = Self::new(hosts()[host].clone());
        rig.join().unwrap();
        for step in steps {
            rig.step(step).unwrap();
            rig.check();
        }
        rig
    }
}

proptest! {
    #[test]
    fn devices_reach_what_the_guest_has_put(steps in steps(40), host in 0..4_usize) {
        Rig::started(host, &steps).end();
    }
}

//! Traces that somebody has sent: they are read or refused, describe a machine, and their calls are made on it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vfio_sim::SimKernel;
use vfio_sim::wrap::{Trace, again};

fuzz_target!(|content: &[u8]| {
    // Most of what is tried is to get behind the first two lines.
    const HEAD: &str = "vfio-trace 2\nmachine x86_64 6.12.95 page 4096 memlock none\n";
    let Ok(text) = std::str::from_utf8(content) else {
        return;
    };
    let _ = text.parse::<Trace>();
    if let Ok(trace) = format!("{HEAD}{text}").parse::<Trace>() {
        assert!(trace.to_string().parse::<Trace>().is_ok());
        let machine = trace.machine().expect("an architecture that is simulated");
        let sim = SimKernel::new(machine);
        sim.set_rights(trace.rights());
        again(&trace, &sim);
        assert!(sim.is_idle());
    }
});

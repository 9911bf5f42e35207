//! How many ioctls it takes to open devices, ours and the peer's counted in one program, on a real kernel.

use anyhow::{Context, Result, ensure};

use super::{Goal, MANIFEST, Measured};
use crate::cross;
use crate::lab::{self, FileSpec, Machine, Request};
use crate::ui::Ui;
use crate::workspace;

pub(super) fn measure(ui: &Ui) -> Result<Vec<Measured>> {
    let machine = Machine::find("x86_64").context("there is no machine x86_64")?;
    // Behind this bridge both are in one group.
    let devices = [
        "pcie-pci-bridge,id=bridge",
        "edu,bus=bridge,addr=1",
        "nvme,bus=bridge,addr=2",
    ];
    let script = "for bdf in $BDF $BDF2; do\n\
                  echo vfio-pci >/sys/bus/pci/devices/$bdf/driver_override\n\
                  if [ -e /sys/bus/pci/devices/$bdf/driver ]; then \
                  echo $bdf >/sys/bus/pci/devices/$bdf/driver/unbind; fi\n\
                  echo $bdf >/sys/bus/pci/drivers_probe; done; /bin/bench $BDF $BDF2";
    let manifest = workspace::root().join(MANIFEST);
    let program = cross::outside(machine.arch, &manifest, "bench", ui)?;
    let request = Request {
        devices: devices.map(str::to_owned).to_vec(),
        bind: false,
        files: vec![FileSpec::parse(&format!(
            "{}:/bin/bench",
            program.display()
        ))],
        ..Request::new(machine, ["sh", "-c", script])
    };
    let mut output = Vec::new();
    let status = lab::boot(&request, ui, &mut |bytes| output.extend_from_slice(bytes))?;
    let output = String::from_utf8_lossy(&output);
    ensure!(status == 0, "status {status}:\n{output}");
    let measured: Vec<_> = output.lines().filter_map(measurement).collect();
    ensure!(!measured.is_empty(), "nothing was measured:\n{output}");
    Ok(measured)
}

/// `name, ours, peer's`, with tabs between them.
fn measurement(line: &str) -> Option<Measured> {
    let mut parts = line.trim_end().split('\t');
    let name = parts.next()?;
    let (ours, peer): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(Measured::new(name, "ioctls", ours, peer, Goal::AsThePeer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_measurement_and_less_is_better() {
        let one = measurement("ioctls to x\t5\t10\r").unwrap();
        assert_eq!((one.ours, one.peer, one.met), (5, 10, true));
        assert!((one.ratio - 0.5).abs() < f64::EPSILON);
        assert!(!measurement("a\t11\t10").unwrap().met);
        assert!(measurement("boot: 3 s").is_none());
        assert!(measurement("a\tb\tc").is_none());
    }
}

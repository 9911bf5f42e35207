//! What is proven on real kernels, in the lab.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::tally::Tally;
use crate::cross;
use crate::lab::{self, FileSpec, Machine, Request};
use crate::packages::Arch;
use crate::ui::Ui;
use crate::workspace;

/// Longer than any suite takes on a slow machine.
const LIMIT: Duration = Duration::from_secs(240);

/// The hardware suite, on devices with DMA engines and every kind of interrupt; and what every backend must do
/// alike, with the one that opens quickly everywhere.
const HARDWARE: &str = "hardware-tests --device $BDF --device $BDF2; first=$?; \
                        hardware-tests --contract --device $BDF2 && exit $first";

pub(super) fn x86_64(tally: &mut Tally) -> Result<()> {
    hardware(tally, "x86_64")?;
    attach_only(tally, "x86_64")
}

pub(super) fn pseries(tally: &mut Tally) -> Result<()> {
    hardware(tally, "pseries")
}

pub(super) fn powernv9(tally: &mut Tally) -> Result<()> {
    hardware(tally, "powernv9")
}

pub(super) fn aarch64(tally: &mut Tally) -> Result<()> {
    hardware(tally, "aarch64")
}

fn hardware(tally: &mut Tally, name: &str) -> Result<()> {
    let request = script(name, &["edu", "nvme"], HARDWARE)?;
    record(tally, name, &request);
    Ok(())
}

/// A device that there is no driver for.
fn attach_only(tally: &mut Tally, name: &str) -> Result<()> {
    let request = script(name, &["e1000e"], "hardware-tests --device $BDF")?;
    record(tally, &format!("{name}, no driver"), &request);
    Ok(())
}

/// What sPAPR is for, beside both of its versions with 64 KiB pages, which have suites of their own: 4 KiB pages, and
/// windows of huge pages, which memory that is huge is mapped in.
pub(super) fn spapr(tally: &mut Tally) -> Result<()> {
    const HUGE: &str =
        "echo 8 2>/dev/null >/proc/sys/vm/nr_hugepages; hardware-tests --device $BDF huge_pages";

    hardware(tally, "pseries-4k")?;
    with_backend(tally, "pseries-4k", &["edu", "nvme"], "sPAPR v1")?;
    for (name, says) in [
        (
            "pseries",
            "huge_pages_are_carried_by_huge_memory_alone ... ok",
        ),
        // Under QEMU it has none.
        (
            "powernv9",
            "ignored (the window was created, and maps no other memory",
        ),
    ] {
        let request = script(name, &["edu"], HUGE)?;
        expect(
            tally,
            &format!("huge pages on {name}"),
            &request,
            0,
            &[says],
        );
    }
    Ok(())
}

/// What KVM has to do with VFIO, on machines that have both.
pub(super) fn kvm(tally: &mut Tally) -> Result<()> {
    const HARDWARE: &str = "hardware-tests --device $BDF --device $BDF2 kvm && \
                            hardware-tests --assigned --device $BDF2 kvm";

    for name in ["x86_64-kvm", "aarch64-kvm"] {
        record(tally, name, &script(name, &["edu", "nvme"], HARDWARE)?);
    }
    // What POWER's KVM gets wrong it says in its log (H11).
    for (name, devices) in [
        ("pseries-kvm", ["edu", "nvme"]),
        // Each opening of `edu` takes seconds there.
        ("powernv9-kvm", ["nvme", "nvme"]),
    ] {
        let quiet = format!(
            "{HARDWARE} && hardware-tests --backend 'sPAPR v1' --device $BDF kvm && ! dmesg | grep 'WARNING: CPU'"
        );
        record(tally, name, &script(name, &devices, &quiet)?);
    }
    Ok(())
}

/// What each machine's IOMMU can do, as a person asks for it; and every number of that is what the kernel says.
pub(super) fn probe(tally: &mut Tally) -> Result<()> {
    const TYPE1: &[&str] = &["type1v2  verified", "type1    verified"];
    for (name, words) in [
        ("x86_64", TYPE1),
        ("aarch64", TYPE1),
        (
            "pseries",
            &[
                "sPAPR v2 verified",
                "at 0x800000000000000: pages of 4K, 64K, 2M, 16M, tables of up to 1 level: verified",
                "sPAPR v1 verified",
                "locks 1G",
            ],
        ),
        (
            "powernv9",
            &[
                "sPAPR v2 verified",
                "at 0x800000000000000: pages of 4K, 64K, 2M, 1G, tables of up to 3 levels: verified",
                "sPAPR v1 verified",
                "locks 2G",
            ],
        ),
    ] {
        let request = script(
            name,
            &["nvme"],
            "vfioctl probe --verify && hardware-tests --numbers",
        )?;
        expect(tally, &format!("probe on {name}"), &request, 0, words);
    }
    Ok(())
}

/// The example programs, each with the device that it is given and what it says: a driver in thirty lines, and a process
/// without rights that assigns a device which a broker opened for it.
const PROGRAMS: [(&str, &str, &str); 2] = [
    (
        "first-dma",
        "$BDF",
        "64 random bytes went to the device and back",
    ),
    ("broker", "$BDF2", "user 65534: DMA both ways"),
];

/// With type1, a program also becomes another one while its device goes on.
const OF_TYPE1: [(&str, &str, &str); 1] = [(
    "live-update",
    "$BDF",
    "through type1v2, by the mappings of the one before",
)];

pub(super) fn programs(tally: &mut Tally) -> Result<()> {
    for (name, more) in [
        ("x86_64", OF_TYPE1.as_slice()),
        ("aarch64", &OF_TYPE1),
        ("pseries", &[]),
        ("powernv9", &[]),
    ] {
        let programs: Vec<_> = PROGRAMS.iter().chain(more).collect();
        let commands: Vec<_> = programs
            .iter()
            .map(|(program, bdf, _)| format!("{program} {bdf}"))
            .collect();
        let mut request = script(name, &["edu", "nvme"], &commands.join(" && "))?;
        for (program, ..) in &programs {
            let built = cross::program(request.machine.arch, "vfio-tests", program, tally.ui)?;
            let file = format!("{}:/bin/{program}", built.display());
            request.files.push(FileSpec::parse(&file));
        }
        let words: Vec<_> = programs.iter().map(|(.., says)| *says).collect();
        expect(tally, &format!("programs on {name}"), &request, 0, &words);
    }
    Ok(())
}

/// What is counted is not more than the peers need.
pub(super) fn bench(tally: &mut Tally) -> Result<()> {
    tally.check("counts beside the peers", |ui| {
        for one in &crate::bench::counts(ui)? {
            ensure!(one.met, "the goal is not met: {one:?}");
        }
        Ok(())
    });
    Ok(())
}

/// What type1 is for, beside its version 2 over VT-d and over an SMMU, which have suites of their own: version 1, every
/// other IOMMU of x86, and as many mappings as there can be.
pub(super) fn type1(tally: &mut Tally) -> Result<()> {
    with_backend(tally, "x86_64", &["edu", "nvme"], "type1")?;
    for name in ["x86_64-39bit", "x86_64-virtio", "x86_64-amd"] {
        hardware(tally, name)?;
    }
    let long = script(
        "x86_64",
        &["edu"],
        "hardware-tests --contract --long --device $BDF",
    )?;
    record(tally, "every mapping on x86_64", &long);
    without_interrupt_remapping(tally)
}

/// The backends that are not preferred: taken when they are asked for, and tried after a refusal.
pub(super) fn fallback(tally: &mut Tally) -> Result<()> {
    for (name, devices, backend) in [
        ("pseries", ["edu", "nvme"].as_slice(), "sPAPR v1"),
        // Each opening of `edu` takes seconds there.
        ("powernv9", &["nvme"], "sPAPR v1"),
    ] {
        with_backend(tally, name, devices, backend)?;
    }
    // The kernel accepts version 2 there, and cannot do it; version 1 is tried next, and the kernel cannot
    // do that either. No real kernel was found that refuses one and can do the other: the core's tests
    // have a simulated one.
    let mut request = script(
        "pseries",
        &["edu"],
        "vfioctl probe --verify; vfioctl selftest $BDF; vfioctl selftest $BDF",
    )?;
    request.qemu_args = ["-global", "spapr-pci-host-bridge.ddw=off"]
        .map(str::to_owned)
        .to_vec();
    let words = [
        "sPAPR v2 refused     use version 2",
        "sPAPR v1 refused     VFIO_IOMMU_UNMAP_DMA",
        "sPAPR v2 was refused (use version 2",
        "sPAPR v1 was refused (VFIO_IOMMU_UNMAP_DMA",
    ];
    expect(
        tally,
        "pseries without DDW: each refusal is named",
        &request,
        1,
        &words,
    );
    Ok(())
}

/// The hardware suite with one backend.
fn with_backend(tally: &mut Tally, name: &str, devices: &[&str], backend: &str) -> Result<()> {
    let hardware = devices
        .iter()
        .zip(["$BDF", "$BDF2"])
        .map(|(_, bdf)| format!("--device {bdf}"));
    let hardware = hardware.collect::<Vec<_>>().join(" ");
    let last = if devices.len() > 1 { "$BDF2" } else { "$BDF" }; // the one that opens quickly
    let request = script(
        name,
        devices,
        &format!(
            "hardware-tests --backend '{backend}' {hardware}; first=$?; \
             hardware-tests --contract --backend '{backend}' --device {last} && exit $first"
        ),
    )?;
    record(tally, &format!("{backend} on {name}"), &request);
    Ok(())
}

/// What is wrong on a host, produced for real: what `vfioctl` says and answers.
pub(super) fn bad_input(tally: &mut Tally) -> Result<()> {
    // The first two share a group behind the bridge.
    let devices = [
        "pcie-pci-bridge,id=bridge",
        "edu,bus=bridge,addr=1",
        "nvme,bus=bridge,addr=2",
        "edu",
    ];
    let request = unbound("x86_64", &devices, "bad-input.sh")?;
    record(tally, "bad input", &request);

    // What both say is only there if both say it.
    let both = "vfioctl selftest $BDF 2>&1 | grep -q VFIO-01 && vfioctl probe";
    let mut request = script("x86_64", &["edu"], both)?;
    request.append = Some("intel_iommu=off".to_owned());
    request.bind = false;
    expect(
        tally,
        "without an IOMMU",
        &request,
        1,
        &["VFIO-01", "no IOMMU groups"],
    );
    Ok(())
}

/// Devices whose interrupts are not remapped are refused.
fn without_interrupt_remapping(tally: &mut Tally) -> Result<()> {
    let mut request = script("x86_64", &["edu"], "vfioctl selftest $BDF")?;
    request.append = Some("intremap=off".to_owned());
    expect(
        tally,
        "without interrupt remapping",
        &request,
        3,
        &["VFIO-05", "type1v2 was refused"],
    );
    Ok(())
}

/// Numbers and structs, on each architecture and against each header.
pub(super) fn uapi(tally: &mut Tally) -> Result<()> {
    let compilers = [Arch::Ppc64el, Arch::Arm64]
        .map(|arch| cross::c_compiler(arch, tally.ui).map(|command| (arch, command)));
    let mut named = Vec::new();
    for found in compilers {
        let (arch, command) = found?;
        named.push(format!("{}={}", cross::rust_arch(arch), command.display()));
    }
    tally.check("uapi: the kernel's headers for POWER and arm64", |_| {
        let mut command = workspace::cargo();
        command
            .args([
                "test",
                "--locked",
                "-p",
                "vfio-core",
                "--test",
                "uapi",
                "headers",
            ])
            .env("UAPI_CC", named.join("\n"))
            .stdin(Stdio::null());
        let (success, text) = workspace::output(&mut command)?;
        ensure!(
            success && text.contains("1 passed"),
            "\n{}",
            text.trim_end()
        );
        Ok(())
    });
    for name in ["pseries", "aarch64"] {
        let mut request = script(name, &[], "/root/uapi --skip headers")?;
        let built = cross::test_binary(request.machine.arch, "vfio-core", "uapi", tally.ui)?;
        request.files = vec![FileSpec::parse(&format!("{}:/root/uapi", built.display()))];
        record(tally, &format!("uapi on {name}"), &request);
    }
    Ok(())
}

/// The lab says what happened to a machine, and leaves nothing behind.
pub(super) fn lab(tally: &mut Tally) -> Result<()> {
    let status = script("x86_64", &[], "exit 7")?;
    expect(tally, "a command's status", &status, 7, &[]);
    let missing = Request::new(machine("x86_64")?, ["no-such-command"]);
    expect(
        tally,
        "a command that there is not",
        &missing,
        127,
        &["not found"],
    );

    let mut hang = script("x86_64", &[], "echo started; while :; do :; done")?;
    hang.timeout = Duration::from_secs(3);
    fails(
        tally,
        "a command that hangs",
        &hang,
        "did not end within 3 s",
    );
    let panic = script("x86_64", &[], "echo c > /proc/sysrq-trigger")?;
    fails(tally, "a kernel that panics", &panic, "panic");
    let mut lost = script("x86_64", &[], "true")?;
    lost.append = Some("rdinit=/nowhere init=/nowhere".to_owned());
    fails(
        tally,
        "a machine that never reaches user space",
        &lost,
        "panic",
    );
    let nonsense = script("x86_64", &["no-such-device"], "true")?;
    fails(
        tally,
        "a device that QEMU does not know",
        &nonsense,
        "no-such-device",
    );

    let two = script("x86_64", &["edu"], "vfioctl selftest $BDF")?;
    tally.check("two labs side by side", |ui| {
        let run = || lab::boot(&two, ui, &mut |_| {});
        let statuses = std::thread::scope(|scope| {
            let other = scope.spawn(run);
            [
                run(),
                other
                    .join()
                    .unwrap_or_else(|_| bail!("a lab ended in a panic")),
            ]
        });
        for status in statuses {
            ensure!(status? == 0, "the command failed");
        }
        Ok(())
    });
    Ok(())
}

fn machine(name: &str) -> Result<&'static Machine> {
    Machine::find(name).with_context(|| format!("there is no machine {name}"))
}

pub(super) fn script(name: &str, devices: &[&str], text: &str) -> Result<Request> {
    Ok(Request {
        devices: devices.iter().map(ToString::to_string).collect(),
        timeout: LIMIT,
        ..Request::new(machine(name)?, ["sh", "-c", text])
    })
}

/// A machine whose devices are left to the kernel, with a script of this directory.
pub(super) fn unbound(name: &str, devices: &[&str], file: &str) -> Result<Request> {
    let directory = workspace::root().join("xtask/src/test");
    let files = ["expect.sh", file].map(|name| FileSpec {
        path: directory.join(name),
        name: name.to_owned(),
    });
    let mut request = script(name, devices, "")?;
    request.command = ["sh", file].map(str::to_owned).to_vec();
    request.bind = false;
    request.files = files.to_vec();
    Ok(request)
}

/// Boots; answers the command's status and all that it said.
pub(super) fn boot(request: &Request, ui: &Ui) -> Result<(i32, String)> {
    let mut output = Vec::new();
    let status = lab::boot(request, ui, &mut |bytes| output.extend_from_slice(bytes))?;
    Ok((status, String::from_utf8_lossy(&output).into_owned()))
}

/// Records every claim that the command tests.
pub(super) fn record(tally: &mut Tally, name: &str, request: &Request) {
    match boot(request, tally.ui) {
        Ok((status, output)) => {
            tally.record_claims(name, &output, status == 0);
        }
        Err(error) => tally.check(name, |_| Err(error)),
    }
}

/// Records whether the command ends with that status and says those words.
fn expect(tally: &mut Tally, name: &str, request: &Request, status: i32, words: &[&str]) {
    tally.check(name, |ui| {
        let (answered, output) = boot(request, ui)?;
        ensure!(
            answered == status,
            "status {answered} instead of {status}:\n{output}"
        );
        for word in words {
            ensure!(output.contains(word), "it does not say {word:?}:\n{output}");
        }
        Ok(())
    });
}

/// Records whether the lab itself says what happened.
fn fails(tally: &mut Tally, name: &str, request: &Request, word: &str) {
    tally.check(name, |ui| match boot(request, ui) {
        Ok((status, output)) => bail!("the lab said nothing; status {status}:\n{output}"),
        Err(error) => {
            let said = format!("{error:#}");
            ensure!(said.contains(word), "it does not say {word:?}: {said}");
            Ok(())
        }
    });
}

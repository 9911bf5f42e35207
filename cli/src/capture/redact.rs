//! What of a file is no secret.
//!
//! Each rule says what is kept, and not what is taken away: what nobody has thought of is not in a capture.

use vfio_core::host::Bdf;

use super::config;
use super::contents::Keep;

/// Words of a kernel's command line that decide about devices and memory: up to `=`, with `*` for any end.
const WORDS: &[&str] = &[
    "amd_iommu",
    "arm-smmu*",
    "default_hugepagesz",
    "efi",
    "hugepages",
    "hugepagesz",
    "initcall_blacklist",
    "intel_iommu",
    "intremap",
    "iommu",
    "iommu.*",
    "kvm*",
    "mem_encrypt",
    "nointremap",
    "pci",
    "pcie_acs_override",
    "vfio*",
    "video",
];

/// Lines of `/proc/self/status`.
const STATUS: &[&str] = &["Uid", "Gid", "Groups", "CapEff", "VmLck", "Seccomp"];

/// Lines of `os-release`.
const DISTRIBUTION: &[&str] = &["ID", "ID_LIKE", "VERSION_ID"];

/// What is kept of a file with those bytes.
pub(super) fn redact(keep: Keep, bytes: &[u8]) -> Vec<u8> {
    let text = |kept: fn(&str) -> String| kept(&String::from_utf8_lossy(bytes)).into_bytes();
    match keep {
        Keep::Whole => bytes.to_vec(),
        Keep::CommandLine => text(command_line),
        Keep::Status => text(|text| lines(text, ':', STATUS)),
        Keep::PciMemory => text(pci_memory),
        Keep::InterruptChips => text(interrupt_chips),
        Keep::Config => config::public(bytes),
        Keep::Distribution => text(|text| lines(text, '=', DISTRIBUTION)),
    }
}

/// The lines whose first word, before the separator, is one of these.
fn lines(text: &str, separator: char, names: &[&str]) -> String {
    let is_kept = |line: &&str| {
        line.split_once(separator)
            .is_some_and(|(name, _)| names.contains(&name))
    };
    let kept = text.lines().filter(is_kept);
    kept.map(|line| format!("{line}\n")).collect()
}

fn command_line(text: &str) -> String {
    let kept = words(text).into_iter().filter(|word| {
        let name = word.split_once('=').map_or(*word, |(name, _)| name);
        WORDS.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == *known,
        })
    });
    kept.collect::<Vec<_>>().join(" ") + "\n"
}

/// The words that are for the kernel. Between quotes, a space belongs to its word; what follows `--` is for init.
fn words(text: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let ends = |letter: char| {
        is_quoted ^= letter == '"';
        letter.is_whitespace() && !is_quoted
    };
    let words = text.split(ends).filter(|word| !word.is_empty());
    words.take_while(|word| *word != "--").collect()
}

/// The lines of `/proc/iomem` that are of a PCI bus or device, with what is inside.
fn pci_memory(text: &str) -> String {
    let is_pci = |name: &str| {
        let mut words = name.split_whitespace();
        name.starts_with("PCI Bus") || words.any(|word| word.parse::<Bdf>().is_ok())
    };
    // Memory of the host can be on a device, and where the kernel is in it is nobody's business.
    let is_memory = |name: &str| name.starts_with("System RAM") || name.starts_with("Kernel ");
    let mut kept = String::new();
    let (mut inside, mut hidden) = (None, None);
    for line in text.lines() {
        let Some((_, name)) = line.split_once(" : ") else {
            continue;
        };
        let depth = line.len() - line.trim_start().len();
        let is_over = |start: &Option<usize>| start.is_some_and(|start| depth <= start);
        if is_over(&inside) {
            inside = None;
        }
        if is_over(&hidden) {
            hidden = None;
        }
        if inside.is_none() && is_pci(name) {
            inside = Some(depth);
        }
        if hidden.is_none() && is_memory(name) {
            hidden = Some(depth);
        }
        if inside.is_some() && hidden.is_none() {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Of each line of `/proc/interrupts` its name and the two words behind the counts: the chip, and how it is told. Behind
/// them stands who has it.
fn interrupt_chips(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        let Some((number, rest)) = line.split_once(':') else {
            continue;
        };
        let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(&number.trim()) {
            continue; // of the processor, and of no device
        }
        let words: Vec<_> = rest.split_whitespace().skip_while(is_number).collect();
        kept.push_str(number.trim());
        kept.push(':');
        for word in words.iter().take(2) {
            kept.push(' ');
            kept.push_str(word);
        }
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(keep: Keep, text: &str) -> String {
        String::from_utf8(redact(keep, text.as_bytes())).unwrap()
    }

    #[test]
    fn a_command_line_keeps_what_is_about_devices() {
        let line = "BOOT_IMAGE=/vmlinuz root=UUID=1 ip=10.0.0.1::::host intel_iommu=on,sm_on \
                    iommu.passthrough=1 vfio-pci.ids=10de:1eb8 iommufoo=1 nointremap \
                    password=\"a iommu=pt b\" dyndbg=\"file x +p\" video=efifb:off -- iommu=secret\n";
        assert_eq!(
            kept(Keep::CommandLine, line),
            "intel_iommu=on,sm_on iommu.passthrough=1 vfio-pci.ids=10de:1eb8 nointremap video=efifb:off\n"
        );
    }

    #[test]
    fn the_memory_map_keeps_what_is_on_pci_and_never_where_the_kernel_is() {
        let map = "\
00001000-0009ffff : System RAM
  01000000-01ffffff : Kernel code
000a0000-000bffff : PCI Bus 0000:00
e0000000-efffffff : PCI MMCONFIG 0000 [bus 00-ff]
f0000000-fdffffff : PCI Bus 0000:00
  fd000000-fdffffff : 0000:00:02.0
    fd000000-fd0fffff : BOOTFB
  fc000000-fcffffff : System RAM (kmem)
    fc000000-fc00ffff : Kernel data
  fb000000-fbffffff : 0000:00:03.0
fe000000-feffffff : Reserved
  fe000000-fe0fffff : 0000:01:00.0
100000000-1ffffffff : System RAM
";
        let names: Vec<_> = kept(Keep::PciMemory, map)
            .lines()
            .map(|line| line.split_once(" : ").unwrap().1.to_owned())
            .collect();
        assert_eq!(
            names,
            [
                "PCI Bus 0000:00",
                "PCI Bus 0000:00",
                "0000:00:02.0",
                "BOOTFB",
                "0000:00:03.0",
                "0000:01:00.0"
            ]
        );
    }

    #[test]
    fn interrupts_keep_their_chips() {
        let text = "           CPU0       CPU1\n  24:  10  20  IR-PCI-MSI-0000:00:1f.2  0-edge  alices-lan\n\
                    NMI:  1  2  Non-maskable interrupts\n";
        assert_eq!(
            kept(Keep::InterruptChips, text),
            "24: IR-PCI-MSI-0000:00:1f.2 0-edge\n"
        );
    }

    #[test]
    fn lines_are_kept_by_their_names() {
        let status = "Name:\tsecret\nUid:\t0\t0\t0\t0\nVmLck:\t 0 kB\nUidSecret:\t1\n";
        assert_eq!(
            kept(Keep::Status, status),
            "Uid:\t0\t0\t0\t0\nVmLck:\t 0 kB\n"
        );
        let release = "NAME=\"Secret\"\nID=debian\nVERSION_ID=\"13\"\nHOME_URL=x\n";
        assert_eq!(
            kept(Keep::Distribution, release),
            "ID=debian\nVERSION_ID=\"13\"\n"
        );
    }
}

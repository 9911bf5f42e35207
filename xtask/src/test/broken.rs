//! The tests see: breaks of the product, planted one at a time in a copy of the tree, each of which must
//! turn a test red.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::tally::Tally;
use crate::workspace::{cargo, output, root, target};

/// A change of one place that makes the product wrong.
struct Break {
    /// What is wrong then.
    name: &'static str,
    file: &'static str,
    /// Occurs once in the file.
    find: &'static str,
    replace: &'static str,
    /// The cargo command that must fail because a test failed.
    seen_by: &'static [&'static str],
}

const CORE: &[&str] = &["test", "--locked", "-p", "vfio-core", "--test", "simulated"];
const SIMULATION: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "vfio-tests",
    "--test",
    "simulation",
];
const GUEST_MEMORY: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "vfio-tests",
    "--test",
    "guest_memory",
];
const FAILURES: &[&str] = &["test", "--locked", "-p", "vfio-tests", "--test", "failures"];
const KVM: &[&str] = &["test", "--locked", "-p", "vfio-tests", "--test", "kvm"];
const MEMORY_SLOTS: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "vfio-tests",
    "--test",
    "memory_slots",
];
const TCES: &[&str] = &["test", "--locked", "-p", "vfio-tests", "--test", "spapr"];
const SPAPR: &[&str] = &["test", "--locked", "-p", "iommu-spapr"];
const CLI: &[&str] = &["test", "--locked", "-p", "vfioctl", "--bin", "vfioctl"];
const EXPLAIN: &[&str] = &["test", "--locked", "-p", "vfioctl", "--test", "explain"];
const NUMBERS: &[&str] = &["test", "--locked", "-p", "vfioctl", "--test", "numbers"];
const IN_A_GUEST: &[&str] = &["test", "--locked", "-p", "pci-device", "--test", "assigned"];
const GATE: &[&str] = &["test", "--locked", "-p", "pci-device", "--lib", "gate"];
const VIRTUAL_CONFIG: &[&str] = &[
    "test",
    "--locked",
    "-p",
    "pci-device",
    "--test",
    "virtual_config",
];
const COMPAT: &[&str] = &["test", "--locked", "-p", "rust-vmm-compat"];
const UAPI: &[&str] = &["xtask", "test", "--suite", "uapi"];
const X86_64: &[&str] = &["xtask", "test", "--suite", "x86_64"];

const BREAKS: &[Break] = &[
    Break {
        name: "a slice is in the guest while the device stops to answer",
        file: "pci-device/src/assigned/placing.rs",
        find: "        self.remove_slices(&mut state.placed, &staying);\n        for trap in &going {",
        replace: "        for trap in &going {",
        seen_by: IN_A_GUEST,
    },
    Break {
        name: "a small BAR is mapped with another one of the device in its page",
        file: "pci-device/src/assigned/placing.rs",
        find: "if all.iter().any(|it| is_own(&it)) || !self.vmm.traps.is_free(&at.rest) {",
        replace: "if all.iter().all(|it| is_own(&it)) {",
        seen_by: IN_A_GUEST,
    },
    Break {
        name: "whoever closes a gate does not wait for those inside",
        file: "pci-device/src/assigned/gate.rs",
        find: "while self.0.load(Ordering::SeqCst) != 0 {",
        replace: "while self.0.load(Ordering::SeqCst) == u32::MAX {",
        seen_by: GATE,
    },
    Break {
        name: "a guest writes the device's own MSI",
        file: "pci-device/src/virtual_config/standard/msi.rs",
        find: "    bits.hide(found.at..found.at + len(control));",
        replace: "    bits.pass(found.at + len(control) - 2..found.at + len(control));",
        seen_by: VIRTUAL_CONFIG,
    },
    Break {
        name: "the reset bit reaches the device",
        file: "pci-device/src/virtual_config/standard/express.rs",
        find: "    bits.fix(at + DEVICE_CONTROL + 1, RESET, 0);",
        replace: "    bits.pass(at + DEVICE_CONTROL + 1..at + DEVICE_CONTROL + 2);",
        seen_by: VIRTUAL_CONFIG,
    },
    Break {
        name: "virtual functions are shown to a guest",
        file: "pci-device/src/virtual_config/extended.rs",
        find: "        0x10 => Shown::SR_IOV,",
        replace: "        0x10 => return None,",
        seen_by: VIRTUAL_CONFIG,
    },
    Break {
        name: "an opcode has x86's direction bits on POWER",
        file: "vfio-core/src/uapi/mod.rs",
        find: "opcode::none(VFIO_TYPE, VFIO_BASE + n)",
        replace: "((VFIO_TYPE as Opcode) << 8) | (VFIO_BASE + n) as Opcode",
        seen_by: UAPI,
    },
    Break {
        name: "the group leaves its container before the device is closed",
        file: "vfio-core/src/device/mod.rs",
        find: "    fd: OwnedFd, // closed first, while the group is still in the container\n    bdf: Bdf,\n    domain: Domain,\n    hold: Hold,",
        replace: "    hold: Hold,\n    bdf: Bdf,\n    domain: Domain,\n    fd: OwnedFd,",
        seen_by: CORE,
    },
    Break {
        name: "one of two devices takes the group from KVM",
        file: "vfio-core/src/kvm/vfio_device.rs",
        find: "if known.holders > 0 {",
        replace: "if known.holders > 1 {",
        seen_by: KVM,
    },
    Break {
        name: "a group is closed before KVM lets go of it",
        file: "vfio-core/src/kvm/vfio_device.rs",
        find: "        self.delete(member)\n",
        replace: "        Ok(())\n",
        seen_by: KVM,
    },
    Break {
        name: "a BAR that a guest may still reach is unmapped",
        file: "vfio-core/src/kvm/memory_slots.rs",
        find: "            std::mem::forget(self.memory.take());\n",
        replace: "",
        seen_by: MEMORY_SLOTS,
    },
    Break {
        name: "a memory slot's number is used again while a guest has the slot",
        file: "vfio-core/src/kvm/memory_slots.rs",
        find: "removed.map_err(|answer| self.stays(answer))?;\n        self.forget();",
        replace: "self.slots.0.free().returned.push(self.region.slot);\n        removed.map_err(|answer| self.stays(answer))?;\n        self.memory = None;",
        seen_by: MEMORY_SLOTS,
    },
    Break {
        name: "an entry of a guest's that leads to a page's end is not found",
        file: "vfio-core/src/kvm/tce.rs",
        find: "first.saturating_add(size.saturating_sub(1))",
        replace: "first",
        seen_by: SIMULATION,
    },
    Break {
        name: "an unmap does nothing",
        file: "iommu-type1/src/lib.rs",
        find: "calls::unmap(&self.container, iova)",
        replace: "{ let _ = calls::unmap; Ok(iova.size()) }",
        seen_by: X86_64,
    },
    Break {
        name: "a device that did not come to its driver stays where it is",
        file: "cli/src/bind/carry_out.rs",
        find: "moves.iter().take(before + 1).rev()",
        replace: "moves.iter().take(before).rev()",
        seen_by: CLI,
    },
    Break {
        name: "a disk that is mounted through multipath is taken",
        file: "cli/src/bind/in_use/disks.rs",
        find: "is_below(place, &device) || heads",
        replace: "is_below(place, &device) && heads",
        seen_by: CLI,
    },
    Break {
        name: "a positive return is taken for success",
        file: "vfio-core/src/call.rs",
        find: "positive => Err(Answer::Returned(positive)),",
        replace: "positive => Ok(drop(Err::<(), _>(Answer::Returned(positive)))),",
        seen_by: SPAPR,
    },
    Break {
        name: "a recovery that is left leaves its device in a reset",
        file: "vfio-core/src/iommu/recovery.rs",
        find: "if self.begun {",
        replace: "if self.begun && self.resets > 99 {",
        seen_by: CORE,
    },
    Break {
        name: "the endpoint of several groups is asked",
        file: "vfio-core/src/iommu/domain.rs",
        find: "(Life::Attached(1), Some(kernel)) => call(kernel),",
        replace: "(Life::Attached(1..=9), Some(kernel)) => call(kernel),",
        seen_by: CORE,
    },
    Break {
        name: "a guest thaws the DMA of what is frozen",
        file: "iommu-spapr/src/guest/eeh.rs",
        find: "Ok((3, PeState::StoppedDma)) =>",
        replace: "Ok((3, PeState::StoppedDma | PeState::Frozen)) =>",
        seen_by: SPAPR,
    },
    Break {
        name: "a range that reaches past its window is unmapped",
        file: "iommu-spapr/src/window.rs",
        find: "window.range.contains(iova)",
        replace: "window.range.overlaps(iova)",
        seen_by: SPAPR,
    },
    Break {
        name: "the first group that leaves ends the context of the others",
        file: "vfio-core/src/iommu/domain.rs",
        find: "if *members > 1 {",
        replace: "if *members > 9 {",
        seen_by: CORE,
    },
    Break {
        name: "a group joins a container of any address space",
        file: "vfio-core/src/address_space.rs",
        find: "self.contexts(space)",
        replace: "self.contexts(AddressSpaceId(space.0 * 0))",
        seen_by: CORE,
    },
    Break {
        name: "the preferred backend is tried last",
        file: "vfio-core/src/iommu/registry.rs",
        find: "(r.preference, r.name)",
        replace: "(u32::MAX - r.preference, r.name)",
        seen_by: CORE,
    },
    Break {
        name: "a refusal ends the search for a backend",
        file: "vfio-core/src/iommu/choose.rs",
        find: "refusals.refused(registration.name, error);",
        replace: "return Err(error);",
        seen_by: CORE,
    },
    Break {
        name: "a region that the kernel refuses shifts the others",
        file: "vfio-core/src/device/region.rs",
        find: "indexes.map(|index| (index, self.region(index))).collect()",
        replace: "indexes.filter(|index| self.region(*index).is_ok()).map(|index| (index, self.region(index))).collect()",
        seen_by: CORE,
    },
    Break {
        name: "a vector without an eventfd gets standard input",
        file: "vfio-core/src/device/calls.rs",
        find: "const NO_FD: i32 = -1;",
        replace: "const NO_FD: i32 = 0;",
        seen_by: CORE,
    },
    Break {
        name: "memory that a device may still reach is given back",
        file: "vfio-core/src/iommu/buffer.rs",
        find: "memory.leak();",
        replace: "drop(memory);",
        seen_by: CORE,
    },
    Break {
        name: "memory is given back before it is unmapped",
        file: "vfio-core/src/iommu/buffer.rs",
        find: "        if let Err(error) = self.unmap() {",
        replace: "        drop(self.memory.take());\n        if let Err(error) = self.unmap() {",
        seen_by: FAILURES,
    },
    Break {
        name: "read-only memory is mapped to be written",
        file: "vfio-core/src/uapi/type1.rs",
        find: "Access::Read => DMA_MAP_FLAG_READ,",
        replace: "Access::Read => DMA_MAP_FLAG_READ | DMA_MAP_FLAG_WRITE,",
        seen_by: SIMULATION,
    },
    Break {
        name: "the old life's handle answers for the next one",
        file: "vfio-core/src/iommu/domain.rs",
        find: "            Ok(()) => Life::Ended,",
        replace: "            Ok(()) => Life::Attached(1),",
        seen_by: SIMULATION,
    },
    Break {
        name: "guest memory is given back while devices reach it",
        file: "rust-vmm-compat/src/guest_ram.rs",
        find: "Block::new(memory, Arc::clone(&self.mapping))",
        replace: "Block::new(memory, ())",
        seen_by: COMPAT,
    },
    Break {
        name: "a change of two domains is undone in the first one first",
        file: "vfio-core/src/guest/follower.rs",
        find: ".zip(all).rev()",
        replace: ".zip(all)",
        seen_by: GUEST_MEMORY,
    },
    Break {
        name: "guest memory that goes stays mapped behind the guest's own IOMMU",
        file: "vfio-core/src/guest/follower.rs",
        find: "Some(_) => Plan::behind_iommu(domain, old, &change),",
        replace: "Some(_) => Ok(Plan::default()),",
        seen_by: GUEST_MEMORY,
    },
    Break {
        name: "blocks of guest memory are not registered before parts of them are mapped",
        file: "iommu-spapr/src/v2/mod.rs",
        find: "Option<&dyn MemoryRegistration> {\n        Some(self)\n",
        replace: "Option<&dyn MemoryRegistration> {\n        None\n",
        seen_by: GUEST_MEMORY,
    },
    Break {
        name: "memory is unregistered while TCEs lead there",
        file: "iommu-spapr/src/v2/registered.rs",
        find: "if is_last && block.runs > 0 {",
        replace: "if false && is_last {",
        seen_by: SPAPR,
    },
    Break {
        name: "a TCE that a guest clears takes those along that were put with it",
        file: "vfio-core/src/iommu/books.rs",
        find: "                self.cut(range);\n                self.begin_unmap_translated(range)",
        replace: "                self.begin_unmap_translated(mapping)",
        seen_by: TCES,
    },
    Break {
        name: "a guest that starts anew keeps the window that it has created",
        file: "iommu-spapr/src/guest/bridge.rs",
        find: "        state.remove_created(|liobn| liobn != self.default.liobn)?;\n        state\n            .tables",
        replace: "        state\n            .tables",
        seen_by: TCES,
    },
    Break {
        name: "a TCE behind the end of its window is put",
        file: "iommu-spapr/src/guest/table.rs",
        find: "let is_inside = at.checked_add(count)? <= self.tces.len();",
        replace: "let is_inside = true;",
        seen_by: TCES,
    },
    Break {
        name: "another device's memory stays mapped when its section goes",
        file: "vfio-core/src/guest/follower.rs",
        find: "gone: change.gone.clone(),",
        replace: "gone: change.gone.iter().filter(|it| !is_peer(it)).copied().collect(),",
        seen_by: SIMULATION,
    },
    Break {
        name: "explain takes an address that is refused for one that cannot be reached",
        file: "cli/src/explain/messages.rs",
        find: r"\bvfio\w*_dma_map\b.* -22\b",
        replace: r"\bvfio\w*_dma_map\b.* -14\b",
        seen_by: EXPLAIN,
    },
    Break {
        name: "a name that turns text round costs Prometheus the file",
        file: "cli/src/output.rs",
        find: "let shown = Visible(text).to_string();",
        replace: "let shown = text.to_owned();",
        seen_by: CLI,
    },
    Break {
        name: "probe prints how many levels a table has for how many windows there are",
        file: "cli/src/probe/backend.rs",
        find: "most: windows.count,",
        replace: "most: windows.levels,",
        seen_by: NUMBERS,
    },
];

/// Plants every break, one after the other.
pub(super) fn run(tally: &mut Tally) -> Result<()> {
    let copy = target()?.join("broken/tree");
    mirror(root(), &copy)?;
    // Red means nothing where it is not green before.
    for command in BREAKS.iter().map(|it| it.seen_by).collect::<BTreeSet<_>>() {
        tally.check(&format!("unbroken: cargo {}", command.join(" ")), |_| {
            let (success, text) = in_copy(&copy, command)?;
            ensure!(success, "\n{}", text.trim_end());
            Ok(())
        });
    }
    for it in BREAKS {
        tally.check(&format!("seen: {}", it.name), |_| {
            it.plant(&copy)?;
            let seen = in_copy(&copy, it.seen_by);
            mirror(root(), &copy)?;
            let (success, text) = seen?;
            let a_test_failed = text.lines().any(|line| {
                line.ends_with("... FAILED") || line.trim_start().starts_with("FAILED ")
            });
            ensure!(!success, "no test turned red");
            ensure!(
                a_test_failed,
                "it failed, but not because of a test:\n{}",
                text.trim_end()
            );
            Ok(())
        });
    }
    Ok(())
}

impl Break {
    fn plant(&self, copy: &Path) -> Result<()> {
        let path = copy.join(self.file);
        fs::write(&path, self.broken(copy)?).with_context(|| format!("write {}", path.display()))
    }

    /// What the file would be.
    fn broken(&self, tree: &Path) -> Result<String> {
        let text = fs::read_to_string(tree.join(self.file))
            .with_context(|| format!("read {}", self.file))?;
        ensure!(
            text.matches(self.find).count() == 1,
            "{} does not have {:?} once: mend the break in xtask/src/test/broken.rs",
            self.file,
            self.find
        );
        Ok(text.replace(self.find, self.replace))
    }
}

/// Cargo in the copy. It builds apart from the original: in one place, programs of the two would replace each
/// other, and cargo would take a broken one for the original's.
fn in_copy(copy: &Path, args: &[&str]) -> Result<(bool, String)> {
    let mut command: Command = cargo();
    command
        .current_dir(copy)
        .args(args)
        .env("CARGO_TARGET_DIR", target()?.join("broken/target"));
    output(&mut command)
}

/// Makes `to` what `from` is, but for what is built and what git keeps. Files that are alike are left
/// alone, so that cargo does not build them anew.
fn mirror(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("create {}", to.display()))?;
    let wanted = entries(from)?;
    for path in entries(to)? {
        let name = path.file_name().unwrap_or_default();
        if !wanted.iter().any(|it| it.file_name() == Some(name)) {
            remove(&path)?;
        }
    }
    for source in wanted {
        let name = source.file_name().unwrap_or_default();
        if name == "target" || name == ".git" || source == target()? {
            continue;
        }
        let target = to.join(name);
        if source.is_dir() {
            mirror(&source, &target)?;
        } else if fs::read(&source).ok() != fs::read(&target).ok() {
            fs::copy(&source, &target).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    entries
        .map(|entry| {
            Ok(entry
                .with_context(|| format!("list {}", dir.display()))?
                .path())
        })
        .collect()
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    if let Err(error) = removed {
        bail!("remove {}: {error}", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_break_finds_its_place() {
        for it in BREAKS {
            if let Err(error) = it.broken(root()) {
                panic!("{}: {error:#}", it.name);
            }
        }
    }
}

//! The simulated machine that a trace is about, as far as the trace describes it.

use std::collections::BTreeMap;
use std::mem::offset_of;

use vfio_core::host::{Bdf, PciDevice};
use vfio_core::info_chain;
use vfio_core::kernel::Errno;
use vfio_core::uapi::{
    self, DeviceFeature, DeviceInfo, IommuType1CapIovaRange, IommuType1DmaAvail, IommuType1Info,
    IovaRangeEntry, IrqInfo, RegionInfo, SpaprTceInfo,
};
use zerocopy::FromBytes;

use super::super::objects::Tag;
use super::{Ask, Entry, Given, Said, Trace, parse_ask};
use crate::machine::config_space::{capability, doubleword};
use crate::machine::{
    Bar, BarKind, Device, Group, Hardware, Interrupts, MakeModel, Msix, Spapr, Sriov, Type1,
};
use crate::model::Plain;
use crate::{Machine, Rights};

impl Trace {
    /// The machine: the simulated one of that architecture, with what the trace says of its IOMMU and its devices.
    /// What the simulation has a description of is described so; anything else is a plain device, with the regions,
    /// the interrupts and the config space that were seen. No device does DMA.
    ///
    /// `None` if there is no simulated machine of that architecture.
    pub fn machine(&self) -> Option<Machine> {
        let mut machine = self.like()?;
        machine.release.clone_from(&self.machine.release);
        machine.page_size = self.machine.page_size;
        let seen = self.seen();
        let msix = seen.values().find_map(|seen| seen.irqs.get(&MSIX));
        if let Some(msix) = msix.filter(|msix| msix.count > 0) {
            machine.dynamic_msix = msix.flags & uapi::IRQ_INFO_NORESIZE == 0;
        }
        machine.groups = self.groups(&machine, &seen);
        for iommu in &mut machine.iommus {
            match &mut iommu.hardware {
                Hardware::Type1(hardware) => self.type1(hardware),
                Hardware::Spapr(hardware) => self.spapr(hardware),
                Hardware::None => {}
            }
        }
        Some(machine)
    }

    /// What the process that was recorded may do.
    pub fn rights(&self) -> Rights {
        Rights {
            memlock: self.machine.memlock,
            ipc_lock: false,
            ..Rights::ROOT
        }
    }

    /// The machine that this one is most like.
    fn like(&self) -> Option<Machine> {
        match self.machine.arch.as_str() {
            "x86_64" => Some(Machine::x86_64()),
            "aarch64" => Some(Machine::aarch64()),
            // A hypervisor's tables have one level.
            "ppc64le" => Some(match self.spapr_info() {
                Some(info) if info.ddw.levels > 1 => Machine::powernv9(),
                _ => Machine::pseries(),
            }),
            _ => None,
        }
    }

    fn groups(&self, machine: &Machine, seen: &BTreeMap<Bdf, Seen>) -> Vec<Group> {
        let mut groups: BTreeMap<u32, Vec<Device>> = BTreeMap::new();
        for device in &self.devices {
            let described = describe(machine, device, seen.get(&device.bdf));
            groups
                .entry(device.group.unwrap_or(0))
                .or_default()
                .push(described);
        }
        let groups = groups.into_iter();
        groups
            .map(|(id, devices)| Group::new(id, devices))
            .collect()
    }

    fn type1(&self, hardware: &mut Type1) {
        let types = [uapi::TYPE1_IOMMU, uapi::TYPE1V2_IOMMU].map(|it| format!(" ={it}"));
        let refused = |entry: &Entry| {
            entry.asked.starts_with("VFIO_SET_IOMMU ")
                && types.iter().any(|it| entry.asked.ends_with(it))
                && entry.said == Said::Failed(Errno::PERM)
        };
        hardware.remaps_interrupts = !self.entries.iter().any(refused);
        let answers = self.answers("VFIO_IOMMU_GET_INFO");
        let full = answers.filter_map(|bytes| {
            let (info, _) = IommuType1Info::read_from_prefix(bytes).ok()?;
            (info.cap_offset > 0).then_some((info, bytes))
        });
        let Some((info, bytes)) = full.last() else {
            return;
        };
        hardware.page_sizes = info.iova_pgsizes;
        for (header, bytes) in info_chain::capabilities(bytes, info.cap_offset) {
            match header.id {
                uapi::IOMMU_TYPE1_INFO_CAP_IOVA_RANGE => hardware.ranges = ranges(bytes),
                uapi::IOMMU_TYPE1_INFO_DMA_AVAIL => {
                    if let Ok((left, _)) = IommuType1DmaAvail::read_from_prefix(bytes) {
                        hardware.entry_limit = left.avail;
                    }
                }
                _ => {}
            }
        }
    }

    fn spapr(&self, hardware: &mut Spapr) {
        let Some(info) = self.spapr_info() else {
            return;
        };
        hardware.default_window = (info.dma32_window_start, info.dma32_window_size);
        hardware.page_sizes = info.ddw.pgsizes;
        hardware.windows = info.ddw.max_dynamic_windows_supported;
        hardware.levels = info.ddw.levels;
        let eeh = format!("={}", uapi::EEH);
        hardware.eeh = self.entries.iter().any(|entry| {
            let mut words = entry.asked.split(' ');
            words.next() == Some("VFIO_CHECK_EXTENSION")
                && words.nth(1) == Some(&eeh)
                && entry.said == Said::Number(1)
        });
    }

    fn spapr_info(&self) -> Option<SpaprTceInfo> {
        let answers = self.answers("VFIO_IOMMU_SPAPR_TCE_GET_INFO");
        let infos = answers.filter_map(|bytes| SpaprTceInfo::read_from_prefix(bytes).ok());
        let mut infos = infos.map(|(info, _)| info);
        // One that was asked for less has nothing about windows in it, but the flag.
        infos.find(|info| {
            let is_whole = info.argsz as usize >= size_of::<SpaprTceInfo>();
            is_whole && info.flags & uapi::SPAPR_INFO_DDW != 0
        })
    }

    /// What the calls of that name that succeeded have written.
    fn answers(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let called = move |entry: &&Entry| {
            entry.asked.split(' ').next() == Some(name) && entry.said == Said::Number(0)
        };
        self.entries
            .iter()
            .filter(called)
            .map(|entry| &*entry.output)
    }

    /// What was answered by the devices.
    fn seen(&self) -> BTreeMap<Bdf, Seen> {
        let mut seen: BTreeMap<Bdf, Seen> = BTreeMap::new();
        let mut opened: BTreeMap<Tag, Bdf> = BTreeMap::new();
        for entry in &self.entries {
            match (parse_ask(&entry.asked), entry.said) {
                (Some(Ask::Ioctl(_, _, Given::Bytes(name, _))), Said::Fd(tag)) => {
                    let name = name.strip_suffix(&[0]).unwrap_or(&name);
                    let bdf = std::str::from_utf8(name)
                        .ok()
                        .and_then(|it| it.parse().ok());
                    opened.extend(bdf.map(|bdf| (tag, bdf)));
                }
                (Some(Ask::Ioctl(call, tag, Given::Bytes(given, _))), said) => {
                    if let Some(bdf) = opened.get(&tag) {
                        let seen = seen.entry(*bdf).or_default();
                        seen.learn(call, &given, said, &entry.output);
                    }
                }
                (Some(Ask::Pread(tag, _, CONFIG)), Said::Number(_)) => {
                    if let Some(bdf) = opened.get(&tag) {
                        seen.entry(*bdf)
                            .or_default()
                            .config
                            .clone_from(&entry.output);
                    }
                }
                _ => {}
            }
        }
        seen
    }
}

/// Where a device's config space is in its fd.
const CONFIG: u64 = (uapi::PCI_CONFIG_REGION_INDEX as u64) << 40;
const MSIX: u32 = uapi::PCI_MSIX_IRQ_INDEX;

/// The capability of PCI Express.
const EXPRESS: u8 = 0x10;

/// What a device answered.
#[derive(Debug, Default)]
struct Seen {
    can_reset: bool,
    can_reset_bus: bool,
    has_token: bool,
    regions: BTreeMap<u32, RegionInfo>,
    irqs: BTreeMap<u32, IrqInfo>,
    config: Vec<u8>,
}

impl Seen {
    fn learn(&mut self, call: &str, given: &[u8], said: Said, output: &[u8]) {
        let done = said == Said::Number(0);
        match call {
            "VFIO_DEVICE_GET_INFO" if done => {
                let flags = doubleword(output, offset_of!(DeviceInfo, flags));
                self.can_reset = flags & uapi::DEVICE_FLAGS_RESET != 0;
            }
            "VFIO_DEVICE_GET_REGION_INFO" if done => {
                let info = RegionInfo::read_from_prefix(output).ok();
                self.regions
                    .extend(info.map(|(info, _)| (info.index, info)));
            }
            "VFIO_DEVICE_GET_IRQ_INFO" if done => {
                let info = IrqInfo::read_from_prefix(output).ok();
                self.irqs.extend(info.map(|(info, _)| (info.index, info)));
            }
            "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO" => {
                self.can_reset_bus |= done || said == Said::Failed(Errno::NOSPC);
            }
            "VFIO_DEVICE_FEATURE" => {
                let token = uapi::DEVICE_FEATURE_PCI_VF_TOKEN
                    | uapi::DEVICE_FEATURE_PROBE
                    | uapi::DEVICE_FEATURE_SET;
                self.has_token |=
                    done && doubleword(given, offset_of!(DeviceFeature, flags)) == token;
            }
            _ => {}
        }
    }

    fn config(&self, at: usize) -> u32 {
        doubleword(&self.config, at)
    }

    fn bar(&self, index: u32) -> Option<Bar> {
        let info = self.regions.get(&index).filter(|info| info.size > 0)?;
        let bits = self.config(0x10 + 4 * index as usize);
        let kind = match (bits & 1, bits & 0b100, bits & 0b1000) {
            (1, ..) => BarKind::Io,
            (_, kind, 0b1000) => BarKind::Memory {
                wide: kind == 0b100,
            },
            (_, wide, _) => BarKind::Registers { wide: wide != 0 },
        };
        Some(Bar {
            size: info.size,
            kind,
        })
    }

    fn count(&self, irq: u32) -> u32 {
        self.irqs.get(&irq).map_or(0, |info| info.count)
    }

    /// A plain device that looks like this.
    fn plain(&self, device: &PciDevice) -> Device {
        let bar = |index| self.bar(index);
        let config = (0..self.config.len()).step_by(4);
        let config = config.filter_map(|at| Some((u16::try_from(at).ok()?, self.config(at))));
        let rom = self.regions.get(&uapi::PCI_ROM_REGION_INDEX);
        Device {
            bars: [bar(0), bar(1), bar(2), bar(3), bar(4), bar(5)],
            rom: rom.map_or(0, |info| info.size),
            interrupts: Interrupts {
                line: self.count(uapi::PCI_INTX_IRQ_INDEX) > 0,
                msi: self.count(uapi::PCI_MSI_IRQ_INDEX),
                msix: Some(self.count(MSIX))
                    .filter(|count| *count > 0)
                    .and_then(|vectors| {
                        let seen = Msix::of(&self.config)?;
                        Some(Msix { vectors, ..seen })
                    }),
            },
            express: capability(&self.config, EXPRESS).is_some(),
            extended_config: self.config.len() > 0x100,
            function_reset: self.can_reset,
            sriov: match self.has_token {
                true => Sriov::Physical,
                false => Sriov::None,
            },
            config: config.collect(),
            ..bare(device)
        }
    }
}

/// A device that nothing was seen of.
fn bare(device: &PciDevice) -> Device {
    Device {
        driver: device.driver.clone(),
        ..Device::bare(
            &device.bdf.to_string(),
            device.vendor,
            device.device,
            device.class,
        )
    }
}

fn describe(machine: &Machine, device: &PciDevice, seen: Option<&Seen>) -> Device {
    let Some(seen) = seen else {
        return bare(device);
    };
    let described = match machine.device_like(device) {
        Some(alike) => Device {
            bdf: device.bdf.to_string(),
            driver: device.driver.clone(),
            ..alike.clone()
        }
        .placed(&seen.config),
        None => seen.plain(device),
    };
    Device {
        // Where it is plugged in, not what it is, says what is reset together.
        reset_bus: seen.can_reset_bus.then(|| Device::bus_number(device.bdf)),
        // The calls of a trace are somebody else's: no device does anything on their word.
        model: MakeModel(|| Box::new(Plain::default())),
        ..described
    }
}

/// The ranges that can be mapped, as the capability has them.
fn ranges(capability: &[u8]) -> Vec<(u64, u64)> {
    let Ok((head, rest)) = IommuType1CapIovaRange::read_from_prefix(capability) else {
        return Vec::new();
    };
    let entries = rest.chunks_exact(size_of::<IovaRangeEntry>());
    let entries = entries.take(head.nr_iovas as usize);
    let entries = entries.filter_map(|bytes| IovaRangeEntry::read_from_bytes(bytes).ok());
    entries.map(|entry| (entry.start, entry.end)).collect()
}

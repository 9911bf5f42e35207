//! Which bytes of an argument differ from run to run.

use std::ops::Range;

use vfio_core::uapi;
use zerocopy::FromBytes;

/// A part of an argument that is not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Field {
    /// An address of this process.
    Address(Range<usize>),
    /// An fd; a negative one is compared.
    Fd(Range<usize>),
}

impl Field {
    fn address(at: usize) -> Self {
        Self::Address(at..at + size_of::<u64>())
    }

    fn fd(at: usize) -> Self {
        Self::Fd(at..at + size_of::<i32>())
    }

    /// Where it is in those bytes, if it is there and differs from run to run.
    pub(in super::super) fn place(&self, bytes: &[u8]) -> Option<Range<usize>> {
        let (Self::Address(range) | Self::Fd(range)) = self;
        let field = bytes.get(range.clone())?;
        let fixed =
            matches!(self, Self::Fd(_)) && i32::read_from_bytes(field).is_ok_and(|fd| fd < 0);
        (!fixed).then(|| range.clone())
    }
}

/// The masked parts of what a call is given, by the call's name.
pub(in super::super) fn fields(name: &str, bytes: &[u8]) -> Vec<Field> {
    let fds_from = |start| (start..bytes.len()).step_by(4).map(Field::fd).collect();
    // `argsz` comes first everywhere, `flags` next.
    let flags = bytes
        .get(4..8)
        .and_then(|flags| u32::read_from_bytes(flags).ok());
    let flags = flags.unwrap_or(0);
    match name {
        "VFIO_GROUP_SET_CONTAINER" => vec![Field::fd(0)],
        "VFIO_IOMMU_MAP_DMA"
        | "VFIO_IOMMU_SPAPR_REGISTER_MEMORY"
        | "VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY" => vec![Field::address(8)],
        "VFIO_IOMMU_UNMAP_DMA" | "VFIO_IOMMU_DIRTY_PAGES" => vec![Field::address(40)],
        "VFIO_DEVICE_SET_IRQS" if flags & uapi::IRQ_SET_DATA_EVENTFD != 0 => fds_from(20),
        "VFIO_DEVICE_PCI_HOT_RESET" => fds_from(12),
        "VFIO_DEVICE_IOEVENTFD" => vec![Field::fd(24)],
        "VFIO_DEVICE_FEATURE"
            if flags & uapi::DEVICE_FEATURE_MASK
                == uapi::DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP =>
        {
            vec![Field::fd(8)]
        }
        _ => Vec::new(),
    }
}

/// The bytes without what is masked.
pub(in super::super) fn masked(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    for field in fields(name, bytes) {
        if let Some(place) = field.place(bytes) {
            masked[place].fill(0);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    #[test]
    fn addresses_are_masked_and_nothing_else() {
        let map = uapi::DmaMap {
            argsz: 32,
            flags: 3,
            vaddr: u64::MAX,
            iova: 0x1000,
            size: 0x2000,
        };
        let expected = uapi::DmaMap { vaddr: 0, ..map };
        assert_eq!(
            masked("VFIO_IOMMU_MAP_DMA", map.as_bytes()),
            expected.as_bytes()
        );
        assert_eq!(masked("VFIO_EEH_PE_OP", map.as_bytes()), map.as_bytes());
        // Too short for its fields: the kernel is to say so, not this.
        assert_eq!(masked("VFIO_IOMMU_MAP_DMA", &[7; 12]), [7; 12]);
    }

    #[test]
    fn an_fd_is_masked_and_its_absence_is_not() {
        let irqs = |flags: u32, fds: [i32; 2]| {
            let set = uapi::IrqSet {
                argsz: 28,
                flags,
                index: 1,
                start: 0,
                count: 2,
            };
            [set.as_bytes(), fds.as_bytes()].concat()
        };
        let eventfds = uapi::IRQ_SET_DATA_EVENTFD | uapi::IRQ_SET_ACTION_TRIGGER;
        let name = "VFIO_DEVICE_SET_IRQS";
        assert_eq!(
            masked(name, &irqs(eventfds, [9, -1])),
            irqs(eventfds, [0, -1])
        );
        let flags = uapi::IRQ_SET_DATA_BOOL;
        assert_eq!(masked(name, &irqs(flags, [9, -1])), irqs(flags, [9, -1]));
    }
}

//! Where a device sits in the guest, and what the guest may see of it.

use bitflags::bitflags;

use crate::capability::CapabilityId;

/// Where a device sits in the guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Place {
    /// Behind a port of PCI Express.
    #[default]
    BehindPort,
    /// On the root bus of PCI Express: it is a part of the root complex, and has no link.
    RootComplex,
    /// On a bus of conventional PCI: there is no extended config space, and nothing of PCI Express.
    Conventional,
}

bitflags! {
    /// What is hidden from a guest unless its VMM has what it takes. What is shown is the device's own: how much of it can be
    /// written is VFIO's matter.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub struct Shown: u32 {
        /// Virtual functions: the guest would make devices that nobody has given it.
        const SR_IOV = 1 << 0;
        /// More than eight functions: the numbers are the host's.
        const ARI = 1 << 1;
        /// BARs of other sizes, also of virtual functions: VFIO does not let them change.
        const RESIZABLE_BAR = 1 << 2;
        /// The device keeps translations of the IOMMU: the guest's has to know.
        const ATS = 1 << 3;
        /// The device has pages made present by the IOMMU.
        const PRI = 1 << 4;
        /// The device reaches several address spaces.
        const PASID = 1 << 5;
    }
}

/// What a guest is told instead of what the device says it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub vendor: Option<u16>,
    /// Which of its maker's devices it is.
    pub device: Option<u16>,
    /// Who made the card.
    pub subsystem_vendor: Option<u16>,
    /// Which of its maker's cards it is.
    pub subsystem: Option<u16>,
    /// Base class, subclass and programming interface, in 24 bits.
    pub class: Option<u32>,
    /// Which revision it is.
    pub revision: Option<u8>,
}

/// How a device is presented to a guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seat {
    /// Where it sits.
    pub place: Place,
    /// What the VMM supports.
    pub shown: Shown,
    /// What it is said to be.
    pub identity: Identity,
    /// Whether the guest has further functions of the same device.
    pub multifunction: bool,
    /// Standard capabilities that the guest is not to see, beside those that it never does.
    pub hidden: Vec<CapabilityId>,
}

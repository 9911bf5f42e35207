//! pci-device

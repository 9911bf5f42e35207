//! vfio-sim

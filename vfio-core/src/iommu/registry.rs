//! Which backends this program has.

use std::sync::Arc;

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::Kernel;

use super::IommuBackend;

/// How a backend's devices are reached.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Reach {
    /// Through a VFIO container and the device's group.
    Container {
        /// The number that `VFIO_CHECK_EXTENSION` and `VFIO_SET_IOMMU` take.
        extension: u32,
        /// Called when the container has that IOMMU; whatever it fails with is a refusal, and the next
        /// backend is tried.
        attach: fn(Container) -> Result<Box<dyn IommuBackend>>,
    },
    /// In the backend's own way, with neither container nor group.
    Own {
        /// Whether the kernel has it. Attaches nothing.
        probe: fn(&Arc<dyn Kernel>) -> Result<bool>,
        /// Makes a context that no device uses yet; whatever it fails with is a refusal, and the next backend
        /// is tried. Devices come with [`IommuBackend::open_device`].
        attach: MakeContext,
    },
}

/// How a backend with neither container nor group makes a context.
pub type MakeContext = fn(&Arc<dyn Kernel>) -> Result<Box<dyn IommuBackend>>;

/// A backend as it presents itself.
///
/// A backend's crate exports it as a constant and submits it:
///
/// ```
/// # use vfio_core::iommu::{IommuBackend, Reach, Registration};
/// # use vfio_core::{Container, Result};
/// # fn attach(_: Container) -> Result<Box<dyn IommuBackend>> { unreachable!() }
/// pub const EXAMPLE: Registration = Registration {
///     name: "example",
///     preference: 1000,
///     reach: Reach::Container { extension: 77, attach },
/// };
/// vfio_core::inventory::submit!(EXAMPLE);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    /// Its name, unlike every other's.
    pub name: &'static str,
    /// The lowest is tried first.
    pub preference: u32,
    /// How its devices are reached.
    pub reach: Reach,
}

inventory::collect!(Registration);

/// The environment variable that [`Registry::from_env`] reads: the name of a backend.
pub const BACKEND_VARIABLE: &str = "VFIO_IOMMU_BACKEND";

/// The backends that may be chosen, in the order in which they are tried.
#[derive(Debug, Clone)]
pub struct Registry(Vec<Registration>);

impl Registry {
    /// Every backend that is linked into this program.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`]: there is none, or two have one name.
    pub fn linked() -> Result<Self> {
        Self::of(inventory::iter::<Registration>.into_iter().copied())
    }

    /// Exactly these backends, for those who want no life before `main`.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`]: there is none, or two have one name.
    pub fn of(registrations: impl IntoIterator<Item = Registration>) -> Result<Self> {
        let error = |why: String| {
            Error::new(ErrorKind::Registry, "collect", "the IOMMU backends").because(why)
        };
        let mut all: Vec<_> = registrations.into_iter().collect();
        if all.is_empty() {
            return Err(error(
                "none is linked into this program: the compiler drops a crate that nobody names; \
                 write `use iommu_type1 as _;` and `use iommu_spapr as _;` in the crate of `main`"
                    .into(),
            ));
        }
        all.sort_by_key(|r| (r.preference, r.name));
        for (i, one) in all.iter().enumerate() {
            if all.iter().skip(i + 1).any(|other| other.name == one.name) {
                return Err(error(format!("two are called \"{}\"", one.name)));
            }
        }
        Ok(Self(all))
    }

    /// Of these backends the one with that name alone, for who wants no other.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`]: there is none with that name.
    pub fn only(&self, name: &str) -> Result<Self> {
        match self.iter().find(|registration| registration.name == name) {
            Some(&found) => Ok(Self(vec![found])),
            None => {
                let known: Vec<_> = self.iter().map(|registration| registration.name).collect();
                Err(Error::new(
                    ErrorKind::Registry,
                    "choose",
                    format!("the backend \"{name}\""),
                )
                .because(format!("there are {}", known.join(", "))))
            }
        }
    }

    /// Of these backends the one that the environment variable [`BACKEND_VARIABLE`] names; all of them where
    /// it is not set, or empty. Nothing reads it unless this is called.
    ///
    /// # Errors
    /// [`ErrorKind::Registry`]: there is none with that name.
    pub fn from_env(&self) -> Result<Self> {
        match std::env::var_os(BACKEND_VARIABLE) {
            Some(name) if !name.is_empty() => self.only(&name.to_string_lossy()).map_err(|error| {
                let why = error.reason().unwrap_or_default();
                let why = format!("{BACKEND_VARIABLE} asks for it, and {why}");
                error.because(why)
            }),
            _ => Ok(self.clone()),
        }
    }

    /// Whether some backend has neither container nor group.
    pub(super) fn has_own_ways(&self) -> bool {
        self.iter()
            .any(|registration| matches!(registration.reach, Reach::Own { .. }))
    }

    /// The backends, the preferred one first.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.0.iter()
    }
}

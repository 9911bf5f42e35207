//! Which backends this program has.

use crate::container::Container;
use crate::error::{Error, ErrorKind, Result};

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
}

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

    /// The backends, the preferred one first.
    pub fn iter(&self) -> impl Iterator<Item = &Registration> {
        self.0.iter()
    }
}

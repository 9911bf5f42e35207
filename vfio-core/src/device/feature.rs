//! Features of a device, and the token of virtual functions.

use std::fmt;
use std::str::FromStr;

use crate::error::Result;
use crate::kernel::Errno;
use crate::uapi;

use super::{Device, calls};

/// A feature by its number in `linux/vfio.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Feature(pub u16);

impl Feature {
    /// The token that the virtual functions of a physical one are opened with.
    pub const VF_TOKEN: Self = Self::new(uapi::DEVICE_FEATURE_PCI_VF_TOKEN);
    /// How the device can be migrated.
    pub const MIGRATION: Self = Self::new(uapi::DEVICE_FEATURE_MIGRATION);
    /// The device may sleep.
    pub const LOW_POWER_ENTRY: Self = Self::new(uapi::DEVICE_FEATURE_LOW_POWER_ENTRY);
    /// The device may sleep, and an eventfd says when it woke up.
    pub const LOW_POWER_ENTRY_WITH_WAKEUP: Self =
        Self::new(uapi::DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP);
    /// The device is to be awake.
    pub const LOW_POWER_EXIT: Self = Self::new(uapi::DEVICE_FEATURE_LOW_POWER_EXIT);

    const fn new(number: u32) -> Self {
        assert!(number <= uapi::DEVICE_FEATURE_MASK);
        #[allow(clippy::cast_possible_truncation)] // checked above
        let number = number as u16;
        Self(number)
    }
}

/// What can be done with a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureSupport {
    /// It can be read.
    pub get: bool,
    /// It can be set.
    pub set: bool,
}

impl Device {
    /// Asks what can be done with a feature. Nothing is read or set (F89).
    ///
    /// # Errors
    /// What the kernel answered, other than that it does not know the feature or not in that direction.
    pub fn feature(&self, feature: Feature) -> Result<FeatureSupport> {
        let can = |direction| match calls::probe_feature(self, feature.0, direction) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.errno(), Some(Errno::NOTTY | Errno::INVAL)) => Ok(false),
            Err(error) => Err(error),
        };
        Ok(FeatureSupport {
            get: can(uapi::DEVICE_FEATURE_GET)?,
            set: can(uapi::DEVICE_FEATURE_SET)?,
        })
    }

    /// Sets the token that virtual functions of this physical one must be opened with from now on.
    ///
    /// # Errors
    /// What the kernel answered: `ENOTTY` for what is no physical function.
    pub fn set_vf_token(&self, token: VfToken) -> Result<()> {
        calls::set_feature(self, Feature::VF_TOKEN.0, &token.0)
    }
}

/// The token that a virtual function is opened with: a secret of those who have the physical function.
///
/// It is shown, and parsed, as a UUID: `00112233-4455-6677-8899-aabbccddeeff`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VfToken(pub [u8; 16]);

/// Where a UUID has its hyphens: before these bytes.
const HYPHENS: [usize; 4] = [4, 6, 8, 10];

impl fmt::Display for VfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, byte) in self.0.iter().enumerate() {
            let hyphen = if HYPHENS.contains(&n) { "-" } else { "" };
            write!(f, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

/// A log is no place for a secret.
impl fmt::Debug for VfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VfToken(..)")
    }
}

/// The text is no UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no token: one looks like 00112233-4455-6677-8899-aabbccddeeff")]
pub struct ParseVfTokenError;

impl FromStr for VfToken {
    type Err = ParseVfTokenError;

    fn from_str(text: &str) -> std::result::Result<Self, ParseVfTokenError> {
        let parts: Vec<_> = text.split('-').collect();
        let digits = parts.concat();
        let shaped = parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12]);
        if !shaped || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseVfTokenError);
        }
        let mut token = [0; 16];
        for (byte, pair) in token.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ParseVfTokenError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ParseVfTokenError)?;
        }
        Ok(Self(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_shown_as_it_is_parsed_and_not_in_logs() {
        let text = "00112233-4455-6677-8899-aabbccddeeff";
        let token: VfToken = text.parse().unwrap();
        assert_eq!(token.to_string(), text);
        assert_eq!((token.0[0], token.0[1], token.0[15]), (0x00, 0x11, 0xff));
        assert_eq!(format!("{token:?}"), "VfToken(..)");
    }

    #[test]
    fn what_is_no_uuid_is_refused() {
        for wrong in [
            "",
            "00112233445566778899aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeefg",
            "0011223-34455-6677-8899-aabbccddeeff",
            "+0112233-4455-6677-8899-aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeeff-",
        ] {
            assert!(wrong.parse::<VfToken>().is_err(), "{wrong:?}");
        }
    }
}

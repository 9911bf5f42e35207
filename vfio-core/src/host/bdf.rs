//! The name of a PCI device.

use std::fmt;
use std::str::FromStr;

/// Where a PCI device is: domain, bus, device, function. Shown as sysfs names it: `0000:00:1f.2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bdf {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

impl Bdf {
    /// Of its parts; `None` for a device from 32 on, or a function from 8 on.
    pub const fn new(domain: u32, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device >= 32 || function >= 8 {
            return None;
        }
        Some(Self {
            domain,
            bus,
            device,
            function,
        })
    }
}

impl fmt::Display for Bdf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

/// The text is not the name of a PCI device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a PCI address: it looks like 0000:00:1f.2, or 00:1f.2 in domain 0")]
pub struct ParseBdfError(String);

impl FromStr for Bdf {
    type Err = ParseBdfError;

    fn from_str(text: &str) -> Result<Self, ParseBdfError> {
        parse(text).ok_or_else(|| ParseBdfError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Bdf> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let device = hex(parts.next()?, 2)?;
    let bus = hex(parts.next()?, 2)?;
    let domain = parts.next().map_or(Some(0), |domain| hex(domain, 8))?;
    let function = hex(function, 1)?;
    if parts.next().is_some() {
        return None;
    }
    Bdf::new(
        domain,
        u8::try_from(bus).ok()?,
        u8::try_from(device).ok()?,
        u8::try_from(function).ok()?,
    )
}

/// One to `most` hexadecimal digits, without a sign.
fn hex(text: &str, most: usize) -> Option<u32> {
    let digits = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sysfs_names_parses_and_shows_the_same() {
        for name in ["0000:00:1f.2", "0001:ff:00.7", "10000:01:00.0"] {
            assert_eq!(name.parse::<Bdf>().unwrap().to_string(), name);
        }
        assert_eq!("3:a.0".parse::<Bdf>().unwrap().to_string(), "0000:03:0a.0");
    }

    #[test]
    fn a_name_is_made_of_its_parts() {
        let made = |device, function| Bdf::new(1, 0xff, device, function).map(|it| it.to_string());
        assert_eq!(made(31, 7).as_deref(), Some("0001:ff:1f.7"));
        assert_eq!((made(32, 0), made(0, 8)), (None, None));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            ".",
            ":",
            "00:00",
            "00:20.0",
            "00:00.8",
            "00:00.",
            "0000:00:00:00.0",
            "+0:00.0",
            "g0:00.0",
            "100:00.0",
            "123456789:00:00.0",
            "00:00.00",
            " 00:00.0",
            "../0:0.0",
        ] {
            assert!(bad.parse::<Bdf>().is_err(), "{bad:?}");
        }
    }
}

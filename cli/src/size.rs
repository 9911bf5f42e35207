//! Sizes as people write them.

use std::str::FromStr;

/// A number of bytes: `16G`, `512M`, `4096`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl FromStr for Bytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];

        let text = text.trim_end_matches("iB").trim_end_matches('B');
        let unit = UNITS
            .iter()
            .find(|(letter, _)| text.ends_with([*letter, letter.to_ascii_lowercase()]));
        let (digits, shift) = match unit {
            Some((_, shift)) => (&text[..text.len() - 1], *shift),
            None => (text, 0),
        };
        let number: u64 = digits
            .parse()
            .map_err(|_| "is no size: 512M, 16G or 1T is")?;
        number
            .checked_mul(1 << shift)
            .map(Self)
            .ok_or("is more than there can be")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, bytes) in [
            ("4096", 4096),
            ("2K", 2048),
            ("512m", 512 << 20),
            ("16GiB", 16 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "16X", "99999999999T", "ü"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
    }
}

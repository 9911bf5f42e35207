//! The names of PCI devices, and tokens.

use proptest::prelude::*;
use vfio_core::device::VfToken;
use vfio_core::host::Bdf;

proptest! {
    #[test]
    fn what_is_shown_parses_to_the_same(domain: u32, bus: u8, device in 0..32u8, function in 0..8u8) {
        let name = format!("{domain:04x}:{bus:02x}:{device:02x}.{function}");
        let bdf: Bdf = name.parse().unwrap();
        prop_assert_eq!(bdf.to_string(), name);
        prop_assert_eq!(bdf.to_string().parse::<Bdf>().unwrap(), bdf);
        let upper = format!("{domain:X}:{bus:X}:{device:X}.{function}");
        prop_assert_eq!(upper.parse::<Bdf>().unwrap(), bdf);
        prop_assume!(domain == 0 || bus != 0);
        let short = format!("{bus:x}:{device:x}.{function}");
        prop_assert_eq!(short.parse::<Bdf>().unwrap() == bdf, domain == 0);
    }

    #[test]
    fn a_token_is_shown_as_it_parses(bytes: [u8; 16], text in ".*|[0-9a-f-]{30,38}") {
        let token = VfToken(bytes);
        prop_assert_eq!(token.to_string().parse::<VfToken>().unwrap().0, bytes);
        if let Ok(token) = text.parse::<VfToken>() {
            prop_assert_eq!(token.to_string(), text.to_lowercase());
        }
    }

    #[test]
    fn any_text_is_a_name_or_refused(text in ".*|[0-9a-fA-F:.+ -]{0,16}") {
        if let Ok(bdf) = text.parse::<Bdf>() {
            prop_assert_eq!(bdf.to_string().parse::<Bdf>().unwrap(), bdf);
        }
    }
}

//! The tokens that virtual functions are opened with (A14, F89).

use vfio_core::kernel::{Errno, Result};

use crate::machine::Sriov;
use crate::world::World;

/// A UUID.
pub(crate) type Token = [u8; 16];

/// One that nobody knows, which the kernel has until somebody sets another.
pub(crate) fn random() -> Token {
    let mut token = Token::default();
    let filled = rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty());
    match filled {
        Ok(_) => token,
        Err(_) => [0xa5; 16], // a host without random numbers
    }
}

/// The name of a device, and the options behind it.
pub(crate) fn split(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().position(|&byte| byte == b' ') {
        Some(space) => (&name[..space], &name[space..]),
        None => (name, &[]),
    }
}

/// The token that the options have: ` vf_token=UUID`, and nothing else.
pub(crate) fn of(options: &[u8]) -> Result<Option<Token>> {
    let text = std::str::from_utf8(options).map_err(|_| Errno::INVAL)?;
    match text.trim_matches(' ') {
        "" => Ok(None),
        option => {
            let value = option.strip_prefix("vf_token=").ok_or(Errno::INVAL)?;
            parse(value).map(Some).ok_or(Errno::INVAL)
        }
    }
}

/// A UUID as it is usually written.
fn parse(text: &str) -> Option<Token> {
    let parts: Vec<_> = text.split('-').collect();
    if parts.iter().map(|part| part.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = parts.concat();
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut token = Token::default();
    for (byte, pair) in token.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(token)
}

impl World {
    /// Whether a device may be opened with that token, or without one.
    pub(crate) fn check_token(&mut self, bdf: &str, given: Option<Token>) -> Result<()> {
        let sriov = self.machine.device(bdf).map(|device| device.sriov.clone());
        match sriov.unwrap_or_default() {
            Sriov::None if given.is_some() => Err(Errno::INVAL),
            Sriov::None => Ok(()),
            Sriov::Virtual(physical) => {
                // A physical function that belongs to a driver of the kernel asks for no token.
                let bound = self
                    .machine
                    .device(&physical)
                    .is_some_and(|it| it.is_bound_to_vfio());
                match (bound, given) {
                    (false, None) => Ok(()),
                    (false, Some(_)) => Err(Errno::INVAL),
                    (true, given) => match given == Some(self.state(&physical).vf_token) {
                        true => Ok(()),
                        false => Err(Errno::ACCESS),
                    },
                }
            }
            Sriov::Physical => {
                let in_use = self.is_a_virtual_function_open(bdf);
                let state = self.state(bdf);
                match given {
                    Some(token) if in_use && token != state.vf_token => Err(Errno::ACCESS),
                    None if in_use => Err(Errno::ACCESS),
                    Some(token) => {
                        state.vf_token = token;
                        Ok(())
                    }
                    None => Ok(()),
                }
            }
        }
    }

    fn is_a_virtual_function_open(&self, physical: &str) -> bool {
        self.device_objects().any(|object| {
            let device = object.bdf().and_then(|bdf| self.machine.device(bdf));
            device.is_some_and(|it| matches!(&it.sriov, Sriov::Virtual(of) if of == physical))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_uuid() {
        let (name, options) = split(b"0000:01:00.1 vf_token=00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(name, b"0000:01:00.1");
        let token = of(options).unwrap().unwrap();
        assert_eq!((token[0], token[15]), (0x00, 0xff));
        assert_eq!(of(b""), Ok(None));
        for wrong in [
            " vf_token=",
            " vf_token=0011",
            "\tvf_token=00112233-4455-6677-8899-aabbccddeeff",
            " vf_token=+0112233-4455-6677-8899-aabbccddeeff",
            " other",
            " vf_token=00112233-4455-6677-8899-aabbccddeegg",
            " vf_token=001122334455-6677-8899-aabb-ccddeeff",
        ] {
            assert_eq!(of(wrong.as_bytes()), Err(Errno::INVAL), "{wrong}");
        }
    }
}

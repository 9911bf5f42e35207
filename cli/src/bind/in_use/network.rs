//! Routes over the interfaces of a device.

use std::collections::BTreeSet;
use std::path::Path;

use vfio_core::host::Bdf;
use vfio_core::kernel::{Errno, Kernel};

use super::{Use, Uses, names, of_device, word};

const NET: &str = "/sys/class/net";
const ROUTES: &str = "/proc/net/route";
const ROUTES_6: &str = "/proc/net/ipv6_route";

pub(super) fn look(kernel: &dyn Kernel, bdf: Bdf, uses: &mut Uses) {
    let interfaces = of_device(kernel, "net", bdf);
    if interfaces.is_empty() {
        return;
    }
    let mut routes = Vec::new();
    for (path, parse) in [(ROUTES, route as Parse), (ROUTES_6, route_6)] {
        match kernel.read(path.as_ref()) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                routes.extend(text.lines().filter_map(parse));
            }
            Err(Errno::NOENT) if path == ROUTES_6 => {} // a kernel without IPv6
            Err(errno) => uses.unknown("what is routed", path.as_ref(), errno),
        }
    }
    for interface in interfaces {
        let stack = stack(kernel, &interface);
        let over = routes.iter().filter(|it| stack.contains(&it.interface));
        let over: Vec<_> = over.map(|it| (it.is_default, &it.interface)).collect();
        // The default route says most.
        if let Some((is_default, above)) = over.iter().max() {
            uses.found.push(Use::Routed {
                interface: match **above == interface {
                    true => interface,
                    false => format!("{interface} ({above})"),
                },
                is_default: *is_default,
            });
        } else if is_up(kernel, &interface) {
            let warning = format!("{bdf}: its interface {interface} is up and has a link");
            uses.warnings.push(warning);
        }
    }
}

/// An interface and those that are made of it: bonds, bridges, VLANs.
fn stack(kernel: &dyn Kernel, interface: &str) -> BTreeSet<String> {
    let mut stack = BTreeSet::new();
    let mut next = vec![interface.to_owned()];
    while let Some(layer) = next.pop() {
        let above = names(kernel, &Path::new(NET).join(&layer));
        let above = above.iter().filter_map(|name| name.strip_prefix("upper_"));
        let above: Vec<_> = above.map(str::to_owned).collect();
        if stack.insert(layer) {
            next.extend(above);
        }
    }
    stack
}

fn is_up(kernel: &dyn Kernel, interface: &str) -> bool {
    let read = |file| word(kernel, &Path::new(NET).join(interface).join(file));
    let flags = read("flags").unwrap_or_default();
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap_or(0);
    flags & 1 != 0 && read("carrier").as_deref() == Some("1")
}

struct Route {
    interface: String,
    is_default: bool,
}

type Parse = fn(&str) -> Option<Route>;

/// Interface, destination, and the mask as the eighth field, in hexadecimal; above them a line of titles.
fn route(line: &str) -> Option<Route> {
    let mut fields = line.split_whitespace();
    let interface = fields.next()?.to_owned();
    let destination = u32::from_str_radix(fields.next()?, 16).ok()?;
    let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?;
    Some(Route {
        interface,
        is_default: (destination, mask) == (0, 0),
    })
}

/// Destination, length of its prefix, and last the interface. Every interface that is up has routes to its own link
/// (`fe80::/10`) and for multicast (`ff00::/8`), which say nothing.
fn route_6(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let [destination, len, .., interface] = fields.as_slice() else {
        return None;
    };
    let first = u16::from_str_radix(destination.get(..4)?, 16).ok()?;
    let own = first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00;
    (!own).then(|| Route {
        interface: (*interface).to_owned(),
        is_default: *len == "00",
    })
}

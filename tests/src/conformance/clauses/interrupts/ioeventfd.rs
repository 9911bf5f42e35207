//! F90: what an eventfd can write, and what not.

use vfio_core::kernel::{Arg, Errno, Result};
use vfio_core::uapi::{self, DeviceIoEventFd};
use vfio_sim::Machine;
use zerocopy::IntoBytes;

use crate::conformance::clause::Needs::Device;
use crate::conformance::clause::Trait::{Msix, Ports};
use crate::conformance::clause::{Clause, Trait, both, simulated};
use crate::conformance::host::Host;
use crate::conformance::raw::{call, ioctl};
use crate::conformance::rig::{Open, Rig, Signal};

use super::{INVALID, NO_FD, no_eventfd, signals};

pub(super) const BYTE: u32 = uapi::DEVICE_IOEVENTFD_8;
pub(super) const HALF: u32 = uapi::DEVICE_IOEVENTFD_16;
pub(super) const WORD: u32 = uapi::DEVICE_IOEVENTFD_32;
pub(super) const DOUBLE: u32 = uapi::DEVICE_IOEVENTFD_64;

/// As many as a device can have.
const MOST: u64 = 1000;

pub(super) const CLAUSES: &[Clause] = &[
    both(
        &["F90"],
        "an eventfd can write 1, 2, 4 or 8 bytes",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            for size in [BYTE, HALF, WORD, DOUBLE] {
                assert_eq!(kick.ask(kick.at(0, size)), Ok(0), "{size}");
            }
        },
    ),
    both(
        &["F90"],
        "an eventfd that writes: no size is EINVAL, and two sizes",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            for flags in [0, BYTE | HALF, WORD | DOUBLE, BYTE | HALF | WORD | DOUBLE] {
                assert_eq!(kick.ask(kick.at(0, flags)), INVALID, "{flags}");
            }
        },
    ),
    both(
        &["F90"],
        "an eventfd that writes: unknown flags are EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            for flags in [1 << 4, WORD | 1 << 4, WORD | 1 << 31] {
                assert_eq!(kick.ask(kick.at(0, flags)), INVALID, "{flags:#x}");
            }
        },
    ),
    both(
        &["F90"],
        "an eventfd that writes: argsz below 28 is EINVAL, and 28 is enough",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let sized = |argsz| {
                kick.ask(DeviceIoEventFd {
                    argsz,
                    ..kick.at(0, WORD)
                })
            };
            assert_eq!([0, 27, 28].map(sized), [INVALID, INVALID, Ok(0)]);
        },
    ),
    both(
        &["F90"],
        "an eventfd that writes: what is behind 28 bytes is not looked at",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            assert_eq!(
                kick.ask(DeviceIoEventFd {
                    reserved: 1,
                    ..kick.at(0, WORD)
                }),
                Ok(0)
            );
            assert_eq!(
                kick.ask(DeviceIoEventFd {
                    argsz: 4000,
                    ..kick.at(4, WORD)
                }),
                Ok(0)
            );
        },
    ),
    both(
        &["F90"],
        "an eventfd that writes: a pointer to nowhere is EFAULT",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let arg = Arg::Value(1);
            let answer = ioctl(
                kick.open.kernel(),
                &kick.open.device,
                uapi::DEVICE_IOEVENTFD,
                arg,
            );
            assert_eq!(answer, Err(Errno::FAULT));
        },
    ),
    both(
        &["F90"],
        "an eventfd that writes: below -1 is EINVAL, no fd EBADF, no eventfd EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let by = |fd| {
                kick.ask(DeviceIoEventFd {
                    fd,
                    ..kick.at(0, WORD)
                })
            };
            assert_eq!([-2, i32::MIN].map(by), [INVALID; 2]);
            assert_eq!(by(NO_FD), Err(Errno::BADF));
            assert_eq!(by(no_eventfd(&kick.open)), INVALID);
            assert_eq!(by(kick.signal.number()), Ok(0), "none of them is there");
        },
    ),
    both(
        &["F90"],
        "nothing is written past the end of a BAR: EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let end = host.device(Msix).bars[0].unwrap().size;
            assert_eq!(kick.ask(kick.at(end - 4, WORD)), Ok(0), "the last word");
            assert_eq!(kick.ask(kick.at(end - 3, WORD)), INVALID);
            assert_eq!(kick.ask(kick.at(end, BYTE)), INVALID);
            assert_eq!(kick.ask(kick.at((1 << 40) - 1, BYTE)), INVALID);
        },
    ),
    both(
        &["F90"],
        "nothing is written into the table of MSI-X: EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let (start, end) = table(host);
            for (offset, size) in [
                (start, BYTE),
                (start, WORD),
                (end - 1, BYTE),
                (end - 4, WORD),
            ] {
                assert_eq!(kick.ask(kick.at(offset, size)), INVALID);
            }
            assert_eq!(kick.ask(kick.at(start - 2, WORD)), INVALID, "into it");
            assert_eq!(kick.ask(kick.at(end - 2, WORD)), INVALID, "out of it");
        },
    ),
    both(
        &["F90"],
        "what is beside the table of MSI-X can be written",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let (start, end) = table(host);
            assert_eq!(kick.ask(kick.at(start - 4, WORD)), Ok(0));
            assert_eq!(kick.ask(kick.at(end, WORD)), Ok(0));
        },
    ),
    both(
        &["F90"],
        "nothing is written into a BAR that there is not: EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let empty = host
                .device(Msix)
                .bars
                .iter()
                .position(Option::is_none)
                .unwrap() as u64;
            assert_eq!(kick.ask(kick.at(empty << 40, WORD)), INVALID);
        },
    ),
    both(
        &["F90"],
        "nothing is written into what is no BAR: EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            for region in [6, 7, 8, 9, 0x7f_ffff] {
                assert_eq!(kick.ask(kick.at(region << 40, WORD)), INVALID, "{region}");
            }
        },
    ),
    both(
        &["F90"],
        "an eventfd can write ports",
        &[Device(Ports)],
        |host| {
            let kick = Kick::of(host, Ports);
            let is_ports =
                |bar: &vfio_sim::machine::Bar| bar.kind == vfio_sim::machine::BarKind::Io;
            let bars = &host.device(Ports).bars;
            let ports = bars
                .iter()
                .position(|bar| bar.is_some_and(|bar| is_ports(&bar)));
            let ports = (ports.unwrap() as u64) << 40;
            assert_eq!(kick.ask(kick.at(ports, BYTE)), Ok(0));
            assert_eq!(
                kick.ask(DeviceIoEventFd {
                    fd: -1,
                    ..kick.at(ports, BYTE)
                }),
                Ok(0)
            );
        },
    ),
    both(
        &["F90"],
        "what is not aligned is not refused",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            assert_eq!(kick.ask(kick.at(1, WORD)), Ok(0));
        },
    ),
    both(
        &["F90"],
        "the same write again is EEXIST, by another eventfd too, whatever it is",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let [other] = signals(&kick.open);
            let write = kick.at(0, WORD);
            kick.ask(write).unwrap();
            for fd in [
                kick.signal.number(),
                other.number(),
                NO_FD,
                no_eventfd(&kick.open),
            ] {
                assert_eq!(kick.ask(DeviceIoEventFd { fd, ..write }), Err(Errno::EXIST));
            }
        },
    ),
    both(
        &["F90"],
        "another place, size or number is another write, of the same eventfd too",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let write = kick.at(0, WORD);
            kick.ask(write).unwrap();
            assert_eq!(kick.ask(kick.at(4, WORD)), Ok(0));
            assert_eq!(kick.ask(kick.at(0, HALF)), Ok(0));
            assert_eq!(kick.ask(DeviceIoEventFd { data: 1, ..write }), Ok(0));
            assert_eq!(
                kick.ask(DeviceIoEventFd {
                    data: 1 << 32,
                    ..write
                }),
                Ok(0),
                "not even written"
            );
            assert_eq!(kick.ask(write), Err(Errno::EXIST));
        },
    ),
    both(
        &["F90"],
        "-1 takes a write away, once: ENODEV for what is not there",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let gone = |write| DeviceIoEventFd { fd: -1, ..write };
            let write = kick.at(0, WORD);
            assert_eq!(kick.ask(gone(write)), Err(Errno::NODEV));
            kick.ask(write).unwrap();
            assert_eq!(
                kick.ask(gone(kick.at(0, HALF))),
                Err(Errno::NODEV),
                "another size"
            );
            let data = DeviceIoEventFd { data: 1, ..write };
            assert_eq!(kick.ask(gone(data)), Err(Errno::NODEV), "another number");
            assert_eq!(
                [(); 2].map(|()| kick.ask(gone(write))),
                [Ok(0), Err(Errno::NODEV)]
            );
            assert_eq!(kick.ask(write), Ok(0), "again");
        },
    ),
    both(
        &["F90"],
        "where nothing can be written, nothing can be taken away: EINVAL",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let gone = DeviceIoEventFd {
                fd: -1,
                ..kick.at(7 << 40, WORD)
            };
            assert_eq!(kick.ask(gone), INVALID);
        },
    ),
    both(
        &["F90"],
        "after a thousand ENOSPC, and room again for each that is taken away",
        &[Device(Msix)],
        |host| {
            let kick = Kick::new(host);
            let numbered = |data| DeviceIoEventFd {
                data,
                ..kick.at(0, WORD)
            };
            for data in 0..MOST {
                assert_eq!(kick.ask(numbered(data)), Ok(0), "{data}");
            }
            assert_eq!(kick.ask(numbered(MOST)), Err(Errno::NOSPC));
            assert_eq!(kick.ask(numbered(0)), Err(Errno::EXIST), "looked at before");
            let wrong = DeviceIoEventFd {
                fd: NO_FD,
                ..numbered(MOST)
            };
            assert_eq!(
                kick.ask(wrong),
                Err(Errno::NOSPC),
                "looked at before the fd"
            );
            assert_eq!(
                kick.ask(DeviceIoEventFd {
                    fd: -1,
                    ..numbered(7)
                }),
                Ok(0)
            );
            assert_eq!(kick.ask(numbered(MOST)), Ok(0));
            assert_eq!(kick.ask(numbered(7)), Err(Errno::NOSPC));
        },
    ),
    both(
        &["F90", "F91"],
        "closing the device takes its writes away",
        &[Device(Msix)],
        |host| {
            let (rig, open) = host.open(Msix);
            let kick = Kick {
                signal: Signal::new(open.kernel()),
                open,
                _rig: None,
            };
            let write = kick.at(0, WORD);
            kick.ask(write).unwrap();
            let Kick { signal, open, .. } = kick;
            drop(open);
            let open = rig.open(&host.device(Msix).bdf);
            let kick = Kick {
                signal,
                open,
                _rig: None,
            };
            assert_eq!(
                kick.ask(DeviceIoEventFd { fd: -1, ..write }),
                Err(Errno::NODEV)
            );
            kick.signal.send();
            assert_eq!(kick.signal.count(), 1, "nobody takes it");
        },
    ),
    simulated(
        &["F90", "H10"],
        "nothing is written at an offset that is a negative number: EINVAL",
        "a real kernel may take it, and then writes into its own memory",
        || {
            let host = Host::simulated(Machine::x86_64());
            let kick = Kick::new(&host);
            assert_eq!(kick.ask(kick.at(1 << 63, WORD)), INVALID);
            assert_eq!(kick.ask(kick.at(0xff_ffff << 40, WORD)), INVALID);
        },
    ),
];

/// Where the table of MSI-X starts and ends in BAR 0.
fn table(host: &Host) -> (u64, u64) {
    let msix = host.device(Msix).interrupts.msix.unwrap();
    assert_eq!(msix.bar, 0, "the clauses write into BAR 0");
    let start = u64::from(msix.table);
    (start, start + 16 * u64::from(msix.vectors))
}

/// A device and an eventfd that is to write its registers. It is never signalled here.
struct Kick {
    open: Open,
    signal: Signal,
    _rig: Option<Rig>,
}

impl Kick {
    fn new(host: &Host) -> Self {
        Self::of(host, Msix)
    }

    fn of(host: &Host, like: Trait) -> Self {
        let (rig, open) = host.open(like);
        Self {
            signal: Signal::new(open.kernel()),
            open,
            _rig: Some(rig),
        }
    }

    fn at(&self, offset: u64, flags: u32) -> DeviceIoEventFd {
        write(offset, flags, self.signal.number())
    }

    fn ask(&self, request: DeviceIoEventFd) -> Result<u32> {
        ask(&self.open, request)
    }
}

/// A write of 0.
pub(super) fn write(offset: u64, flags: u32, fd: i32) -> DeviceIoEventFd {
    DeviceIoEventFd {
        argsz: 32,
        flags,
        offset,
        data: 0,
        fd,
        reserved: 0,
    }
}

/// What is answered; nothing is written back.
pub(super) fn ask(device: &Open, mut request: DeviceIoEventFd) -> Result<u32> {
    let before = request;
    let answer = call(
        device.kernel(),
        &device.device,
        uapi::DEVICE_IOEVENTFD,
        &mut request,
    );
    assert_eq!(request.as_bytes(), before.as_bytes());
    answer
}

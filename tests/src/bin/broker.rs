//! A process without rights assigns a device that a broker opened for it.
//!
//! `broker BDF`, as root, opens the device's group and a container, starts itself anew as user 65534, and sends it
//! both over a Unix socket. That process has the device do DMA both ways. The broker does nothing else with them,
//! so this works on sPAPR too, which ties a container to the process that maps first.

use std::io::{IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use pci_device::{Command as Enable, ConfigSpace};
use rustix::io::IoSlice;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::{Resource, Rlimit, setrlimit};
use vfio_core::address::{Access, DmaMask};
use vfio_core::host::{self, Bdf};
use vfio_core::{Handover, Vfio};
use vfio_tests::devices::{BUFFER_SIZE, Dma, Model};

// Linked in to be chosen.
use iommu_spapr as _;
use iommu_type1 as _;

/// Who has no rights.
const NOBODY: u32 = 65534;

/// How much memory that process may lock, in bytes: the kernel counts what is mapped, and on sPAPR also the tables
/// of the windows (8 MiB for the default one on bare metal).
const MAY_LOCK: u64 = 64 << 20;

/// Have a process without rights do DMA with a device
#[derive(Parser)]
#[command(version)]
struct Args {
    /// A device that is bound to VFIO, such as 0000:00:04.0
    bdf: Bdf,

    /// Be the process without rights: the socket is the standard input
    #[arg(long, hide = true)]
    receive: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.receive {
        true => assign(args.bdf),
        false => broker(args.bdf),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Opens, sends, and waits for what comes of it.
fn broker(bdf: Bdf) -> Result<()> {
    let fds = Vfio::new()?.hand_over(bdf)?.into_fds();
    let container = fds.container.context("a container")?;
    let (ours, theirs) = UnixStream::pair().context("make a pair of sockets")?;
    let limit = Rlimit {
        current: Some(MAY_LOCK),
        maximum: Some(MAY_LOCK),
    };
    setrlimit(Resource::Memlock, limit).context("say how much memory may be locked")?;
    let mut child = Command::new(std::env::current_exe().context("find this program")?)
        .arg(bdf.to_string())
        .arg("--receive")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .gid(NOBODY)
        .uid(NOBODY)
        .spawn()
        .context("start the process without rights")?;
    send(&ours, &fds.group, &container)?;
    drop((ours, fds.group, container)); // the device is the other's now
    let status = child
        .wait()
        .context("wait for the process without rights")?;
    ensure!(status.success(), "it failed: {status}");
    Ok(())
}

fn send(socket: &UnixStream, group: &OwnedFd, container: &OwnedFd) -> Result<()> {
    let fds = [group.as_fd(), container.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fits = control.push(SendAncillaryMessage::ScmRights(&fds));
    ensure!(fits, "two fds are too many for a message");
    sendmsg(
        socket,
        &[IoSlice::new(b"g")],
        &mut control,
        SendFlags::empty(),
    )
    .context("send the fds")?;
    Ok(())
}

fn receive() -> Result<Handover> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        std::io::stdin(),
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .context("receive the fds")?;
    let mut fds = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
        _ => Vec::new(),
    });
    let group = fds.next().context("no group came")?;
    let container = fds.next().context("no container came")?;
    Ok(Handover::of_group(group).with_container(container))
}

/// Takes the device and has it do DMA.
fn assign(bdf: Bdf) -> Result<()> {
    let user = rustix::process::geteuid().as_raw();
    ensure!(user == NOBODY, "this is user {user}, who may have rights");
    let vfio = Vfio::new()?;
    ensure!(vfio.open(bdf).is_err(), "this user could have opened it");
    let device = vfio.adopt(bdf, receive()?)?;
    ConfigSpace::of(&device)?.enable(Enable::MEMORY | Enable::BUS_MASTER)?;
    let buffer = device
        .domain()
        .buffer(BUFFER_SIZE, DmaMask::bits(32), Access::ReadWrite)?;
    let model = Model::of(&host::device(&**vfio.kernel(), bdf)?).context("there is no driver")?;
    let mut driver = model.drive(&device)?;
    driver.start()?;
    ensure!(
        driver.reads(&buffer)? == Dma::Arrived,
        "the device did not read"
    );
    ensure!(
        driver.writes(&buffer)? == Dma::Arrived,
        "the device did not write"
    );
    writeln!(
        std::io::stdout(),
        "user {user}: DMA both ways with {bdf} through {}",
        device.domain().name()
    )?;
    drop((driver, buffer));
    device.close()?;
    Ok(())
}

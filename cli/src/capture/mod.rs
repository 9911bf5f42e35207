//! `vfioctl capture`: a host as an archive, to be asked by somebody else.

mod assemble;
mod config;
mod contents;
mod look;
mod notes;
mod redact;
mod write;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use vfio_core::diagnosis::{Examiner, Question};
use vfio_core::iommu::Registry;
use vfio_core::{Result, Vfio, host};
use vfio_sim::wrap::Watched;

use crate::host::Host;
use crate::output;
use crate::probe;
use crate::status::Status;
use assemble::{Capture, assemble};
use notes::Notes;

/// Write down what this host answers to every query, to be asked elsewhere with --root
///
/// Nothing secret is in it: no names of hosts and users, no serial numbers, no network addresses. It is an archive of
/// files (.tar.gz): look into it before you send it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl --sim x86_64 capture - | tar tzf -")]
pub(crate) struct Args {
    /// Where to; - is standard output
    file: PathBuf,
    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(host: &Host, args: &Args) -> anyhow::Result<Status> {
    let capture = capture(host)?;
    let (archive, files) = write::archive(&capture)?;
    let name = save(&archive, args)?;
    for path in &capture.left_out {
        output::remark(format_args!(
            "{} is left out: no rule says that it holds nothing secret",
            path.display()
        ));
    }
    output::remark(format_args!(
        "{name}: {files} files of the host, {} bytes; look into it before you send it: tar tf {name}",
        archive.len()
    ));
    Ok(Status::FINE)
}

/// Asks that host everything.
fn capture(host: &Host) -> Result<Capture> {
    let notes = Arc::new(Notes::default());
    let watched = Watched::new(Arc::clone(host.vfio.kernel()), Arc::clone(&notes));
    // What it is called is in the manifest.
    let watched = Host::real(Vfio::on(Arc::new(watched), Registry::linked()?));
    ask_everything(&watched);
    let kernel = watched.kernel();
    look::at_contents(kernel);
    look::at_groups_and_devices(kernel);
    look::at_processes(kernel);
    look::at_the_way(kernel, &notes);
    Ok(assemble(notes.take(), host))
}

/// Every query that there is. What one cannot find out is found out no better by who gets the capture.
fn ask_everything(host: &Host) {
    let kernel = host.kernel();
    let _ = probe::ask(host, None, None);
    let examiner = Examiner::of(kernel);
    let devices = host::devices(kernel).into_iter().map(Some);
    for device in devices.chain([None]) {
        // However large the guest is, the same is read.
        let guest_memory = Some(1 << 30);
        let _ = examiner.examine(Question {
            device,
            guest_memory,
        });
    }
}

/// Writes the archive; answers what the place is called.
fn save(archive: &[u8], args: &Args) -> anyhow::Result<String> {
    let file = &args.file;
    if file == Path::new("-") {
        io::stdout().write_all(archive)?;
        return Ok("-".to_owned());
    }
    let name = file.display().to_string();
    let mut options = OpenOptions::new();
    match args.force {
        true => options.write(true).create(true).truncate(true),
        false => options.write(true).create_new(true),
    };
    let written = options
        .open(file)
        .and_then(|mut file| file.write_all(archive));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            anyhow!("{name} is there already: another name, or --force to overwrite it")
        }
        _ => anyhow!("write {name}: {error}"),
    })?;
    Ok(name)
}

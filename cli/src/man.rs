//! `vfioctl man`: the manual, made from the commands themselves.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::output::Output;
use crate::status::Status;

/// Print the manual page of a command, or write all of them into a directory
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  vfioctl man doctor\n\nTo read one: vfioctl man doctor | man -l -"
)]
pub(crate) struct Args {
    /// The command; without one, the page of vfioctl itself
    command: Option<String>,
    /// Write every page into this directory, as vfioctl.1, vfioctl-probe.1 and so on
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "command")]
    out: Option<PathBuf>,
}

pub(crate) fn run(out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let program = program();
    if let Some(directory) = &args.out {
        write(&program, directory)?;
        return Ok(Status::FINE);
    }
    let page = match &args.command {
        None => program,
        Some(name) => program
            .get_subcommands()
            .find(|command| command.get_name() == name)
            .cloned()
            .with_context(|| format!("there is no command {name}"))?,
    };
    out.text(String::from_utf8_lossy(&render(&page)?).trim_end())?;
    Ok(Status::FINE)
}

/// The program with each command named as its page is.
fn program() -> Command {
    let mut program = crate::Args::command();
    program.build();
    program
}

fn write(program: &Command, directory: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    for page in std::iter::once(program).chain(program.get_subcommands()) {
        if page.get_name() == "help" {
            continue;
        }
        let file = directory.join(format!("{}.1", title(page)));
        fs::write(&file, render(page)?).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

fn title(page: &Command) -> String {
    page.get_display_name()
        .map_or_else(|| page.get_name().to_owned(), str::to_owned)
}

fn render(page: &Command) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    Man::new(page.clone().disable_help_subcommand(true))
        .title(title(page))
        .date(" ") // as old as the program; without any, what comes next is taken for it
        .source(concat!("vfioctl ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)
        .context("make the page")?;
    Ok(text)
}

//! `vfioctl completions`: what a shell asks when TAB is pressed.

use std::io::Write;

use clap_complete::env::Shells;

use crate::output::Output;
use crate::status::Status;

/// The variable by which a shell asks; it is set by what `completions` prints.
pub(crate) const VARIABLE: &str = "VFIOCTL_COMPLETE";

/// Bash takes a colon for the end of a word, unless it is told otherwise.
const WHOLE_ADDRESSES: &str = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}";

/// Print what makes a shell complete commands, options and the addresses of devices
///
/// To install, for bash: vfioctl completions bash > ~/.local/share/bash-completion/completions/vfioctl
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  vfioctl completions bash")]
pub(crate) struct Args {
    /// Which shell
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

pub(crate) fn run(out: &mut Output, args: &Args) -> anyhow::Result<Status> {
    let shells = Shells::builtins();
    let Some(shell) = shells.completer(&args.shell) else {
        anyhow::bail!("there is nothing for {}", args.shell);
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "vfioctl", "vfioctl", "vfioctl", &mut script)?;
    script.flush()?;
    if args.shell == "bash" {
        out.text(WHOLE_ADDRESSES)?;
    }
    out.text(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Status::FINE)
}

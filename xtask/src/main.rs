//! The project's own commands: `cargo xtask demo`, `test`, `bench`, `lab`.

mod bench;
mod cache;
mod cross;
mod demo;
mod lab;
mod packages;
mod platform;
mod test;
mod tools;
mod ui;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use ui::Ui;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a command in an emulated machine that has an IOMMU and VFIO
    Lab(lab::LabArgs),
    /// Show the product doing its job on three architectures
    Demo(demo::DemoArgs),
    /// Measure the product beside its peers
    Bench(bench::BenchArgs),
    /// Run everything that proves the project
    Test(test::TestArgs),
    /// Break machines and capture them, for the doctor's tests: renews cli/tests/hosts
    Captures,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new();
    let result = match cli.command {
        Command::Lab(args) => lab::run(&args, &ui),
        Command::Demo(args) => demo::run(&args, &ui),
        Command::Bench(args) => platform::require_lab().and_then(|()| bench::run(&args, &ui)),
        Command::Test(args) => test::run(&args, &ui),
        Command::Captures => platform::require_lab().and_then(|()| test::renew_captures(&ui)),
    };
    result.unwrap_or_else(|error| {
        ui.note(format_args!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

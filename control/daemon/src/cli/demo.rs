//! `tandem demo`.

use super::CliResult;
use crate::demo::{self, Wish, phone::Kind};
use clap::{Args, ValueEnum};

const DEMO_HELP: &str = "\
Examples:
  tandem demo                          ten seconds with baresip, or with our own softphone
  tandem demo --seconds 60 --phones ua
  tandem demo --json > demo.json       one object; everything else goes to standard error

It needs no configuration, leaves nothing behind, and keeps to 127.0.0.1.";

/// Arguments of `tandem demo`.
#[derive(Debug, Args)]
#[command(after_help = DEMO_HELP)]
pub(super) struct DemoArgs {
    /// How long the parties talk, s.
    #[arg(long, value_name = "S", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Which phones: Debian's baresip, Tandem's own, or the first of them that can be run.
    #[arg(long, value_enum, default_value_t)]
    phones: Phones,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Keep the folder with logs and recordings, and say where it is.
    #[arg(long)]
    keep: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Phones {
    /// Baresip where it can be run, else ua.
    #[default]
    Auto,
    /// Debian's baresip.
    Baresip,
    /// Tandem's own softphone.
    Ua,
}

pub(super) fn run(args: &DemoArgs) -> CliResult {
    let phones = match args.phones {
        Phones::Auto => None,
        Phones::Baresip => Some(Kind::Baresip),
        Phones::Ua => Some(Kind::Ua),
    };
    let &DemoArgs { seconds, json, keep, .. } = args;
    demo::run(Wish { seconds, phones, json, keep })
}

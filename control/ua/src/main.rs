//! The program `tandem-ua`.

use clap::Parser;
use std::process::ExitCode;
use tandem_ua::args::{Action, Cli};
use tandem_ua::error::UaError;
use tandem_ua::report::Report;
use tandem_ua::script::{self, Runner};
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = if cli.options.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level)
        .with_target(false)
        .with_ansi(false)
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(&cli)),
        Err(source) => Err(UaError::Io { what: "starting", source }),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            let report = Report { error: Some(error.to_string()), ..Report::default() };
            print_report(&cli, &report);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: &Cli) -> Result<ExitCode, UaError> {
    if let Action::Listen { file } = &cli.action {
        let heard = script::listen(file)?;
        if cli.options.json {
            println!("{}", serde_json::to_string(&heard).unwrap_or_default());
        } else {
            println!("{}", heard.to_text());
        }
        return Ok(ExitCode::SUCCESS);
    }
    let actions = match &cli.action {
        Action::Script { file } => script::load(file)?,
        action => vec![action.clone()],
    };
    let runner = Runner::start(cli.options.clone(), &actions).await?;
    let phone = runner.phone().clone();
    tokio::spawn(async move {
        wait_for_signal().await;
        phone.stop();
        // A second one does not wait for the other side.
        wait_for_signal().await;
        std::process::exit(130);
    });
    let (report, error) = runner.run(&actions).await;
    print_report(cli, &report);
    Ok(error.map_or(ExitCode::SUCCESS, |error| ExitCode::from(error.exit_code())))
}

/// Ctrl-C or SIGTERM.
async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}

/// JSON to standard output; text to standard output too, but errors to standard error.
fn print_report(cli: &Cli, report: &Report) {
    if cli.options.json {
        println!("{}", serde_json::to_string(report).unwrap_or_default());
        return;
    }
    let shown = Report { error: None, ..report.clone() };
    let text = shown.to_text();
    if !text.is_empty() {
        println!("{text}");
    }
    if let Some(error) = &report.error {
        eprintln!("tandem-ua: {error}");
    }
}

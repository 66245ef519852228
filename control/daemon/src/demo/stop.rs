//! Ctrl-C: the demo ends in good order, its children first.

use crate::cli::{CliError, CliResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Longest sleep without a look at the flag.
const SLICE: Duration = Duration::from_millis(50);
/// Exit status of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Whether the demo was asked to end.
#[derive(Clone, Debug)]
pub(super) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on.
    pub(super) fn listen() -> CliResult<Self> {
        let fail = |error| CliError::failed(format!("cannot wait for signals: {error}"));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(fail)?;
        let context = runtime.enter();
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let mut signals = Vec::new();
        for kind in kinds {
            signals.push(signal(kind).map_err(fail)?);
        }
        drop(context);
        let stop = Self { asked: Arc::new(AtomicBool::new(false)) };
        let asked = Arc::clone(&stop.asked);
        std::thread::spawn(move || {
            runtime.block_on(any(&mut signals));
            asked.store(true, Ordering::Relaxed);
        });
        Ok(stop)
    }

    /// Sleeps, unless the demo is asked to end.
    ///
    /// # Errors
    /// It was asked to.
    pub(super) fn sleep_until(&self, until: Instant) -> CliResult {
        loop {
            if self.asked.load(Ordering::Relaxed) {
                super::tell("stopped: ending the call and the appliance");
                return Err(CliError::silent(INTERRUPTED));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(SLICE));
        }
    }
}

/// Waits for the first of them.
async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|context| {
        let ready = signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
        if ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

//! The loop of the signalling thread: wait, read, work, send, publish.

use super::stop::{NewConfig, Stop};
use super::switch::Switch;
use crate::guard::admission::Backlog;
use crate::net::{Input, Net};
use crate::snapshot::{Query, Shared};
use core::time::Duration;
use jiff::Timestamp;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use tandem_hw::clock::Clock;
use tandem_wire::time::Instant;
use tokio::sync::mpsc;

/// How often figures are published.
const PUBLISH_EVERY: Duration = Duration::from_millis(250);
/// The longest that a stop waits for the parties to answer our BYEs.
const STOP_WITHIN: Duration = Duration::from_secs(3);
/// Messages that are handled before what they caused is sent.
const MESSAGES_PER_FLUSH: usize = 32;
/// Token of the link's descriptor in the poller.
const ENGINE: u64 = 1;

/// What the thread is asked from outside.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) stop: Arc<Stop>,
    pub(super) queries: mpsc::Receiver<Query>,
    pub(super) configs: Receiver<NewConfig>,
}

/// What the signalling thread owns.
#[derive(Debug)]
pub(super) struct Worker {
    net: Net,
    switch: Switch,
    /// Kept open while it is watched.
    _engine: Option<OwnedFd>,
    shared: Arc<Shared>,
    asked: Asked,
    clock: Clock,
    backlog: Backlog,
    next_publish: Instant,
    /// No new calls; those that are up may go on until then.
    drain_by: Option<Instant>,
    stop_by: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        net: Net,
        switch: Switch,
        engine: Option<OwnedFd>,
        asked: Asked,
    ) -> io::Result<Self> {
        if let Some(engine) = &engine {
            net.watch_external(engine, ENGINE)?;
        }
        let clock = Clock::new();
        Ok(Self {
            shared: switch.world.shared.clone(),
            net,
            switch,
            _engine: engine,
            asked,
            clock,
            backlog: Backlog::new(clock.now()),
            next_publish: Instant::ZERO,
            drain_by: None,
            stop_by: None,
        })
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        while !self.is_done() {
            let now = self.clock.now();
            let due = self
                .switch
                .next_timeout()
                .map_or(self.next_publish, |at| at.min(self.next_publish));
            if let Err(error) = self.net.wait(due.since(now)) {
                tracing::error!(%error, "the SIP sockets cannot be watched any more");
                break;
            }
            let woken = self.clock.now();
            self.switch.admission().note_turn(woken, self.backlog.turn_begins(woken));
            self.turn();
            self.backlog.turn_over(self.clock.now(), self.net.take_left_unread());
        }
        self.switch.finish();
        self.publish();
    }

    /// One turn: everything that is ready, then what is due.
    fn turn(&mut self) {
        let now = self.clock.now();
        self.switch.set_time(now, Timestamp::now());
        self.switch.check_users();
        let mut handled = 0;
        while let Some(input) = self.net.next_input(now) {
            match input {
                Input::Message { flow, bytes } => {
                    let read = self.clock.now();
                    self.switch.admission().note_delay(read, self.backlog.delay(read));
                    self.switch.handle_input(flow, bytes);
                }
                Input::Closed { flow, reason } => {
                    tracing::debug!(reason = reason.key(), "a connection is over");
                    self.switch.handle_transport_error(flow);
                }
                Input::External(_) => self.switch.handle_engine(),
            }
            handled += 1;
            if handled % MESSAGES_PER_FLUSH == 0 {
                self.flush(now);
            }
        }
        if self.switch.next_timeout().is_some_and(|at| at <= now) {
            self.switch.handle_timeout();
        }
        while let Ok(query) = self.asked.queries.try_recv() {
            self.switch.answer(query);
        }
        while let Ok(NewConfig { config, media }) = self.asked.configs.try_recv() {
            self.switch.reconfigure(&config, media);
        }
        for (connection, every) in self.switch.take_kept_flows() {
            self.net.expect_keep_alives(connection, every);
        }
        self.check_stop(now);
        self.flush(now);
        if self.switch.take_engine_changed() || now >= self.next_publish {
            self.next_publish = now + PUBLISH_EVERY;
            self.publish();
        }
    }

    /// Sends what is to be sent; what cannot be sent may cause more.
    fn flush(&mut self, now: Instant) {
        while let Some((flow, bytes)) = self.switch.poll_transmit() {
            let name = self.switch.peer_name(&flow);
            if let Err(error) = self.net.send(now, &flow, name, &bytes) {
                tracing::debug!(?error, "a message could not be sent");
                self.switch.handle_transport_error(flow);
            }
        }
    }

    fn publish(&self) {
        self.shared.publish(self.switch.stats(Some(&self.net)));
    }

    fn check_stop(&mut self, now: Instant) {
        if self.stop_by.is_some() {
            return;
        }
        if let (None, Some(limit)) = (self.drain_by, self.asked.stop.drains()) {
            self.drain_by = Some(now + limit);
            self.switch.begin_drain();
        }
        let drained = self.drain_by.is_some_and(|by| now >= by || self.switch.has_no_calls());
        if drained || self.asked.stop.is_now() {
            self.stop_by = Some(now + STOP_WITHIN);
            self.switch.begin_stop();
        }
    }

    fn is_done(&self) -> bool {
        self.stop_by.is_some_and(|by| self.switch.is_quiet() || self.clock.now() >= by)
    }
}

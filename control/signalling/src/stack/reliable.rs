//! Reliable provisional responses (RFC 3262): repeated until their PRACK comes, and taken in order.

use super::Stack;
use super::content::Reply;
use super::dialog::Dialog;
use super::due::Owner;
use super::machine::Timer;
use super::machine::provisional::{self, Action, Event as Input, State};
use super::slab::Key;
use super::types::{Event, Output, ServerTx, StackError};
use crate::header::Header;
use crate::message::Message;
use crate::method::Method;
use core::time::Duration;
use std::collections::VecDeque;
use std::sync::Arc;
use tandem_wire::time::Instant;

/// Responses of one INVITE that wait for the PRACK of an earlier one.
const MAX_HELD: usize = 16;

/// Name of the limit in messages.
const LIMIT: &str = "provisional responses that wait for a PRACK";

/// The option tag.
const OPTION: &str = "100rel";

/// The reliable provisional responses of an INVITE that came in.
#[derive(Debug, Default)]
pub(super) struct Reliable {
    state: State,
    /// RSeq of the last one.
    rseq: u32,
    bytes: Option<Arc<[u8]>>,
    interval: Duration,
    held: VecDeque<Reply>,
}

/// What becomes of a response that the transaction user gave.
#[derive(Debug)]
pub(super) enum Order {
    /// It goes out, in this form.
    Now(Reply),
    /// It goes out after a PRACK.
    Held,
}

impl Stack {
    /// Puts a response to an INVITE in its place among the reliable ones.
    pub(super) fn order_reply(
        &mut self,
        now: Instant,
        key: Key,
        reply: &Reply,
    ) -> Result<Order, StackError> {
        let status = reply.status();
        let is_reliable = reply.is_reliable() && (101..200).contains(&status);
        let Some(server) = self.servers.get_mut(key).filter(|it| it.method == Method::Invite)
        else {
            return Ok(Order::Now(reply.clone()));
        };
        let event = match status {
            _ if is_reliable && reply.has_body() => Input::SendSession,
            _ if is_reliable => Input::Send,
            ..200 => return Ok(Order::Now(reply.clone())),
            200..300 => Input::SendSuccess,
            _ => Input::SendFailure,
        };
        if server.reliable.is_none() && !is_reliable {
            return Ok(Order::Now(reply.clone()));
        }
        let random = &mut self.random;
        let reliable = server.reliable.get_or_insert_with(|| {
            // §3: the first one is drawn, so that there is room for many after it.
            let rseq = u32::try_from(random.below(1 << 30)).unwrap_or(0);
            Box::new(Reliable { rseq, ..Reliable::default() })
        });
        let step = provisional::step(reliable.state, event);
        if step.actions.contains(&Action::Hold) {
            if reliable.held.back().is_some_and(|last| last.status() >= 200) {
                return Err(StackError::AlreadyFinal);
            }
            if reliable.held.len() >= MAX_HELD {
                return Err(StackError::LimitReached(LIMIT));
            }
            reliable.held.push_back(reply.clone());
            return Ok(Order::Held);
        }
        reliable.state = step.state;
        let reply = if is_reliable {
            // §7.1: the space of RSeq ends at 2^31 - 1; nobody sends so many.
            reliable.rseq = (reliable.rseq + 1) & (u32::MAX >> 1);
            reliable.interval = Duration::ZERO;
            let rseq = reliable.rseq.to_string();
            reply.clone().header("Require", OPTION).header("RSeq", rseq)
        } else {
            reply.clone()
        };
        self.provisional_actions(now, key, step.actions);
        Ok(Order::Now(reply))
    }

    /// Keeps a reliable response as it was sent.
    pub(super) fn keep_reliable(&mut self, key: Key, reply: &Reply, bytes: &Arc<[u8]>) {
        if reply.is_reliable()
            && let Some(reliable) = self.servers.get_mut(key).and_then(|it| it.reliable.as_mut())
        {
            reliable.bytes = Some(Arc::clone(bytes));
        }
    }

    /// One event that the transaction user did not make; gives what it leads to.
    fn provisional_input(&mut self, now: Instant, key: Key, event: Input) -> &'static [Action] {
        let reliable = self.servers.get_mut(key).and_then(|it| it.reliable.as_mut());
        let Some(reliable) = reliable else { return &[] };
        let step = provisional::step(reliable.state, event);
        reliable.state = step.state;
        self.provisional_actions(now, key, step.actions);
        step.actions
    }

    fn provisional_actions(&mut self, now: Instant, key: Key, actions: &'static [Action]) {
        let timing = self.config.timing;
        for action in actions {
            let Some(server) = self.servers.get_mut(key) else { return };
            let Some(reliable) = server.reliable.as_mut() else { return };
            match *action {
                Action::Start(timer) => {
                    let delay = if timer == Timer::Reliable {
                        // §3: from T1, doubled each time, without a cap.
                        let last = reliable.interval;
                        reliable.interval = if last.is_zero() { timing.t1 } else { last * 2 };
                        reliable.interval
                    } else {
                        timing.sixty_four_t1()
                    };
                    server.timers.start(&mut self.timers, Owner::Server(key), timer, now + delay);
                }
                Action::Stop(timer) => server.timers.stop(&mut self.timers, timer),
                Action::DropHeld => reliable.held.clear(),
                Action::Repeat => {
                    if let Some(bytes) = &reliable.bytes {
                        let (flow, bytes) = (server.flow, Arc::clone(bytes));
                        self.counters.retransmissions_out += 1;
                        self.output.push_back(Output::Transmit { flow, bytes });
                    }
                }
                Action::Release => {
                    if let Some(reply) = reliable.held.pop_front() {
                        // The INVITE was not answered meanwhile, or nothing would be held.
                        let _ = self.answer(now, key, &reply);
                    }
                }
                Action::Report => {
                    self.counters.timeouts += 1;
                    self.emit(Event::PrackTimeout { tx: ServerTx(key) });
                }
                // What was given goes out where it was given; a PRACK is dealt with where it came.
                Action::Send | Action::Hold | Action::Accept | Action::Refuse => {}
            }
        }
    }

    /// A timer of a reliable provisional response fired.
    pub(super) fn reliable_timer(&mut self, now: Instant, key: Key, timer: Timer) {
        let event = if timer == Timer::Reliable { Input::TimerRepeat } else { Input::TimerGiveUp };
        self.provisional_input(now, key, event);
    }

    /// Whether a PRACK acknowledges the response that is on its way (§3); it is not repeated then.
    pub(super) fn takes_prack(&mut self, now: Instant, id: Key, prack: &Message) -> bool {
        let Some(ServerTx(key)) = self.dialogs.get(id).and_then(|dialog| dialog.reliable_tx) else {
            return false;
        };
        let Some(server) = self.servers.get(key) else { return false };
        let awaited = server.reliable.as_ref().map(|it| (it.rseq, server.cseq, Method::Invite));
        let named = prack.rack().ok().map(|it| (it.rseq, it.cseq, it.method));
        if awaited.is_none() || awaited != named {
            return false;
        }
        self.provisional_input(now, key, Input::Prack).contains(&Action::Accept)
    }

    /// A PRACK of this dialog was answered: what waited for it goes out.
    pub(super) fn prack_answered(&mut self, now: Instant, id: Key) {
        if let Some(ServerTx(key)) = self.dialogs.get(id).and_then(|dialog| dialog.reliable_tx) {
            self.provisional_input(now, key, Input::PrackAnswered);
        }
    }

    /// Whether a provisional response to our INVITE of number `cseq` goes to the transaction user:
    /// each reliable one does once and in order (§4), and is to be acknowledged then.
    pub(super) fn takes_provisional(&mut self, id: Key, cseq: u32, response: &Message) -> bool {
        let Some(rseq) = response.number(Header::RSeq).filter(|_| is_reliable(response)) else {
            return true;
        };
        let Some(dialog) = self.dialogs.get_mut(id) else { return false };
        if !dialog.is_next(cseq, rseq) {
            self.counters.retransmissions_in += 1;
            return false;
        }
        dialog.rseq_seen = Some((cseq, rseq));
        dialog.pracks_due.push_back((rseq, cseq));
        true
    }
}

/// Whether a provisional response asks for a PRACK.
fn is_reliable(response: &Message) -> bool {
    response.lists(Header::Require, OPTION)
}

impl Dialog {
    /// Whether a reliable response is the first of its INVITE or follows the last one (§4).
    fn is_next(&self, cseq: u32, rseq: u32) -> bool {
        match self.rseq_seen {
            Some((of, last)) if of == cseq => rseq == last.wrapping_add(1),
            _ => true,
        }
    }

    /// Whether a reliable provisional response of the peer waits for our PRACK.
    #[must_use]
    pub fn is_prack_due(&self) -> bool {
        !self.pracks_due.is_empty()
    }
}

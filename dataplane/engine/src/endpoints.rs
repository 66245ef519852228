//! Local endpoints: bound ahead of need, announced, used, closed.
//!
//! The worker decides which index gets an endpoint and under which generation; housekeeping binds
//! and closes nothing by itself. A [`Request`] goes out, an [`Order`] comes back, and a ticket
//! tells an answer that nobody waits for any more.

use crate::clock::Clock;
use crate::outbox::Lane;
use crate::worker::Worker;
use core::time::Duration;
use std::collections::VecDeque;
use tandem_contract::event::{Event, Refusal};
use tandem_contract::handle::Handle;
use tandem_hw::doorbell::Doorbell;
use tandem_hw::port::Port;
use tandem_wire::addr::SockAddr;
use tandem_wire::time::Instant;

/// Requests that may wait for housekeeping; with fewer places left, commands wait.
pub(crate) const REQUESTS: usize = 4_096;
/// Endpoints asked for in one turn.
const ASK_BURST: usize = 32;
/// Pause after housekeeping found no port.
const BIND_PAUSE: Duration = Duration::from_millis(1_000);
/// Indexes looked at for endpoints that control does not know yet, per turn.
const ANNOUNCE_BURST: u32 = 1_024;

/// Where an index stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// No endpoint.
    #[default]
    None,
    /// Housekeeping binds any port, ahead of need.
    Ahead,
    /// Housekeeping binds exactly the addresses of a termination that waits for it.
    Awaited,
    /// Bound and free.
    Free,
    /// Bound and used by a termination.
    Used,
}

/// The endpoint of an index.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Endpoint {
    pub rtp: SockAddr,
    pub rtcp: SockAddr,
    /// Generation of what is there, or of what comes next.
    pub generation: u32,
    pub ticket: u32,
    pub state: State,
    /// Control knows that it is free.
    pub announced: bool,
    /// The index is in the list of free ones.
    pub queued: bool,
    /// Of the IPv6 family, as long as it is bound ahead.
    pub ipv6: bool,
}

/// A worker's wish to housekeeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Bind a random pair of ports of the range.
    BindAhead {
        /// Index that it is for.
        index: u32,
        /// Comes back in the answer.
        ticket: u32,
        /// Whether an IPv6 address is wanted.
        ipv6: bool,
    },
    /// Bind exactly these.
    BindExactly {
        /// Index that it is for.
        index: u32,
        /// Comes back in the answer.
        ticket: u32,
        /// RTP address.
        rtp: SockAddr,
        /// RTCP address, none for RTP alone.
        rtcp: SockAddr,
    },
    /// An endpoint was closed: keep its ports in quarantine.
    Closed {
        /// Index that it had.
        index: u32,
        /// Its RTP address.
        rtp: SockAddr,
    },
}

/// Housekeeping's word to a worker.
#[derive(Debug)]
pub enum Order<E> {
    /// A bound endpoint.
    Endpoint {
        /// Of the request.
        index: u32,
        /// Of the request.
        ticket: u32,
        /// RTP address as bound.
        rtp: (SockAddr, E),
        /// RTCP address as bound.
        rtcp: Option<(SockAddr, E)>,
    },
    /// It could not be bound.
    BindFailed {
        /// Of the request.
        index: u32,
        /// Of the request.
        ticket: u32,
    },
    /// Give this endpoint up if it is free: a termination needs its ports.
    Withdraw {
        /// Index.
        index: u32,
        /// Its RTP address.
        rtp: SockAddr,
    },
    /// A control process is there.
    Attach {
        /// The worker's end of the lane.
        lane: Box<Lane>,
        /// Control's doorbell.
        bell: Doorbell,
    },
    /// The control process is gone.
    Detach,
}

/// What a worker keeps bound ahead.
#[derive(Debug)]
pub(crate) struct Provision {
    /// Free endpoints wanted per family.
    pub target: u32,
    /// Families to bind: IPv4, IPv6.
    pub families: [bool; 2],
    /// Free endpoints per family, those asked for included.
    pub ahead: [u32; 2],
    /// Whether a family is being filled up to the target: see [`Provision::is_filling`].
    filling: [bool; 2],
    /// Endpoints in any state; never more than `limit`.
    pub endpoints: u32,
    pub limit: u32,
    pub indexes: VecDeque<u32>,
    pub requests: VecDeque<Request>,
    next_ticket: u32,
    pause_until: Instant,
    /// Where the search for endpoints that were not announced goes on; `None` if there are none.
    announce_at: Option<u32>,
}

impl Provision {
    pub(crate) fn new(capacity: u32, target: u32, families: [bool; 2], limit: u32) -> Self {
        Self {
            target,
            families,
            ahead: [0; 2],
            filling: [false; 2],
            endpoints: 0,
            limit: limit.min(capacity),
            indexes: (0..capacity).collect(),
            requests: VecDeque::with_capacity(REQUESTS),
            next_ticket: 0,
            pause_until: Instant::ZERO,
            announce_at: None,
        }
    }

    /// Whether requests have room for everything that one command or timer may ask.
    pub(crate) fn has_room(&self) -> bool {
        self.requests.len() + 8 < REQUESTS
    }

    pub(crate) fn free(&self) -> u32 {
        self.ahead.iter().sum()
    }

    /// Whether more endpoints of a family are to be bound. Below the target they are bound in lots of
    /// a quarter of it: one by one, each call would wake housekeeping, this thread and control.
    fn is_filling(&mut self, family: usize) -> bool {
        let (ahead, target) = (self.ahead[family], self.target);
        let filling = &mut self.filling[family];
        *filling = ahead < target || (*filling && ahead < target.saturating_add(target / 4));
        *filling && self.families[family]
    }

    /// The next control process is told everything.
    pub(crate) fn announce_all(&mut self) {
        self.announce_at = Some(0);
    }
}

impl<P: Port, C: Clock> Worker<P, C> {
    /// Asks for endpoints until as many are free as wanted.
    pub(crate) fn provision(&mut self, now: Instant) {
        if now < self.provision.pause_until {
            return;
        }
        for family in 0..2 {
            let mut burst = ASK_BURST;
            while self.provision.is_filling(family)
                && self.provision.endpoints < self.provision.limit
                && self.provision.has_room()
                && burst > 0
            {
                let Some(index) = self.take_index() else { return };
                let ticket = self.new_ticket();
                let endpoint = &mut self.table.cold[index as usize].endpoint;
                let ipv6 = family == 1;
                (endpoint.state, endpoint.ticket, endpoint.ipv6) = (State::Ahead, ticket, ipv6);
                self.provision.ahead[family] += 1;
                self.provision.endpoints += 1;
                self.provision.requests.push_back(Request::BindAhead { index, ticket, ipv6 });
                burst -= 1;
            }
        }
    }

    fn take_index(&mut self) -> Option<u32> {
        while let Some(index) = self.provision.indexes.pop_front() {
            let endpoint = &mut self.table.cold[index as usize].endpoint;
            endpoint.queued = false;
            if endpoint.state == State::None {
                endpoint.generation = endpoint.generation.max(1);
                return Some(index);
            }
        }
        None
    }

    fn new_ticket(&mut self) -> u32 {
        self.provision.next_ticket = self.provision.next_ticket.wrapping_add(1);
        self.provision.next_ticket
    }

    /// Asks for exactly the addresses of a termination that control put at this index.
    pub(crate) fn bind_exactly(&mut self, index: u32, rtp: SockAddr, rtcp: SockAddr) {
        let ticket = self.new_ticket();
        let endpoint = &mut self.table.cold[index as usize].endpoint;
        if endpoint.state == State::None {
            self.provision.endpoints += 1;
        }
        (endpoint.state, endpoint.ticket) = (State::Awaited, ticket);
        (endpoint.rtp, endpoint.rtcp) = (rtp, rtcp);
        self.provision.requests.push_back(Request::BindExactly { index, ticket, rtp, rtcp });
    }

    /// Whether an order may be handled now: what it makes the worker ask has room. Until then
    /// orders wait in their ring.
    #[must_use]
    pub fn takes_orders(&self) -> bool {
        self.provision.has_room()
    }

    /// Acts on housekeeping's word; see [`takes_orders`](Self::takes_orders).
    pub fn handle_order(&mut self, now: Instant, order: Order<P::Endpoint>) {
        match order {
            Order::Endpoint { index, ticket, rtp, rtcp } => {
                self.endpoint_bound(now, index, ticket, rtp, rtcp);
            }
            Order::BindFailed { index, ticket } => self.bind_failed(now, index, ticket),
            Order::Withdraw { index, rtp } => {
                let endpoint = self.table.cold.get(index as usize).map(|cold| cold.endpoint);
                if endpoint.is_some_and(|e| e.state == State::Free && e.rtp == rtp) {
                    self.give_up_free(index);
                    self.release(index);
                }
            }
            Order::Attach { lane, bell } => {
                self.outbox.attach(*lane, bell);
                self.audit_at = None;
                for cold in &mut self.table.cold {
                    cold.endpoint.announced = false;
                }
                self.provision.announce_all();
            }
            Order::Detach => self.outbox.detach(),
        }
    }

    fn endpoint_bound(
        &mut self,
        now: Instant,
        index: u32,
        ticket: u32,
        rtp: (SockAddr, P::Endpoint),
        rtcp: Option<(SockAddr, P::Endpoint)>,
    ) {
        let place = index as usize;
        let endpoint = self.table.cold.get(place).map(|cold| cold.endpoint);
        let awaited = endpoint
            .filter(|e| e.ticket == ticket && matches!(e.state, State::Ahead | State::Awaited));
        let Some(endpoint) = awaited else {
            // Nobody waits for it any more: dropping the sockets closes them.
            self.provision.requests.push_back(Request::Closed { index, rtp: rtp.0 });
            return;
        };
        let rtcp_address = rtcp.as_ref().map_or(SockAddr::NONE, |(address, _)| *address);
        let opened = self.port.open(index * 2, rtp.1).and_then(|()| match rtcp {
            Some((_, socket)) => self.port.open(index * 2 + 1, socket),
            None => Ok(()),
        });
        if let Err(error) = opened {
            tracing::error!(index, %error, "the port did not take an endpoint");
            self.port.close(index * 2);
            self.port.close(index * 2 + 1);
            self.provision.requests.push_back(Request::Closed { index, rtp: rtp.0 });
            self.bind_failed(now, index, ticket);
            return;
        }
        let slot = &mut self.table.cold[place].endpoint;
        (slot.rtp, slot.rtcp) = (rtp.0, rtcp_address);
        if endpoint.state == State::Awaited {
            slot.state = State::Used;
            self.activate(now, index);
        } else {
            slot.state = State::Free;
            self.announce(index);
        }
    }

    fn bind_failed(&mut self, now: Instant, index: u32, ticket: u32) {
        let Some(cold) = self.table.cold.get_mut(index as usize) else { return };
        if cold.endpoint.ticket != ticket {
            return;
        }
        match cold.endpoint.state {
            State::Awaited => {
                let handle = self.table.handle(index as usize);
                let sequence = self.table.cold[index as usize].pending_sequence;
                let refusal = Refusal::CannotBind;
                self.outbox.push(&Event::Refused { handle, sequence, refusal });
                self.table.reset(index as usize);
                self.return_index(index);
            }
            State::Ahead => {
                self.provision.pause_until = now + BIND_PAUSE;
                self.free_no_more(index);
                self.return_index(index);
            }
            State::None | State::Free | State::Used => {}
        }
    }

    /// Makes an index available; its next use has the next generation.
    pub(crate) fn return_index(&mut self, index: u32) {
        let endpoint = &mut self.table.cold[index as usize].endpoint;
        let queued = endpoint.queued;
        let generation = endpoint.generation.wrapping_add(1).max(1);
        *endpoint = Endpoint { generation, queued: true, ..Endpoint::default() };
        self.provision.endpoints -= 1;
        if !queued {
            self.provision.indexes.push_back(index);
        }
    }

    /// A free endpoint stops being free, because it is used or goes.
    pub(crate) fn free_no_more(&mut self, index: u32) {
        let endpoint = &mut self.table.cold[index as usize].endpoint;
        let ahead = &mut self.provision.ahead[usize::from(endpoint.ipv6)];
        *ahead = ahead.saturating_sub(1);
        endpoint.announced = true;
    }

    /// Tells control that a free endpoint is gone; its ports are still bound.
    pub(crate) fn give_up_free(&mut self, index: u32) {
        let handle = self.table.handle(index as usize);
        if self.table.cold[index as usize].endpoint.announced {
            self.outbox.push(&Event::EndpointGone { handle });
        }
        self.free_no_more(index);
    }

    /// Closes the sockets of an index and makes it available.
    pub(crate) fn release(&mut self, index: u32) {
        self.close_sockets(index);
        self.return_index(index);
    }

    /// Closes the sockets of an index.
    pub(crate) fn close_sockets(&mut self, index: u32) {
        let rtp = self.table.cold[index as usize].endpoint.rtp;
        self.port.close(index * 2);
        self.port.close(index * 2 + 1);
        self.provision.requests.push_back(Request::Closed { index, rtp });
    }

    /// Tells control about a free endpoint, now or as soon as there is room.
    fn announce(&mut self, index: u32) {
        let handle: Handle = self.table.handle(index as usize);
        let endpoint = &mut self.table.cold[index as usize].endpoint;
        let event = Event::EndpointReady { handle, rtp: endpoint.rtp, rtcp: endpoint.rtcp };
        endpoint.announced = self.outbox.try_push(&event);
        if !endpoint.announced {
            self.provision.announce_all();
        }
    }

    /// Goes on with announcing what control does not know yet.
    pub(crate) fn announce_more(&mut self) {
        let Some(from) = self.provision.announce_at else { return };
        if self.outbox.lane().is_none() {
            return;
        }
        let end = from.saturating_add(ANNOUNCE_BURST).min(self.table.capacity());
        for index in from..end {
            let endpoint = self.table.cold[index as usize].endpoint;
            if endpoint.state == State::Free && !endpoint.announced {
                self.announce(index);
                if !self.table.cold[index as usize].endpoint.announced {
                    self.provision.announce_at = Some(index);
                    return;
                }
            }
        }
        let done = end == self.table.capacity();
        self.provision.announce_at = if done { None } else { Some(end) };
    }
}

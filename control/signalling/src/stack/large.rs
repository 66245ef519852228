//! Requests that are too large for a datagram (RFC 3261 §18.1.1): they go over TCP, and over UDP
//! after all when the peer takes no TCP.

use super::Stack;
use super::client::{Client, Machine};
use super::slab::Key;
use super::types::{Flow, Transport};
use crate::header::Header;
use crate::message::Message;
use crate::uri::Host;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;
use tandem_wire::time::Instant;

/// Peers that are remembered as taking no TCP; beyond it those whose time is over are forgotten, or
/// all.
const MAX_REFUSED: usize = 4_096;
/// How long a peer that took no TCP is asked over UDP at once.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// Peers that took no TCP, and until when that is believed.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<SocketAddr, Instant>);

impl Refused {
    fn add(&mut self, now: Instant, peer: SocketAddr) {
        if self.0.len() >= MAX_REFUSED {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= MAX_REFUSED {
            self.0.clear();
        }
        self.0.insert(peer, now + REFUSED_FOR);
    }

    fn holds(&self, now: Instant, peer: SocketAddr) -> bool {
        self.0.get(&peer).is_some_and(|until| *until > now)
    }
}

/// A request as it would have gone over UDP.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) flow: Flow,
    request: Arc<[u8]>,
}

impl Stack {
    /// Lets a request that is too large for a datagram go over TCP.
    pub(super) fn avoid_large_datagram(&mut self, now: Instant, key: Key) {
        let limit = self.config.udp_limit;
        let Some(client) = self.clients.get(key) else { return };
        let is_large = limit > 0 && client.request.len() > limit;
        if !is_large
            || client.flow.transport != Transport::Udp
            || self.refused.holds(now, client.flow.remote)
        {
            return;
        }
        let Some((flow, request)) = self.over_tcp(client) else { return };
        self.client_flows.remove(&mut self.clients, key);
        if let Some(client) = self.clients.get_mut(key) {
            let datagram = core::mem::replace(&mut client.request, request.into());
            client.datagram = Some(Box::new(Datagram { flow: client.flow, request: datagram }));
            client.flow = flow;
        }
        self.client_flows.add(&mut self.clients, key);
    }

    /// The flow and the octets over TCP; only the top Via differs. `None` when we have no TCP, or
    /// only the flow itself leads to the peer, because a NAT is in between.
    fn over_tcp(&self, client: &Client) -> Option<(Flow, Vec<u8>)> {
        let from = client.flow;
        let ours = self.config.tcp.iter();
        let local = ours.filter(|it| it.is_ipv4() == from.local.is_ipv4());
        let local = local.min_by_key(|it| it.ip() != from.local.ip())?;
        let request = Message::parse(&client.request).ok()?;
        let uri = request.uri().ok()?;
        let elsewhere = matches!(uri.host(), Host::Ip(ip) if ip != from.remote.ip());
        if (elsewhere && !request.has(Header::Route)) || uri.param("ob").is_some() {
            return None;
        }
        let flow = Flow { name: from.name, ..Flow::tcp(*local, from.remote, 0) };
        let old = format!("\r\nVia: SIP/2.0/UDP {};", self.config.sent_by(&from));
        let new = format!("\r\nVia: SIP/2.0/TCP {};", self.config.sent_by(&flow));
        let line = memchr::memchr(b'\r', &client.request)?;
        let rest = client.request[line..].strip_prefix(old.as_bytes())?;
        Some((flow, [&client.request[..line], new.as_bytes(), rest].concat()))
    }

    /// TCP failed before any response: the request goes over UDP after all. False when it did not go
    /// over TCP for its size.
    pub(super) fn fall_back_to_datagram(&mut self, now: Instant, key: Key) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        let waits = !client.machine.has_response();
        let Some(datagram) = client.datagram.take_if(|_| waits) else { return false };
        client.timers.stop_all(&mut self.timers);
        self.refused.add(now, datagram.flow.remote);
        self.client_flows.remove(&mut self.clients, key);
        if let Some(client) = self.clients.get_mut(key) {
            client.machine = Machine::new(client.method);
            client.interval = Duration::ZERO;
            client.flow = datagram.flow;
            client.request = datagram.request;
        }
        self.client_flows.add(&mut self.clients, key);
        self.run_client(now, key);
        true
    }
}

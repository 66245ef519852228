//! Offer and answer (RFC 3264) over legs: which lines are used, which endpoints they get, who is
//! connected with whom.

use super::call::{Call, MAX_LEGS, Offer, Stream};
use super::error::{MediaError, WARN_ADDRESS_FORMAT, WARN_TRANSPORT};
use super::party::{Carriage, Party, Unusable};
use super::rewrite::{Announced, Role, rewrite};
use super::{CallKey, MediaPlane};
use crate::link::{Endpoint, Family};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tandem_signalling::sdp::{Direction, Section, SessionDescription};
use tandem_wire::time::Instant;

/// What both sides said of a media line that both use: offerer, answerer.
type Pair = Option<(Party, Party)>;

impl MediaPlane {
    pub(super) fn handle_offer(
        &mut self,
        now: Instant,
        call: &mut Call,
        (from, to): (u8, u8),
        bytes: &[u8],
    ) -> Result<Vec<u8>, MediaError> {
        let mut sdp = SessionDescription::parse(bytes)?;
        sdp.origin()?;
        let emptied = self.config.codecs.apply_to_offer(&mut sdp);
        let lines = read_offer(&sdp, &emptied)?;
        for leg in [from, to] {
            let too_many = MediaError::TooMany { what: "legs", limit: MAX_LEGS };
            call.leg_or_new(leg).ok_or(too_many)?;
        }
        self.choose_families(call, from, to, &lines)?;
        self.provide(now, call, (from, to), &lines)?;
        for (index, line) in lines.iter().enumerate() {
            let stream = call.leg_mut(from).and_then(|leg| leg.stream_mut(index));
            if let Some(stream) = stream.filter(|stream| !stream.agreed) {
                stream.party.clone_from(line);
            }
        }
        self.install(now, call);
        let announced: Vec<_> = (0..sdp.media_count())
            .map(|index| {
                let party = lines.get(index)?.as_ref()?;
                self.announced(call, to, index, party, party.mux)
            })
            .collect();
        call.offers.retain(|offer| (offer.from, offer.to) != (from, to));
        let padding = pad(call, (from, to), &mut sdp);
        call.offers.push(Offer { from, to, lines, padding });
        rewrite(&mut sdp, Role::Offer, &announced, self.fallback_ip(call, to));
        Ok(self.stamp(call, to, sdp))
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        call: &mut Call,
        (from, to): (u8, u8),
        bytes: &[u8],
        provisional: bool,
    ) -> Result<Vec<u8>, MediaError> {
        let mut sdp = SessionDescription::parse(bytes)?;
        sdp.origin()?;
        let offer = call.offer(to, from).ok_or(MediaError::BadAnswer("nothing was offered"))?;
        let family = call.leg(from).and_then(|leg| leg.family);
        if sdp.media_count() != offer.lines.len() + offer.padding {
            return Err(MediaError::BadAnswer("it has another number of media lines"));
        }
        sdp.truncate_media(offer.lines.len());
        let emptied = self.config.codecs.apply_to_answer(&mut sdp);
        let pairs = read_answer(&sdp, offer, family, &emptied)?;
        let branch = if from == 0 { to } else { from };
        if call.winner.is_none_or(|winner| winner == branch) {
            connect(call, from, to);
            if !provisional {
                call.winner = Some(branch);
            }
            self.agree(now, call, (to, from), &pairs, provisional);
            self.install(now, call);
        }
        if !provisional {
            call.offers.retain(|offer| (offer.from, offer.to) != (to, from));
        }
        let announced: Vec<_> = (0..sdp.media_count())
            .map(|index| {
                let (offerer, answerer) = pairs.get(index)?.as_ref()?;
                let mut line = self.announced(call, to, index, answerer, offerer.mux)?;
                // RFC 3264 §6.1: an answer never has more than the offer lets it.
                let fitting = answerer.direction.answer_to(offerer.direction);
                if fitting != sdp.direction(index) {
                    line.direction = Some(fitting);
                }
                Some(line)
            })
            .collect();
        rewrite(&mut sdp, Role::Answer, &announced, self.fallback_ip(call, to));
        if call.leg(from).is_some_and(|leg| leg.digits_here) {
            accept_digits(&mut sdp, &pairs);
        }
        Ok(self.stamp(call, to, sdp))
    }

    /// Gives up an offer: streams that only it asked for end.
    pub(super) fn handle_reject(&mut self, now: Instant, call: &mut Call, from: u8, to: u8) {
        call.offers.retain(|offer| (offer.from, offer.to) != (from, to));
        for id in [from, to] {
            let offered = call.offers.iter().any(|offer| offer.from == id || offer.to == id);
            let count = call.leg(id).map_or(0, |leg| leg.streams.len());
            for index in 0..count {
                let agreed = call.leg(id).and_then(|leg| leg.stream(index)).map(|s| s.agreed);
                if agreed == Some(false) && !offered {
                    self.close(now, call, id, index);
                }
            }
        }
    }

    /// Makes the last provisional answer of a leg final.
    pub(super) fn handle_confirm(&mut self, now: Instant, call: &mut Call, from: u8, to: u8) {
        let branch = if from == 0 { to } else { from };
        let Some(at) = call.offers.iter().position(|o| (o.from, o.to) == (to, from)) else {
            return;
        };
        let offer = call.offers.remove(at);
        if call.winner.is_some_and(|winner| winner != branch) {
            return;
        }
        call.winner = Some(branch);
        connect(call, from, to);
        for index in 0..offer.lines.len() {
            let agreed = |id| call.leg(id).and_then(|leg| leg.stream(index)).map(|s| s.agreed);
            if agreed(from) != Some(true) {
                self.close(now, call, from, index);
                self.close(now, call, to, index);
            }
        }
        self.install(now, call);
    }

    pub(super) fn handle_drop(&mut self, now: Instant, call: &mut Call, leg: u8) {
        call.offers.retain(|offer| offer.from != leg && offer.to != leg);
        let count = call.leg(leg).map_or(0, |leg| leg.streams.len());
        for index in 0..count {
            self.close(now, call, leg, index);
        }
        call.legs.retain(|other| other.id != leg);
        call.spoken.retain(|other| *other != leg);
        if call.winner == Some(leg) {
            call.winner = None;
        }
        let left: Vec<u8> = call
            .legs
            .iter()
            .filter(|other| other.peer == Some(leg))
            .map(|other| other.id)
            .collect();
        for other in left {
            if let Some(other) = call.leg_mut(other) {
                other.peer = None;
            }
            // The branch that spoke before is heard again.
            if let Some(&last) = call.spoken.last().filter(|_| other == 0) {
                connect(call, last, other);
            }
        }
        self.install(now, call);
    }

    /// Ends a stream; its figures stay for the report.
    pub(super) fn close(&mut self, now: Instant, call: &mut Call, leg: u8, index: usize) {
        let answered = call.winner.is_some();
        let peer_names = call.peer_names(leg, index);
        let Some(leg_state) = call.leg_mut(leg) else { return };
        let Some(stream) = leg_state.streams.get_mut(index).and_then(Option::take) else { return };
        self.link.subtract(now, stream.endpoint.handle);
        call.closed.push(stream.as_closed((leg, index), peer_names, answered));
    }

    /// Chooses the IP version of the legs that have none: the offerer's as its description says,
    /// the other's by its signalling path, else like the offerer's if we have such endpoints.
    fn choose_families(
        &self,
        call: &mut Call,
        from: u8,
        to: u8,
        lines: &[Option<Party>],
    ) -> Result<(), MediaError> {
        let said = lines.iter().flatten().find(|line| line.rtp.is_some()).map(|line| line.family);
        let ours = self.link.families();
        let by_path = |call: &Call, id| {
            let profile = call.leg(id).and_then(|leg| leg.profile);
            profile.map(|p| if p.local.is_ipv4() { Family::V4 } else { Family::V6 })
        };
        let of_from = said.or_else(|| by_path(call, from)).unwrap_or(Family::V4);
        let like = if ours.contains(&of_from) { Some(of_from) } else { ours.first().copied() };
        let of_to = by_path(call, to).filter(|family| ours.contains(family)).or(like);
        for (id, family) in [(from, Some(of_from)), (to, of_to)] {
            if let Some(leg) = call.leg_mut(id).filter(|leg| leg.family.is_none()) {
                leg.family = family;
            }
        }
        let family = call.leg(from).and_then(|leg| leg.family).unwrap_or(of_from);
        if said.is_some_and(|said| said != family) || !(ours.is_empty() || ours.contains(&family)) {
            return Err(other_family(said.unwrap_or(family)));
        }
        Ok(())
    }

    /// Sees that both legs have a stream for every used line; takes nothing if not all can be had.
    fn provide(
        &mut self,
        now: Instant,
        call: &mut Call,
        legs: (u8, u8),
        lines: &[Option<Party>],
    ) -> Result<(), MediaError> {
        let mut taken: Vec<(u8, usize, Endpoint)> = Vec::new();
        for id in [legs.0, legs.1] {
            let Some(leg) = call.leg(id) else { continue };
            let family = leg.family.unwrap_or(Family::V4);
            let missing: Vec<usize> = (0..lines.len())
                .filter(|&index| lines[index].is_some() && leg.stream(index).is_none())
                .collect();
            for index in missing {
                match self.take(call, family) {
                    Ok(endpoint) => taken.push((id, index, endpoint)),
                    Err(error) => {
                        for (_, _, endpoint) in taken {
                            self.link.give_back(now, endpoint);
                        }
                        if !call.is_open() {
                            // Another worker may do better next time.
                            call.worker = None;
                        }
                        return Err(error);
                    }
                }
            }
        }
        for (id, index, endpoint) in taken {
            self.owners.insert(endpoint.handle, (call.key, id));
            let Some(leg) = call.leg_mut(id) else { continue };
            if leg.streams.len() <= index {
                leg.streams.resize(index + 1, None);
            }
            leg.streams[index] = Some(Stream::new(endpoint));
        }
        Ok(())
    }

    fn take(&mut self, call: &mut Call, family: Family) -> Result<Endpoint, MediaError> {
        let away = self.link.info().is_none();
        let no_endpoint = || MediaError::NoEndpoint {
            family,
            hint: if away {
                "the engine is being restarted"
            } else {
                "raise the port range or the open-files limit (tandem check)"
            },
        };
        // All terminations of a call live on one worker.
        let worker = match call.worker {
            Some(worker) => worker,
            None => self.link.pick_worker(family).ok_or_else(no_endpoint)?,
        };
        let endpoint = self.link.take_endpoint(worker, family).ok_or_else(no_endpoint)?;
        call.worker = Some(worker);
        Ok(endpoint)
    }

    /// Brings what both sides said into the streams.
    fn agree(
        &mut self,
        now: Instant,
        call: &mut Call,
        (offerer, answerer): (u8, u8),
        pairs: &[Pair],
        provisional: bool,
    ) {
        for (index, pair) in pairs.iter().enumerate() {
            let Some((offer, answer)) = pair else { continue };
            let secured = offer.carriage == Carriage::Secure || (offer.keys && answer.keys);
            let sides = [
                (offerer, offer, offer.mux),
                // Multiplexing was offered to this leg only if the offerer offered it to us.
                (answerer, answer, offer.mux && answer.mux),
            ];
            for (id, party, mux) in sides {
                if let Some(stream) = call.leg_mut(id).and_then(|leg| leg.stream_mut(index)) {
                    stream.update(party, mux, secured);
                }
            }
        }
        if provisional {
            return;
        }
        for id in [offerer, answerer] {
            let count = call.leg(id).map_or(0, |leg| leg.streams.len());
            for index in 0..count {
                if pairs.get(index).is_none_or(Option::is_none) {
                    self.close(now, call, id, index);
                }
            }
        }
    }

    fn announced(
        &self,
        call: &Call,
        to: u8,
        index: usize,
        party: &Party,
        mux: bool,
    ) -> Option<Announced> {
        let leg = call.leg(to)?;
        let endpoint = leg.stream(index)?.endpoint;
        let bound = endpoint.rtp.to_std()?;
        let ip = self.shown_ip(bound.ip(), leg.signalling_ip());
        Some(Announced {
            rtp: SocketAddr::new(ip, bound.port()),
            rtcp_port: endpoint.rtcp.port(),
            mux: mux && party.carriage != Carriage::Opaque,
            direction: party.held_by_address.then_some(party.direction),
        })
    }

    fn shown_ip(&self, bound: IpAddr, signalling: Option<IpAddr>) -> IpAddr {
        let configured = self.config.advertised.iter().find(|(ip, _)| *ip == bound);
        match (configured, signalling) {
            (Some((_, shown)), _) => *shown,
            (None, Some(ip)) if bound.is_unspecified() && ip.is_ipv4() == bound.is_ipv4() => ip,
            _ => bound,
        }
    }

    /// The address of a leg that uses no media line.
    fn fallback_ip(&self, call: &Call, leg: u8) -> IpAddr {
        let Some(leg) = call.leg(leg) else { return Ipv4Addr::UNSPECIFIED.into() };
        let bound = leg.streams.iter().flatten().find_map(|stream| stream.endpoint.rtp.ip());
        match (bound, leg.signalling_ip()) {
            (Some(bound), signalling) => self.shown_ip(bound, signalling),
            (None, Some(ip)) => ip,
            (None, None) => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Writes the origin: towards each leg we are one session of our own, whose version counts the
    /// changes (RFC 3264 §8), whichever branch spoke.
    fn stamp(&self, call: &mut Call, to: u8, mut sdp: SessionDescription) -> Vec<u8> {
        let ip = self.fallback_ip(call, to);
        let session = (call.key.0 & 0x0000_ffff_ffff_ff00) | u64::from(to);
        let Some(leg) = call.leg_mut(to) else { return sdp.emit() };
        sdp.set_origin(session, 0, ip);
        let mut hasher = DefaultHasher::new();
        sdp.emit().hash(&mut hasher);
        let hash = hasher.finish();
        if leg.sent != Some(hash) {
            leg.version += 1;
            leg.sent = Some(hash);
        }
        sdp.set_origin(session, leg.version, ip);
        sdp.emit()
    }

    pub(super) fn call_key_of(
        &self,
        handle: tandem_contract::handle::Handle,
    ) -> Option<(CallKey, u8)> {
        self.owners.get(&handle).copied()
    }
}

impl Stream {
    /// Takes over what its party said; an address that moved is learnt anew.
    fn update(&mut self, party: &Party, mux: bool, secured: bool) {
        let mut party = party.clone();
        if let Some(old) = self.party.as_ref().filter(|old| old.rtp.is_some()) {
            if party.rtp.is_some() && party.rtp != old.rtp && self.agreed {
                self.relearn_epoch += 1;
            }
            if party.held_by_address {
                (party.rtp, party.rtcp) = (old.rtp, old.rtcp);
            }
        }
        (self.mux, self.secured, self.agreed) = (mux, secured, true);
        self.party = Some(party);
    }
}

/// Connects two legs; whoever was connected with one of them is not any more.
fn connect(call: &mut Call, one: u8, other: u8) {
    for leg in &mut call.legs {
        if leg.id == one {
            leg.peer = Some(other);
        } else if leg.id == other {
            leg.peer = Some(one);
        } else if leg.peer == Some(one) || leg.peer == Some(other) {
            leg.peer = None;
        }
    }
    let branch = if one == 0 { other } else { one };
    call.spoken.retain(|leg| *leg != branch);
    call.spoken.push(branch);
}

/// Notes how many media lines the sessions of both legs have, and gives the offer to `to` as many as
/// it had before (RFC 3264 §8); tells how many that were.
fn pad(call: &mut Call, (from, to): (u8, u8), sdp: &mut SessionDescription) -> usize {
    let offered = sdp.media_count();
    let mut wanted = offered;
    for id in [from, to] {
        if let Some(leg) = call.leg_mut(id) {
            leg.lines = leg.lines.max(u8::try_from(offered).unwrap_or(u8::MAX));
            if id == to {
                wanted = leg.lines.into();
            }
        }
    }
    sdp.pad_media(wanted);
    sdp.media_count() - offered
}

fn read_offer(
    sdp: &SessionDescription,
    emptied: &[bool],
) -> Result<Vec<Option<Party>>, MediaError> {
    let mut lines = Vec::with_capacity(sdp.media_count());
    let mut refusal = None;
    for index in 0..sdp.media_count() {
        match read_line(sdp, index, emptied)? {
            Ok(party) => lines.push(Some(party)),
            Err(unusable) => {
                if unusable != Unusable::Rejected {
                    refusal.get_or_insert(unusable);
                }
                lines.push(None);
            }
        }
    }
    match refusal {
        Some(unusable) if lines.iter().all(Option::is_none) => Err(unusable.refusal()),
        _ => Ok(lines),
    }
}

/// A media line; one of which the policy left no codec cannot be used.
fn read_line(
    sdp: &SessionDescription,
    index: usize,
    emptied: &[bool],
) -> Result<Result<Party, Unusable>, MediaError> {
    match emptied.get(index) {
        Some(true) => Ok(Err(Unusable::Codecs)),
        _ => Party::read(sdp, index),
    }
}

fn read_answer(
    sdp: &SessionDescription,
    offer: &Offer,
    family: Option<Family>,
    emptied: &[bool],
) -> Result<Vec<Pair>, MediaError> {
    let mut pairs = Vec::with_capacity(offer.lines.len());
    for (index, offered) in offer.lines.iter().enumerate() {
        let pair = match (offered, read_line(sdp, index, emptied)?) {
            (Some(offered), Ok(answered)) => {
                fits(offered, &answered)?;
                if answered.rtp.is_some() && family.is_some_and(|f| f != answered.family) {
                    return Err(other_family(answered.family));
                }
                Some((offered.clone(), answered))
            }
            (Some(_), Err(Unusable::Dtls | Unusable::Keyless | Unusable::Transport)) => {
                return Err(MediaError::BadAnswer("it changes the transport of a media line"));
            }
            _ => None,
        };
        pairs.push(pair);
    }
    if emptied.contains(&true) && pairs.iter().all(Option::is_none) {
        return Err(Unusable::Codecs.refusal());
    }
    Ok(pairs)
}

/// Accepts the telephone-events of an offer in place of the answerer.
fn accept_digits(sdp: &mut SessionDescription, pairs: &[Pair]) {
    for (index, pair) in pairs.iter().enumerate() {
        let Some((offered, answered)) = pair else { continue };
        if offered.carriage != Carriage::Plain || answered.digits().is_some() {
            continue;
        }
        let Some(event) = offered.digits() else { continue };
        let Some(line) = sdp.media(index) else { continue };
        let number = event.number.to_string();
        let formats: Vec<String> =
            line.formats.split_ascii_whitespace().map(str::to_owned).chain([number]).collect();
        let formats: Vec<&str> = formats.iter().map(String::as_str).collect();
        sdp.set_formats(index, &formats);
        let section = Section::Media(index);
        let rtpmap = format!("{} telephone-event/{}", event.number, event.clock_rate);
        sdp.add_attribute(section, "rtpmap", &rtpmap);
        sdp.add_attribute(section, "fmtp", &format!("{} 0-15", event.number));
    }
}

fn fits(offered: &Party, answered: &Party) -> Result<(), MediaError> {
    match (offered.carriage, answered.carriage) {
        (one, other) if one == other => Ok(()),
        (Carriage::Secure, Carriage::Plain) | (Carriage::Plain, Carriage::Secure) => {
            Err(MediaError::Unsupported {
                warning: WARN_TRANSPORT,
                text: "RTP/SAVP on one side and RTP/AVP on the other is not supported".into(),
            })
        }
        _ => Err(MediaError::BadAnswer("it changes the transport of a media line")),
    }
}

fn other_family(family: Family) -> MediaError {
    MediaError::Unsupported {
        warning: WARN_ADDRESS_FORMAT,
        text: format!("no media over {family} on this leg"),
    }
}

/// Whether a party wants to hear nothing at all (RFC 3264 §8.4).
pub(super) fn holds(streams: &[Option<Stream>]) -> bool {
    let mut parties =
        streams.iter().flatten().filter(|s| s.agreed).filter_map(|s| s.party.as_ref()).peekable();
    parties.peek().is_some()
        && parties.all(|p| matches!(p.direction, Direction::SendOnly | Direction::Inactive))
}

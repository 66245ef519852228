//! Which contacts an address of record has (RFC 3261 §10). Pure: no messages, no clock.

use super::sites::Sites;
use crate::record::Registration;
use core::cmp::Reverse;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use tandem_signalling::stack::Flow;
use tandem_signalling::uri::Uri;
use tandem_wire::time::Instant;

/// A registered contact, with the way to it.
#[derive(Clone, Debug)]
pub struct Binding {
    /// What the store and the API know.
    pub registration: Registration,
    /// Where the REGISTER came from; of an earlier run, where requests went to.
    pub source: Option<SocketAddr>,
    /// The flow that the REGISTER came over: requests go back the same way (RFC 5626 §5.3), which
    /// is the only one through a NAT.
    pub flow: Flow,
    /// When it ends.
    pub expires: Instant,
}

/// One contact of a REGISTER, as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// URI as written.
    pub uri: String,
    /// Seconds that were granted; 0 removes.
    pub expires_s: u32,
    /// Priority × 1000.
    pub q_milli: u16,
    /// `+sip.instance` without quotes.
    pub instance: Option<String>,
    /// `reg-id`.
    pub reg_id: Option<u32>,
}

/// What is common to all contacts of one REGISTER.
#[derive(Clone, Debug)]
pub struct Register<'a> {
    /// Address of record.
    pub aor: &'a str,
    /// Call-ID.
    pub call_id: &'a str,
    /// Number of the `CSeq`.
    pub cseq: u32,
    /// Path values, in order.
    pub path: &'a [String],
    /// User-Agent.
    pub user_agent: Option<&'a str>,
    /// Where it came from.
    pub flow: Flow,
    /// Now, for expiry.
    pub now: Instant,
    /// Now, for people.
    pub wall: Timestamp,
}

/// What became of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Registered or refreshed.
    Put(Box<Registration>),
    /// Removed by the phone, or replaced by another contact of the same instance.
    Removed {
        /// Address of record.
        aor: String,
        /// Contact URI.
        contact: String,
    },
}

/// Why a REGISTER changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An older or repeated `CSeq` of the same Call-ID (RFC 3261 §10.3 steps 6 and 7).
    OutOfOrder,
    /// More contacts than are allowed.
    TooMany,
}

/// All bindings.
#[derive(Debug, Default)]
pub struct Bindings {
    by_aor: HashMap<Box<str>, Vec<Binding>>,
    /// When the first contact of each address of record ends: one entry for each.
    deadlines: BTreeSet<(Instant, Box<str>)>,
    /// Who registered over which connection; entries go with the connection.
    by_connection: HashMap<u64, HashSet<Box<str>>>,
    sites: Sites,
    count: usize,
    max_contacts: usize,
}

impl Bindings {
    /// None yet; at most `max_contacts` per address of record.
    #[must_use]
    pub fn new(max_contacts: usize) -> Self {
        Self { max_contacts, ..Self::default() }
    }

    /// Allows so many contacts for each address of record from now on.
    pub const fn limit_contacts(&mut self, max_contacts: usize) {
        self.max_contacts = max_contacts;
    }

    /// How many contacts there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where they are registered from.
    pub(super) const fn sites(&self) -> &Sites {
        &self.sites
    }

    /// The contacts of an address of record, highest priority first, the latest first among
    /// equals.
    #[must_use]
    pub fn of(&self, aor: &str) -> &[Binding] {
        self.by_aor.get(aor).map_or(&[], Vec::as_slice)
    }

    /// All contacts.
    pub fn all(&self) -> impl Iterator<Item = &Binding> {
        self.by_aor.values().flatten()
    }

    /// Removes all contacts of an address of record (`Contact: *`), all or none.
    ///
    /// # Errors
    /// [`Refused::OutOfOrder`] for an old request.
    pub fn remove_all(&mut self, register: &Register<'_>) -> Result<Vec<Change>, Refused> {
        let Some(bindings) = self.by_aor.get(register.aor) else { return Ok(Vec::new()) };
        if bindings.iter().any(|binding| is_old(binding, register)) {
            return Err(Refused::OutOfOrder);
        }
        let removed = self.take(register.aor);
        Ok(removed.into_iter().map(|b| removal(b.registration)).collect())
    }

    /// Adds, refreshes and removes the contacts of one REGISTER, all or none; `flow_to` tells the
    /// way to a contact.
    ///
    /// # Errors
    /// [`Refused`] if the request is old or there would be too many contacts.
    pub fn update(
        &mut self,
        register: &Register<'_>,
        wanted: &[Wanted],
        flow_to: impl Fn(&Register<'_>, &str) -> Flow,
    ) -> Result<Vec<Change>, Refused> {
        let mut next: Vec<Binding> = self.of(register.aor).to_vec();
        let mut changes = Vec::new();
        for want in wanted {
            // What this request itself has put before does not make it old.
            if self.of(register.aor).iter().any(|b| same_contact(b, want) && is_old(b, register)) {
                return Err(Refused::OutOfOrder);
            }
            let replaced = next.extract_if(.., |b| same_contact(b, want));
            for old in replaced.collect::<Vec<_>>() {
                if want.expires_s == 0 || old.registration.contact != want.uri {
                    changes.push(removal(old.registration));
                }
            }
            if want.expires_s > 0 {
                let binding = register.binding(want, flow_to(register, &want.uri));
                changes.push(Change::Put(Box::new(binding.registration.clone())));
                next.insert(0, binding);
            }
        }
        if next.len() > self.max_contacts {
            return Err(Refused::TooMany);
        }
        next.sort_by_key(|b| Reverse(b.registration.q_milli));
        self.replace(register.aor, next);
        Ok(changes)
    }

    /// Puts back what an earlier run stored.
    pub fn restore(&mut self, binding: Binding) {
        let aor = binding.registration.aor.clone();
        let mut next = self.of(&aor).to_vec();
        next.retain(|b| b.registration.contact != binding.registration.contact);
        next.push(binding);
        next.sort_by_key(|b| {
            (Reverse(b.registration.q_milli), Reverse(b.registration.registered_at))
        });
        self.replace(&aor, next);
    }

    fn replace(&mut self, aor: &str, next: Vec<Binding>) {
        self.take(aor);
        for connection in next.iter().map(|b| b.flow.connection).filter(|it| *it != 0) {
            self.by_connection.entry(connection).or_default().insert(aor.into());
        }
        for binding in &next {
            self.sites.add(binding.source);
        }
        if let Some(first) = first_end(&next) {
            self.count += next.len();
            self.deadlines.insert((first, aor.into()));
            self.by_aor.insert(aor.into(), next);
        }
    }

    /// Takes all contacts of an address of record out, with their deadline.
    fn take(&mut self, aor: &str) -> Vec<Binding> {
        let Some((aor, taken)) = self.by_aor.remove_entry(aor) else { return Vec::new() };
        self.count -= taken.len();
        for binding in &taken {
            self.sites.remove(binding.source);
        }
        if let Some(first) = first_end(&taken) {
            self.deadlines.remove(&(first, aor));
        }
        taken
    }

    /// Takes away the contacts of all addresses of record that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> Vec<Registration> {
        let gone: Vec<_> = self.by_aor.keys().filter(|aor| !keep(aor)).cloned().collect();
        gone.iter().flat_map(|aor| self.take(aor)).map(|b| b.registration).collect()
    }

    /// Takes away what has run out.
    pub fn expire(&mut self, now: Instant) -> Vec<Registration> {
        let mut gone = Vec::new();
        while self.next_timeout().is_some_and(|at| at <= now) {
            let Some((_, aor)) = self.deadlines.first().cloned() else { break };
            let (ended, rest) = self.take(&aor).into_iter().partition(|b| b.expires <= now);
            gone.extend(Vec::into_iter(ended).map(|b: Binding| b.registration));
            self.replace(&aor, rest);
        }
        gone
    }

    /// When [`Bindings::expire`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A connection is over: requests to its contacts must open a new one.
    pub fn connection_closed(&mut self, flow: &Flow) {
        for aor in self.by_connection.remove(&flow.connection).unwrap_or_default() {
            for binding in self.by_aor.get_mut(&aor).into_iter().flatten() {
                if binding.flow == *flow {
                    binding.flow.connection = 0;
                }
            }
        }
    }
}

impl Register<'_> {
    fn binding(&self, want: &Wanted, flow: Flow) -> Binding {
        let life = core::time::Duration::from_secs(want.expires_s.into());
        let lasts = jiff::SignedDuration::from_secs(want.expires_s.into());
        Binding {
            registration: Registration {
                aor: self.aor.to_owned(),
                contact: want.uri.clone(),
                transport: flow.transport.via_name().to_ascii_lowercase(),
                received: Some(flow.remote),
                local: Some(flow.local),
                path: self.path.to_vec(),
                q_milli: want.q_milli,
                registered_at: self.wall,
                expires_at: self.wall.checked_add(lasts).unwrap_or(Timestamp::MAX),
                call_id: self.call_id.to_owned(),
                cseq: self.cseq,
                instance: want.instance.clone(),
                reg_id: want.reg_id,
                user_agent: self.user_agent.map(str::to_owned),
            },
            source: Some(self.flow.remote),
            flow,
            expires: self.now + life,
        }
    }
}

/// When the first of these contacts ends.
fn first_end(bindings: &[Binding]) -> Option<Instant> {
    bindings.iter().map(|b| b.expires).min()
}

/// RFC 3261 §10.3: within one Call-ID only a higher `CSeq` may change a binding.
fn is_old(binding: &Binding, register: &Register<'_>) -> bool {
    binding.registration.call_id == register.call_id && register.cseq <= binding.registration.cseq
}

/// Whether a contact is the same one: by its instance and `reg-id` (RFC 5626 §6), else by its URI
/// (RFC 3261 §19.1.4).
fn same_contact(binding: &Binding, want: &Wanted) -> bool {
    let stored = &binding.registration;
    if let (Some(a), Some(b)) = (&stored.instance, &want.instance)
        && a == b
    {
        return stored.reg_id == want.reg_id || stored.contact == want.uri;
    }
    stored.contact == want.uri
        || match (Uri::parse(&stored.contact), Uri::parse(&want.uri)) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
}

fn removal(registration: Registration) -> Change {
    Change::Removed { aor: registration.aor, contact: registration.contact }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_signalling::stack::Transport;

    fn register<'a>(call_id: &'a str, cseq: u32, now_s: u64) -> Register<'a> {
        Register {
            aor: "sip:alice@tandem",
            call_id,
            cseq,
            path: &[],
            user_agent: None,
            flow: Flow::udp("127.0.0.1:5060".parse().unwrap(), "127.0.0.1:4000".parse().unwrap()),
            now: Instant::from_millis(now_s * 1000),
            wall: Timestamp::UNIX_EPOCH,
        }
    }

    fn same_flow(register: &Register<'_>, _: &str) -> Flow {
        register.flow
    }

    fn want(uri: &str, expires_s: u32) -> Wanted {
        Wanted { uri: uri.into(), expires_s, q_milli: 1000, instance: None, reg_id: None }
    }

    fn contacts(bindings: &Bindings) -> Vec<&str> {
        bindings.of("sip:alice@tandem").iter().map(|b| &*b.registration.contact).collect()
    }

    #[test]
    fn several_contacts_by_priority() {
        let mut all = Bindings::new(8);
        let mut low = want("sip:a@1", 60);
        low.q_milli = 500;
        let changes =
            all.update(&register("x", 1, 0), &[low, want("sip:b@1", 60)], same_flow).unwrap();
        assert_eq!(changes.len(), 2);
        assert_eq!(contacts(&all), ["sip:b@1", "sip:a@1"]);
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn an_old_request_changes_nothing_at_all() {
        let mut all = Bindings::new(8);
        all.update(&register("x", 5, 0), &[want("sip:a@1", 60)], same_flow).unwrap();
        let both = [want("sip:new@1", 60), want("sip:a@1", 0)];
        assert_eq!(all.update(&register("x", 5, 0), &both, same_flow), Err(Refused::OutOfOrder));
        assert_eq!(all.remove_all(&register("x", 4, 0)), Err(Refused::OutOfOrder));
        assert_eq!(contacts(&all), ["sip:a@1"]);
        assert_eq!(all.remove_all(&register("other", 1, 0)).unwrap().len(), 1);
        assert!(all.is_empty());
    }

    #[test]
    fn of_a_contact_that_is_named_twice_the_last_counts() {
        let mut all = Bindings::new(8);
        let twice = [want("sip:a@1", 60), want("sip:a@1", 90)];
        all.update(&register("x", 1, 0), &twice, same_flow).unwrap();
        assert_eq!((all.len(), all.next_timeout()), (1, Some(Instant::from_millis(90_000))));
        let gone = [want("sip:a@1", 60), want("sip:a@1", 0)];
        all.update(&register("x", 2, 0), &gone, same_flow).unwrap();
        assert!(all.is_empty());
    }

    #[test]
    fn contacts_run_out_one_by_one() {
        let mut all = Bindings::new(8);
        all.update(&register("x", 1, 0), &[want("sip:a@1", 60), want("sip:b@1", 90)], same_flow)
            .unwrap();
        assert_eq!(all.next_timeout(), Some(Instant::from_millis(60_000)));
        assert_eq!(all.expire(Instant::from_millis(59_999)).len(), 0);
        assert_eq!(all.expire(Instant::from_millis(60_000))[0].contact, "sip:a@1");
        assert_eq!(contacts(&all), ["sip:b@1"]);
        // A refresh moves the end.
        all.update(&register("x", 2, 80), &[want("sip:b@1", 90)], same_flow).unwrap();
        assert_eq!(all.expire(Instant::from_millis(100_000)).len(), 0);
        assert_eq!(all.expire(Instant::from_millis(170_000)).len(), 1);
        assert_eq!((all.len(), all.next_timeout()), (0, None));
    }

    #[test]
    fn a_refresh_leaves_no_deadline_behind() {
        let mut all = Bindings::new(8);
        for cseq in 1..1000 {
            let phone = [want("sip:a@1", 7200)];
            all.update(&register("x", cseq, cseq.into()), &phone, same_flow).unwrap();
        }
        assert_eq!(all.deadlines.len(), 1);
        all.update(&register("x", 2000, 0), &[want("sip:a@1", 0)], same_flow).unwrap();
        assert!(all.deadlines.is_empty());
        all.update(&register("x", 1, 0), &[want("sip:a@1", 60)], same_flow).unwrap();
        all.remove_all(&register("y", 1, 0)).unwrap();
        assert!(all.deadlines.is_empty() && all.is_empty());
    }

    #[test]
    fn the_same_instance_replaces_its_old_address() {
        let mut all = Bindings::new(8);
        let mut phone = want("sip:a@10.0.0.1:1", 60);
        phone.instance = Some("<urn:uuid:1>".into());
        all.update(&register("x", 1, 0), &[phone.clone()], same_flow).unwrap();
        phone.uri = "sip:a@10.0.0.2:1".into();
        let changes = all.update(&register("y", 1, 0), &[phone], same_flow).unwrap();
        assert!(
            matches!(&changes[0], Change::Removed { contact, .. } if contact == "sip:a@10.0.0.1:1")
        );
        assert_eq!(contacts(&all), ["sip:a@10.0.0.2:1"]);
    }

    #[test]
    fn uris_compare_as_the_rfc_says() {
        let mut all = Bindings::new(8);
        all.update(
            &register("x", 1, 0),
            &[want("sip:a@HOST.example;transport=udp", 60)],
            same_flow,
        )
        .unwrap();
        all.update(
            &register("x", 2, 0),
            &[want("sip:%61@host.EXAMPLE;transport=UDP", 60)],
            same_flow,
        )
        .unwrap();
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn the_number_of_contacts_is_limited() {
        let mut all = Bindings::new(1);
        all.update(&register("x", 1, 0), &[want("sip:a@1", 60)], same_flow).unwrap();
        assert_eq!(
            all.update(&register("x", 2, 0), &[want("sip:b@1", 60)], same_flow),
            Err(Refused::TooMany)
        );
        assert_eq!(contacts(&all), ["sip:a@1"]);
    }

    #[test]
    fn what_is_not_kept_goes_with_its_deadline() {
        let mut all = Bindings::new(8);
        let both = [want("sip:a@1", 60), want("sip:b@1", 90)];
        all.update(&register("x", 1, 0), &both, same_flow).unwrap();
        let bob = Register { aor: "sip:bob@tandem", ..register("y", 1, 0) };
        all.update(&bob, &[want("sip:c@1", 80)], same_flow).unwrap();
        let gone = all.retain(|aor| aor != "sip:alice@tandem");
        assert_eq!(gone.len(), 2);
        assert_eq!((all.len(), all.next_timeout()), (1, Some(Instant::from_millis(80_000))));
        assert!(all.retain(|_| true).is_empty());
    }

    #[test]
    fn a_closed_connection_is_not_used_again() {
        let mut all = Bindings::new(1);
        let mut over_tcp = register("x", 1, 0);
        over_tcp.flow.transport = Transport::Tcp;
        over_tcp.flow.connection = 7;
        all.update(&over_tcp, &[want("sip:a@1", 60)], same_flow).unwrap();
        all.connection_closed(&over_tcp.flow);
        assert_eq!(all.of("sip:alice@tandem")[0].flow.connection, 0);
    }
}

//! The registrar: who has which contacts, and whether a request comes from whom it names.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`bindings`] | contacts of addresses of record, their order and their end: pure |
//! | [`outbound`] | flows that their phones keep alive |
//! | `auth` | digest challenges and credentials |
//! | `sites` | where contacts are registered from |
//! | `register` | REGISTER and its answer |

mod auth;
pub mod bindings;
pub mod outbound;
mod register;
mod sites;

pub use auth::Role;

use crate::core::Settings;
use crate::guard::{AuthNote, Sites, Source};
use crate::net::Addresses;
use crate::record::Registration;
use crate::route::Directory;
use crate::store::users::{UserList, UserMap};
use bindings::{Binding, Bindings};
use core::time::Duration;
use jiff::Timestamp;
use std::sync::Arc;
use tandem_signalling::digest::Authenticator;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::{Flow, Transport};
use tandem_signalling::uri::{Host, Uri};
use tandem_wire::time::Instant;

/// What was counted of authentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuthCounters {
    /// Requests that were challenged for want of (fresh) credentials.
    pub challenges: u64,
    /// Credentials that were wrong: the password, or the user, which is not told apart.
    pub failures: u64,
}

/// Users and their contacts.
#[derive(Debug)]
pub struct Registrar {
    users: UserList,
    /// The users that all bindings belong to.
    users_seen: Option<Arc<UserMap>>,
    realm: String,
    authenticator: Authenticator,
    /// Stands in for the digest of users who do not exist, so that they take as long to refuse.
    decoy: String,
    bindings: Bindings,
    local: Addresses,
    counters: AuthCounters,
    /// What became of the credentials of the last request, until it is asked for.
    note: Option<AuthNote>,
    ping: Option<Duration>,
    next_ping: Option<Instant>,
}

impl Registrar {
    /// A registrar without contacts; `secret` makes its nonces.
    #[must_use]
    pub fn new(settings: &Settings, users: UserList, secret: [u8; 32]) -> Self {
        Self {
            users,
            users_seen: None,
            realm: settings.realm.clone(),
            authenticator: auth::authenticator(settings, secret),
            decoy: auth::decoy(&secret),
            bindings: Bindings::new(settings.max_contacts),
            local: settings.local.clone(),
            counters: AuthCounters::default(),
            note: None,
            ping: settings.ping,
            next_ping: None,
        }
    }

    /// Goes on with other limits and pings.
    pub fn reconfigure(&mut self, settings: &Settings) {
        self.bindings.limit_contacts(settings.max_contacts);
        self.ping = settings.ping;
        self.next_ping = None;
    }

    /// Whether there is an account of this name.
    #[must_use]
    pub fn knows(&self, user: &str) -> bool {
        self.users.load().find(user, &self.realm).is_some()
    }

    /// The numbers of a user.
    #[must_use]
    pub fn numbers_of(&self, user: &str) -> Vec<String> {
        let users = self.users.load();
        users.find(user, &self.realm).map(|user| user.numbers.clone()).unwrap_or_default()
    }

    /// Who is known in a realm, without any registration.
    #[must_use]
    pub fn directory(users: &UserList, realm: &str) -> impl Directory + use<> {
        Realm { users: users.clone(), realm: realm.to_owned() }
    }

    /// The contacts of an address of record, highest priority first.
    #[must_use]
    pub fn contacts(&self, aor: &str) -> &[Binding] {
        self.bindings.of(aor)
    }

    /// Contacts that are registered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether nobody is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// Whether the last request had right credentials.
    #[must_use]
    pub fn has_accepted(&self) -> bool {
        self.note == Some(AuthNote::Accepted)
    }

    /// What became of the credentials of the last request that was asked for them, once.
    pub const fn take_note(&mut self) -> Option<AuthNote> {
        self.note.take()
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> AuthCounters {
        self.counters
    }

    /// All contacts, by address of record.
    #[must_use]
    pub fn registrations(&self) -> Vec<Registration> {
        let mut all: Vec<_> = self.bindings.all().map(|b| b.registration.clone()).collect();
        all.sort_by(|a, b| (&a.aor, &a.contact).cmp(&(&b.aor, &b.contact)));
        all
    }

    /// Takes away what has run out.
    pub fn expire(&mut self, now: Instant) -> Vec<Registration> {
        self.bindings.expire(now)
    }

    /// Takes away the contacts of users who are gone, if the users have changed since this was
    /// asked last.
    pub fn drop_gone_users(&mut self) -> Vec<Registration> {
        let users = self.users.load();
        if self.users_seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &users)) {
            return Vec::new();
        }
        let realm = &self.realm;
        let gone = self.bindings.retain(|aor| {
            let uri = Uri::parse(aor).ok();
            let name = uri.as_ref().and_then(Uri::user_decoded);
            name.is_some_and(|name| users.find(&name, realm).is_some())
        });
        self.users_seen = Some(Arc::clone(&users));
        gone
    }

    /// The version of the users that all contacts belong to.
    #[must_use]
    pub fn users_version(&self) -> i64 {
        self.users_seen.as_ref().map_or(0, |users| users.version())
    }

    /// When [`Registrar::expire`] or [`Registrar::pings_due`] is due.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Instant> {
        let pings = self.next_ping.filter(|_| !self.is_empty());
        [self.bindings.next_timeout(), pings].into_iter().flatten().min()
    }

    /// Contacts over UDP that have to be asked for a sign of life now: one slice of them in each
    /// second, so that they do not all come at once.
    pub fn pings_due(&mut self, now: Instant) -> Vec<(Flow, String)> {
        let Some(every) = self.ping.filter(|_| self.next_ping.is_none_or(|at| at <= now)) else {
            return Vec::new();
        };
        self.next_ping = Some(now + Duration::from_secs(1));
        let (slices, turn) = (every.as_secs().max(1), now.as_millis() / 1000);
        let due = self.bindings.all().filter(|b| {
            b.flow.transport == Transport::Udp
                && u64::from(b.flow.remote.port()) % slices == turn % slices
        });
        due.map(|b| (b.flow, b.registration.contact.clone())).collect()
    }

    /// A connection is over: the next request to its contacts opens a new one.
    pub fn connection_closed(&mut self, flow: &Flow) {
        if flow.connection != 0 {
            self.bindings.connection_closed(flow);
        }
    }

    /// Puts back a contact of an earlier run; one that has run out is left out.
    pub fn restore(&mut self, now: Instant, wall: Timestamp, registration: Registration) {
        let left = registration.expires_at.duration_since(wall);
        let Ok(left) = core::time::Duration::try_from(left) else { return };
        if let Some(flow) = self.flow_of(&registration) {
            self.bindings.restore(Binding {
                source: registration.received,
                flow,
                expires: now + left,
                registration,
            });
        }
    }

    /// The way to a contact of an earlier run: its source address, from the socket it came to, if
    /// that is there still. A connection has to be opened anew, to where the contact listens, or
    /// to the proxy that its Path begins with.
    fn flow_of(&self, registration: &Registration) -> Option<Flow> {
        let transport = Transport::from_name(&registration.transport)?;
        let ours = self.local.of(transport);
        if transport.is_websocket() {
            // Only the browser can open it again; until then the contact cannot be reached.
            let (local, remote) = (registration.local?, registration.received?);
            return Some(Flow::new(transport, local, remote, 0));
        }
        let remote = match registration.path.first() {
            _ if transport == Transport::Udp => registration.received,
            Some(proxy) => proxy_address(proxy, registration.received),
            None => None,
        };
        let remote =
            remote.or_else(|| address_of(&registration.contact)).or(registration.received)?;
        let mut flow = self.local.flow_to(transport, remote)?;
        if let Some(local) = registration.local.filter(|local| ours.contains(local)) {
            flow.local = local;
        }
        Some(flow)
    }
}

impl Directory for Registrar {
    fn knows(&self, user: &str) -> bool {
        Self::knows(self, user)
    }

    fn owner_of(&self, number: &str) -> Option<String> {
        self.users.load().owner_of(number, &self.realm).map(str::to_owned)
    }
}

/// The users of a realm.
#[derive(Debug)]
struct Realm {
    users: UserList,
    realm: String,
}

impl Directory for Realm {
    fn knows(&self, user: &str) -> bool {
        self.users.load().find(user, &self.realm).is_some()
    }

    fn owner_of(&self, number: &str) -> Option<String> {
        self.users.load().owner_of(number, &self.realm).map(str::to_owned)
    }
}

/// Where the proxy of a Path value listens. Only another port of the machine that the REGISTER came
/// from is believed; anything else is where it came from.
fn proxy_address(
    path: &str,
    received: Option<std::net::SocketAddr>,
) -> Option<std::net::SocketAddr> {
    let proxy = NameAddr::parse(path.as_bytes()).ok();
    let listens = proxy.and_then(|proxy| address_of(proxy.uri().as_str()));
    listens.filter(|at| received.is_none_or(|from| from.ip() == at.ip())).or(received)
}

/// Address and port of a URI whose host is an address.
fn address_of(uri: &str) -> Option<std::net::SocketAddr> {
    let uri = Uri::parse(uri).ok()?;
    let Host::Ip(ip) = uri.host() else { return None };
    Some((ip, uri.port_or_default()).into())
}

impl Sites for Registrar {
    fn has_flow(&self, flow: &Flow) -> bool {
        self.bindings.sites().has_flow(flow.remote)
    }

    fn has_source(&self, source: Source) -> bool {
        self.bindings.sites().has_source(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_contact_of_an_earlier_run_is_reached_over_the_proxy_of_its_path() {
        let ours: Vec<std::net::SocketAddr> = vec!["192.0.2.1:5060".parse().unwrap()];
        let settings = Settings::new(&Config::default(), &Addresses::plain(&ours, &ours));
        let registrar = Registrar::new(&settings, UserList::of(Vec::new()), [0; 32]);
        let way = |transport: &str, path: &[&str]| {
            let registration = Registration {
                aor: "sip:a@tandem".into(),
                contact: "sip:a@10.0.0.7:5062".into(),
                transport: transport.into(),
                received: Some("198.51.100.7:41000".parse().unwrap()),
                local: Some(ours[0]),
                path: path.iter().map(|it| (*it).to_owned()).collect(),
                q_milli: 1000,
                registered_at: Timestamp::UNIX_EPOCH,
                expires_at: Timestamp::UNIX_EPOCH,
                call_id: "x".into(),
                cseq: 1,
                instance: None,
                reg_id: None,
                user_agent: None,
            };
            registrar.flow_of(&registration).unwrap().remote.to_string()
        };
        assert_eq!(way("udp", &[]), "198.51.100.7:41000");
        assert_eq!(way("udp", &["<sip:198.51.100.7:5070;lr>"]), "198.51.100.7:41000");
        assert_eq!(way("tcp", &[]), "10.0.0.7:5062");
        assert_eq!(way("tcp", &["<sip:198.51.100.7:5070;lr>"]), "198.51.100.7:5070");
        assert_eq!(way("tcp", &["<sip:203.0.113.9;lr>"]), "198.51.100.7:41000");
        assert_eq!(way("tcp", &["<sip:edge.example;lr>"]), "198.51.100.7:41000");
    }
}

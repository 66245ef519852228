//! Where a request goes (RFC 3263): which questions DNS is asked, and in which order what it
//! answered is tried. No socket, no clock; randomness comes in as a seed.
//!
//! [`Search::new`] looks at the URI; until [`Search::outcome`] has something, ask the
//! [`Search::questions`] and give each answer to [`Search::answer`].
//!
//! | the URI has | transport (§4.1) | address and port (§4.2) |
//! | --- | --- | --- |
//! | a numeric host | `transport=`, else UDP, TLS for sips | as it is, port of the transport |
//! | a name and a port | `transport=`, else UDP, TLS for sips | A and AAAA |
//! | a name and `transport=` | that | SRV, else A and AAAA |
//! | a name | NAPTR, else the SRV that exist | SRV, else A and AAAA |
//!
//! ```
//! use tandem_signalling::locate::{Family, Kind, Records, Search, Srv, Support};
//! use tandem_signalling::stack::Transport;
//! use tandem_signalling::uri::Uri;
//!
//! let support = Support { transports: vec![Transport::Udp], families: vec![Family::V4] };
//! let uri = Uri::parse("sip:bob@example.com;transport=udp")?;
//! let mut search = Search::new(&uri, &support, 1);
//! let question = search.questions()[0].clone();
//! assert_eq!((&*question.name, question.kind), ("_sip._udp.example.com", Kind::Srv));
//! let srv = Srv { priority: 0, weight: 0, port: 5070, target: "a.example.com".into() };
//! search.answer(&question, &Ok(Records::Srv(vec![srv])));
//! let question = search.questions()[0].clone();
//! assert_eq!((&*question.name, question.kind), ("a.example.com", Kind::A));
//! search.answer(&question, &Ok(Records::Addresses(vec!["192.0.2.1".parse()?])));
//! let targets = search.outcome().unwrap().clone().unwrap();
//! assert_eq!(targets[0].address, "192.0.2.1:5070".parse()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod naptr;
mod records;
mod srv;

pub use records::{Answer, Kind, Naptr, NoAnswer, Question, Records, Srv};
pub use srv::{Random, order};

use crate::stack::Transport;
use crate::uri::{Host, Scheme, Uri};
use core::net::{IpAddr, SocketAddr};
use std::collections::HashMap;
use std::sync::Arc;

/// Addresses that one URI leads to at most; what DNS says beyond is left out.
pub const MAX_TARGETS: usize = 16;
/// Hosts that the SRV records of one URI name at most; what DNS says beyond is left out.
pub const MAX_HOSTS: usize = 16;
/// Services of one URI that are looked up at most.
pub const MAX_SERVICES: usize = 6;

/// An IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The version of an address.
    #[must_use]
    pub const fn of(ip: &IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::V4 => Kind::A,
            Self::V6 => Kind::Aaaa,
        }
    }
}

/// What we can send over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Transports, the preferred one first; it counts only where DNS has no opinion.
    pub transports: Vec<Transport>,
    /// IP versions, the preferred one first.
    pub families: Vec<Family>,
}

impl Support {
    fn has(&self, transport: Transport) -> bool {
        self.transports.contains(&transport)
    }
}

/// An address to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The transport.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
    /// The domain of the URI, which a certificate has to name (RFC 5922 §4); none if the URI has
    /// an address.
    pub name: Option<Arc<str>>,
}

/// Why a URI leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum LocateError {
    /// Neither sip nor sips.
    #[error("only sip and sips URIs lead to a server")]
    Scheme,
    /// `transport=` is unknown or not enabled, or sips without TLS.
    #[error("the transport that the URI asks for is not enabled here: see sip.transports")]
    Transport,
    /// We have no socket of the IP version of the address.
    #[error("no address of the IP version of the destination in sip.listen")]
    Family,
    /// The domain does not exist, or has neither SIP service nor address.
    #[error("DNS knows no SIP server and no address for the domain")]
    NotFound,
    /// The DNS servers refused or failed.
    #[error("the DNS servers cannot answer")]
    DnsFailed,
    /// The DNS servers did not answer in time.
    #[error("no answer of the DNS servers in time")]
    DnsTimeout,
    /// Too many look-ups at the same time.
    #[error("too many look-ups at the same time: see dns.max_lookups")]
    Busy,
}

impl LocateError {
    /// The status that a caller gets.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Scheme => 416,
            Self::NotFound => 404,
            Self::Transport | Self::Family => 502,
            // RFC 3261 §21.5.5: an external server did not answer, DNS for example.
            Self::DnsFailed | Self::DnsTimeout => 504,
            Self::Busy => 503,
        }
    }
}

/// A service that may be there: its transport, and the name of its SRV records.
#[derive(Clone, Debug)]
struct Service {
    transport: Transport,
    name: Arc<str>,
    records: Option<Vec<Srv>>,
}

/// A host whose addresses are looked up.
#[derive(Clone, Debug)]
struct Candidate {
    transport: Transport,
    host: Arc<str>,
    port: u16,
}

#[derive(Clone, Debug)]
enum Step {
    Naptr,
    Services(Vec<Service>),
    Hosts(Vec<Candidate>, HashMap<Arc<str>, Vec<IpAddr>>),
    Done(Result<Vec<Target>, LocateError>),
}

/// The search for the addresses of one URI.
#[derive(Clone, Debug)]
pub struct Search {
    domain: Arc<str>,
    secure: bool,
    support: Support,
    random: Random,
    step: Step,
    questions: Vec<Question>,
    /// The worst thing that a look-up met, for the case that nothing is found.
    trouble: Option<NoAnswer>,
}

impl Search {
    /// Begins with a URI; that with a numeric host is found at once. `seed` decides among SRV
    /// records of one priority (RFC 2782) and among addresses of one host.
    #[must_use]
    pub fn new(uri: &Uri<'_>, support: &Support, seed: u64) -> Self {
        // §4: TARGET is the maddr parameter if there is one.
        let host = match uri.param("maddr").filter(|it| !it.is_empty()) {
            Some(maddr) => parse_host(maddr),
            None => uri.host(),
        };
        let domain: Arc<str> = match host {
            Host::Name(name) => normal(name),
            Host::Ip(_) => "".into(),
        };
        let mut search = Self {
            domain,
            secure: uri.scheme() == Scheme::Sips,
            support: support.clone(),
            random: Random::new(seed),
            step: Step::Naptr,
            questions: Vec::new(),
            trouble: None,
        };
        if let Err(error) = search.begin(uri, host) {
            search.step = Step::Done(Err(error));
        }
        search
    }

    fn begin(&mut self, uri: &Uri<'_>, host: Host<'_>) -> Result<(), LocateError> {
        if !uri.is_sip() {
            return Err(LocateError::Scheme);
        }
        let asked = self.asked_transport(uri.param("transport"))?;
        match (host, uri.port(), asked) {
            (Host::Ip(ip), port, _) => {
                let transport = asked.map_or_else(|| self.usual_transport(), Ok)?;
                if !self.support.families.contains(&Family::of(&ip)) {
                    return Err(LocateError::Family);
                }
                let address = SocketAddr::new(ip, port.unwrap_or(transport.default_port()));
                self.step = Step::Done(Ok(vec![Target { transport, address, name: None }]));
            }
            (Host::Name(_), Some(port), _) => {
                let transport = asked.map_or_else(|| self.usual_transport(), Ok)?;
                let host = Arc::clone(&self.domain);
                self.look_for_hosts(vec![Candidate { transport, host, port }]);
            }
            (Host::Name(_), None, Some(transport)) => {
                let name = self.service_name(transport);
                self.look_for_services(vec![(transport, name)]);
            }
            (Host::Name(_), None, None) => {
                self.usual_transport()?;
                self.ask(Arc::clone(&self.domain), Kind::Naptr);
            }
        }
        Ok(())
    }

    /// What the transport parameter asks for (§4.1); sips makes TLS of TCP.
    fn asked_transport(&self, param: Option<&str>) -> Result<Option<Transport>, LocateError> {
        let Some(param) = param.filter(|it| !it.is_empty()) else { return Ok(None) };
        let is = |name: &str| param.eq_ignore_ascii_case(name);
        let transport = if is("tls") || (is("tcp") && self.secure) {
            Transport::Tls
        } else if is("tcp") {
            Transport::Tcp
        } else if is("udp") && !self.secure {
            Transport::Udp
        } else {
            return Err(LocateError::Transport);
        };
        if self.support.has(transport) { Ok(Some(transport)) } else { Err(LocateError::Transport) }
    }

    /// The transport where neither URI nor DNS has an opinion: UDP, or TLS for sips; the first
    /// that there is if UDP is not.
    fn usual_transport(&self) -> Result<Transport, LocateError> {
        let usual = if self.secure { Transport::Tls } else { Transport::Udp };
        if self.support.has(usual) {
            return Ok(usual);
        }
        let other = self.support.transports.first().filter(|_| !self.secure);
        other.copied().ok_or(LocateError::Transport)
    }

    /// `_sip._udp.example.com`, `_sips._tcp.example.com`.
    fn service_name(&self, transport: Transport) -> Arc<str> {
        let service = match transport {
            Transport::Udp => "_sip._udp",
            Transport::Tls => "_sips._tcp",
            _ => "_sip._tcp",
        };
        format!("{service}.{}", self.domain).into()
    }

    fn ask(&mut self, name: Arc<str>, kind: Kind) {
        let question = Question { name, kind };
        if !self.questions.contains(&question) {
            self.questions.push(question);
        }
    }

    fn look_for_services(&mut self, services: Vec<(Transport, Arc<str>)>) {
        let services: Vec<Service> = services
            .into_iter()
            .take(MAX_SERVICES)
            .map(|(transport, name)| Service { transport, name, records: None })
            .collect();
        for service in &services {
            self.ask(Arc::clone(&service.name), Kind::Srv);
        }
        self.step = Step::Services(services);
    }

    fn look_for_hosts(&mut self, candidates: Vec<Candidate>) {
        let mut found: HashMap<Arc<str>, Vec<IpAddr>> = HashMap::new();
        for candidate in &candidates {
            // Some put an address where RFC 2782 wants a name.
            if let Ok(ip) = candidate.host.parse() {
                found.insert(Arc::clone(&candidate.host), vec![ip]);
            } else if found.len() < MAX_HOSTS && !found.contains_key(&candidate.host) {
                found.insert(Arc::clone(&candidate.host), Vec::new());
                for family in self.support.families.clone() {
                    self.ask(Arc::clone(&candidate.host), family.kind());
                }
            }
        }
        self.step = Step::Hosts(candidates, found);
        self.go_on();
    }

    /// Questions that are not answered yet; an answer may bring new ones.
    #[must_use]
    pub fn questions(&self) -> &[Question] {
        &self.questions
    }

    /// The addresses in the order in which they are to be tried, or why there are none; `None`
    /// while a question is open.
    #[must_use]
    pub const fn outcome(&self) -> Option<&Result<Vec<Target>, LocateError>> {
        match &self.step {
            Step::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Takes the answer to a question; one that was not asked is passed over.
    pub fn answer(&mut self, question: &Question, answer: &Answer) {
        let Some(at) = self.questions.iter().position(|it| it == question) else { return };
        self.questions.swap_remove(at);
        if let Err(trouble) = answer {
            self.trouble = self.trouble.max(Some(*trouble));
        }
        match (&mut self.step, answer) {
            (Step::Naptr, Ok(Records::Naptr(records))) => {
                let services = naptr::services(records, self.secure, &self.support);
                self.naptr_found(services);
            }
            // Whoever answers nothing at all will not answer to SRV either.
            (Step::Naptr, Err(NoAnswer::TimedOut)) => {
                self.step = Step::Done(Err(LocateError::DnsTimeout));
            }
            (Step::Naptr, _) => self.naptr_found(Vec::new()),
            (Step::Services(services), Ok(Records::Srv(records))) => {
                for service in services.iter_mut().filter(|it| it.name == question.name) {
                    service.records = Some(records.clone());
                }
            }
            (Step::Hosts(_, found), Ok(Records::Addresses(addresses))) => {
                if let Some(known) = found.get_mut(&question.name) {
                    // Nobody can be talked to at the others.
                    let usable = |ip: &&IpAddr| {
                        Family::of(ip).kind() == question.kind
                            && !ip.is_unspecified()
                            && !ip.is_multicast()
                    };
                    known.extend(addresses.iter().filter(usable));
                }
            }
            _ => {}
        }
        self.go_on();
    }

    /// §4.1: the services that NAPTR names, else one for each transport that we have.
    fn naptr_found(&mut self, services: Vec<(Transport, Arc<str>)>) {
        if !services.is_empty() {
            return self.look_for_services(services);
        }
        let secure = self.secure;
        let fits = |it: &&Transport| match it {
            Transport::Udp | Transport::Tcp => !secure,
            Transport::Tls => secure,
            _ => false,
        };
        let transports: Vec<Transport> =
            self.support.transports.iter().filter(fits).copied().collect();
        let services = transports.into_iter().map(|it| (it, self.service_name(it))).collect();
        self.look_for_services(services);
    }

    /// Takes the next step when nothing is open.
    fn go_on(&mut self) {
        if !self.questions.is_empty() {
            return;
        }
        match &self.step {
            Step::Services(services) => {
                let services = services.clone();
                self.services_answered(&services);
            }
            Step::Hosts(candidates, found) => {
                let (candidates, found) = (candidates.clone(), found.clone());
                let targets = self.targets(&candidates, &found);
                let outcome =
                    if targets.is_empty() { Err(self.why_nothing()) } else { Ok(targets) };
                self.step = Step::Done(outcome);
            }
            Step::Naptr | Step::Done(_) => {}
        }
    }

    fn services_answered(&mut self, services: &[Service]) {
        let there: Vec<&Service> = services.iter().filter(|it| it.records.is_some()).collect();
        if there.is_empty() {
            if self.trouble == Some(NoAnswer::TimedOut) {
                self.step = Step::Done(Err(LocateError::DnsTimeout));
                return;
            }
            // §4.2: no SRV records, so the domain itself, at the default port.
            let transport = services.first().map(|it| it.transport);
            let transport = match (services.len(), transport) {
                (1, Some(transport)) => Ok(transport),
                _ => self.usual_transport(),
            };
            match transport {
                Ok(transport) => {
                    let (host, port) = (Arc::clone(&self.domain), transport.default_port());
                    self.look_for_hosts(vec![Candidate { transport, host, port }]);
                }
                Err(error) => self.step = Step::Done(Err(error)),
            }
            return;
        }
        let mut candidates = Vec::new();
        for service in there {
            let records = service.records.clone().unwrap_or_default();
            for srv in order(records, &mut self.random) {
                let (transport, host) = (service.transport, normal(&srv.target));
                // RFC 2782: the service is decidedly not there.
                if !host.is_empty() && srv.port != 0 {
                    candidates.push(Candidate { transport, host, port: srv.port });
                }
            }
        }
        if candidates.is_empty() {
            self.step = Step::Done(Err(LocateError::NotFound));
        } else {
            self.look_for_hosts(candidates);
        }
    }

    fn targets(
        &mut self,
        candidates: &[Candidate],
        found: &HashMap<Arc<str>, Vec<IpAddr>>,
    ) -> Vec<Target> {
        let mut targets = Vec::new();
        for candidate in candidates {
            let addresses = found.get(&candidate.host).map_or(&[][..], Vec::as_slice);
            for ip in self.by_family(addresses) {
                let target = Target {
                    transport: candidate.transport,
                    address: SocketAddr::new(ip, candidate.port),
                    name: Some(Arc::clone(&self.domain)),
                };
                if targets.len() < MAX_TARGETS && !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        targets
    }

    /// Addresses of one host: each version shuffled, since caches keep the order that a DNS server
    /// would rotate, and the versions in turn.
    fn by_family(&mut self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let mut lists: Vec<Vec<IpAddr>> = Vec::new();
        for family in self.support.families.clone() {
            let mut list: Vec<IpAddr> =
                addresses.iter().filter(|ip| Family::of(ip) == family).copied().collect();
            self.random.shuffle(&mut list);
            lists.push(list);
        }
        let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
        (0..longest).flat_map(|at| lists.iter().filter_map(move |it| it.get(at).copied())).collect()
    }

    fn why_nothing(&self) -> LocateError {
        match self.trouble {
            Some(NoAnswer::TimedOut) => LocateError::DnsTimeout,
            Some(NoAnswer::Failed) => LocateError::DnsFailed,
            Some(NoAnswer::NoRecords) | None => LocateError::NotFound,
        }
    }
}

/// A name as DNS compares it: lower case, without the dot of the root.
fn normal(name: &str) -> Arc<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

fn parse_host(text: &str) -> Host<'_> {
    let bare = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_or(Host::Name(text), Host::Ip)
}

#[cfg(test)]
mod tests;

//! DNS on a thread of its own: questions go in over a queue, answers come back over another, and
//! the signalling thread is woken.

use core::fmt;
use core::time::Duration;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Instant, SystemTime};
use tandem_signalling::locate::{Answer, Kind, Naptr, NoAnswer, Question, Records, Srv};

/// For so long an answer without records and without a time of its own is kept (RFC 2308 §5 leaves
/// it open).
const UNTIMED_TTL: Duration = Duration::from_secs(5);
/// Records of one answer that are taken at most.
const MAX_RECORDS: usize = 64;
/// How often the system's configuration is looked at for changes.
const SYSTEM_LOOKED_AT_EVERY: Duration = Duration::from_secs(5);
/// The system's configuration.
const SYSTEM_FILE: &str = "/etc/resolv.conf";

/// The answer to a question.
#[derive(Clone, Debug)]
pub struct DnsAnswer {
    /// What was asked.
    pub question: Question,
    /// What was answered.
    pub answer: Answer,
    /// How long it holds.
    pub ttl: Duration,
}

/// Somebody who asks DNS without making anybody wait.
pub trait Dns: Send + fmt::Debug {
    /// Asks; false if there is no room for more questions.
    fn ask(&mut self, question: &Question) -> bool;
    /// The next answer that has come.
    fn poll(&mut self) -> Option<DnsAnswer>;
}

/// How DNS is asked.
#[derive(Clone, Debug)]
pub struct DnsConfig {
    /// Servers; none for those of the system.
    pub servers: Vec<SocketAddr>,
    /// A server has this time to answer.
    pub timeout: Duration,
    /// How often a question is repeated.
    pub retries: u32,
    /// Questions at the same time.
    pub max_lookups: usize,
}

/// The thread that asks DNS. It ends when this is dropped.
#[derive(Debug)]
pub struct DnsThread {
    questions: tokio::sync::mpsc::Sender<Question>,
    answers: mpsc::Receiver<DnsAnswer>,
}

impl DnsThread {
    /// Starts the thread; `wake` is called whenever an answer has come.
    ///
    /// # Errors
    /// What the system says about threads and sockets.
    pub fn start(config: DnsConfig, wake: impl Fn() + Send + Sync + 'static) -> io::Result<Self> {
        let (questions, inbox) = tokio::sync::mpsc::channel(config.max_lookups.max(1));
        let (outbox, answers) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        std::thread::Builder::new().name("dns".into()).spawn(move || {
            runtime.block_on(serve(config, inbox, outbox, wake));
        })?;
        Ok(Self { questions, answers })
    }
}

impl Dns for DnsThread {
    fn ask(&mut self, question: &Question) -> bool {
        self.questions.try_send(question.clone()).is_ok()
    }

    fn poll(&mut self) -> Option<DnsAnswer> {
        self.answers.try_recv().ok()
    }
}

async fn serve(
    config: DnsConfig,
    mut inbox: tokio::sync::mpsc::Receiver<Question>,
    outbox: mpsc::Sender<DnsAnswer>,
    wake: Arc<dyn Fn() + Send + Sync>,
) {
    let mut servers = Servers::new(config);
    while let Some(question) = inbox.recv().await {
        let resolver = servers.resolver();
        let deadline = servers.deadline();
        let (outbox, wake) = (outbox.clone(), Arc::clone(&wake));
        tokio::spawn(async move {
            let (answer, ttl) = match resolver {
                Some(resolver) => tokio::time::timeout(deadline, ask(&resolver, &question))
                    .await
                    .unwrap_or((Err(NoAnswer::TimedOut), Duration::ZERO)),
                None => (Err(NoAnswer::Failed), Duration::ZERO),
            };
            if let Err(trouble) = &answer {
                tracing::debug!(?question, ?trouble, "DNS has no records");
            }
            // Fails only when the daemon ends.
            let _ = outbox.send(DnsAnswer { question, answer, ttl });
            wake();
        });
    }
}

/// The servers of the configuration, or those of the system, which may change.
struct Servers {
    config: DnsConfig,
    resolver: Option<TokioResolver>,
    looked_at: Option<Instant>,
    changed_at: Option<SystemTime>,
}

impl Servers {
    fn new(config: DnsConfig) -> Self {
        Self { config, resolver: None, looked_at: None, changed_at: None }
    }

    /// The longest that one question takes.
    fn deadline(&self) -> Duration {
        self.config.timeout * (self.config.retries + 1) + Duration::from_millis(100)
    }

    fn resolver(&mut self) -> Option<TokioResolver> {
        let fixed = !self.config.servers.is_empty();
        let due = match self.looked_at {
            None => true,
            Some(at) => !fixed && at.elapsed() >= SYSTEM_LOOKED_AT_EVERY,
        };
        if due {
            self.looked_at = Some(Instant::now());
            let changed_at = std::fs::metadata(SYSTEM_FILE).and_then(|it| it.modified()).ok();
            if self.resolver.is_none() || changed_at != self.changed_at {
                self.changed_at = changed_at;
                self.resolver = self.build();
            }
        }
        self.resolver.clone()
    }

    fn build(&self) -> Option<TokioResolver> {
        let servers = if self.config.servers.is_empty() {
            match system_conf::read_system_conf() {
                Ok((system, _)) => system.name_servers().to_vec(),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "{SYSTEM_FILE} names no DNS server: set dns.servers, or calls to names \
                         fail with 504"
                    );
                    return None;
                }
            }
        } else {
            self.config.servers.iter().map(name_server).collect()
        };
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        self.set(builder.options_mut());
        builder
            .build()
            .inspect_err(|error| tracing::warn!(%error, "the DNS resolver cannot be set up"))
            .ok()
    }

    fn set(&self, options: &mut ResolverOpts) {
        options.timeout = self.config.timeout;
        options.attempts = usize::try_from(self.config.retries).unwrap_or(1);
        // The signalling thread has a cache of its own, which it reads without asking anybody.
        options.cache_size = 0;
        options.max_active_requests = self.config.max_lookups;
        // NAPTR and SRV answers are large.
        options.edns0 = true;
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

async fn ask(resolver: &TokioResolver, question: &Question) -> (Answer, Duration) {
    // With the dot of the root: no search domains (names in SIP URIs are complete).
    let Ok(name) = Name::from_ascii(format!("{}.", question.name)) else {
        return (Err(NoAnswer::NoRecords), UNTIMED_TTL);
    };
    let kind = match question.kind {
        Kind::Naptr => RecordType::NAPTR,
        Kind::Srv => RecordType::SRV,
        Kind::A => RecordType::A,
        Kind::Aaaa => RecordType::AAAA,
    };
    match resolver.lookup(name, kind).await {
        Ok(lookup) => {
            let ttl = lookup.valid_until().saturating_duration_since(Instant::now());
            let data = lookup.answers().iter().map(|record| &record.data);
            let records = records(question.kind, data);
            if records.is_empty() { (Err(NoAnswer::NoRecords), ttl) } else { (Ok(records), ttl) }
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let ttl = none.negative_ttl.map_or(UNTIMED_TTL, |it| Duration::from_secs(it.into()));
            (Err(NoAnswer::NoRecords), ttl)
        }
        Err(NetError::Timeout) => (Err(NoAnswer::TimedOut), Duration::ZERO),
        Err(_) => (Err(NoAnswer::Failed), Duration::ZERO),
    }
}

fn records<'a>(kind: Kind, data: impl Iterator<Item = &'a RData>) -> Records {
    let data = data.take(MAX_RECORDS);
    match kind {
        Kind::Naptr => Records::Naptr(data.filter_map(naptr).collect()),
        Kind::Srv => Records::Srv(data.filter_map(srv).collect()),
        Kind::A | Kind::Aaaa => Records::Addresses(data.filter_map(address).collect()),
    }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(it) = data else { return None };
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    Some(Naptr {
        order: it.order,
        preference: it.preference,
        flags: text(&it.flags),
        service: text(&it.services),
        regexp: text(&it.regexp),
        replacement: it.replacement.to_ascii(),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(it) = data else { return None };
    let target = it.target.to_ascii().into();
    Some(Srv { priority: it.priority, weight: it.weight, port: it.port, target })
}

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(it) => Some(it.0.into()),
        RData::AAAA(it) => Some(it.0.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::proto::op::{Message, OpCode};
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use std::net::UdpSocket;
    use std::sync::mpsc::Receiver;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// A DNS server that knows one SRV record and one address, and is silent about other names.
    fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut room = [0; 2_048];
            while let Ok((length, from)) = socket.recv_from(&mut room) {
                let Ok(question) = Message::from_vec(&room[..length]) else { continue };
                let asked = question.queries[0].clone();
                let data =
                    match (asked.name().to_ascii().to_lowercase().as_str(), asked.query_type()) {
                        ("_sip._udp.example.test.", RecordType::SRV) => {
                            RData::SRV(SRV::new(1, 2, 5_070, name("a.example.test.")))
                        }
                        ("a.example.test.", RecordType::A) => RData::A(A::new(192, 0, 2, 7)),
                        _ => continue,
                    };
                let mut answer = Message::response(question.id, OpCode::Query);
                answer.add_query(asked.clone());
                answer.add_answer(Record::from_rdata(asked.name().clone(), 77, data));
                let _ = socket.send_to(&answer.to_vec().unwrap(), from);
            }
        });
        address
    }

    fn thread() -> (DnsThread, Receiver<()>) {
        let config = DnsConfig {
            servers: vec![server()],
            timeout: Duration::from_millis(200),
            retries: 1,
            max_lookups: 10,
        };
        let (wake, woken) = mpsc::channel();
        let thread = DnsThread::start(config, move || {
            let _ = wake.send(());
        });
        (thread.unwrap(), woken)
    }

    #[test]
    fn answers_come_back_with_their_time_and_wake() {
        let (mut dns, woken) = thread();
        for (text, kind) in [("_sip._udp.example.test", Kind::Srv), ("a.example.test", Kind::A)] {
            assert!(dns.ask(&Question { name: text.into(), kind }));
            woken.recv_timeout(Duration::from_secs(10)).unwrap();
            let got = dns.poll().unwrap();
            assert_eq!((&*got.question.name, got.question.kind), (text, kind));
            let expected = match kind {
                Kind::Srv => Records::Srv(vec![Srv {
                    priority: 1,
                    weight: 2,
                    port: 5_070,
                    target: "a.example.test.".into(),
                }]),
                _ => Records::Addresses(vec!["192.0.2.7".parse().unwrap()]),
            };
            assert_eq!(got.answer, Ok(expected));
            assert!((70..=77).contains(&got.ttl.as_secs()), "{:?}", got.ttl);
        }
    }

    #[test]
    fn a_silent_server_times_out_and_holds_up_no_other_question() {
        let (mut dns, woken) = thread();
        assert!(dns.ask(&Question { name: "silent.test".into(), kind: Kind::A }));
        assert!(dns.ask(&Question { name: "a.example.test".into(), kind: Kind::A }));
        let mut answers = Vec::new();
        for _ in 0..2 {
            woken.recv_timeout(Duration::from_secs(10)).unwrap();
            answers.push(dns.poll().unwrap());
        }
        assert_eq!(&*answers[0].question.name, "a.example.test");
        assert_eq!(answers[1].answer, Err(NoAnswer::TimedOut));
        let bad = Question { name: "a..b".into(), kind: Kind::A };
        assert!(dns.ask(&bad));
        woken.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(dns.poll().unwrap().answer, Err(NoAnswer::NoRecords));
    }
}

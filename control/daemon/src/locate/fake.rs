//! DNS for tests: a zone in memory, and servers that may be silent.

use super::dns::{Dns, DnsAnswer};
use core::time::Duration;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use tandem_signalling::locate::{Answer, Kind, NoAnswer, Question, Records, Srv};

/// What the servers know and were asked.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) zone: HashMap<Question, Answer>,
    /// Names below these get no answer at all.
    pub(crate) silent: HashSet<String>,
    pub(crate) asked: Vec<Question>,
    pub(crate) answers: VecDeque<DnsAnswer>,
    pub(crate) ttl: Duration,
}

/// The servers; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct FakeDns(Arc<Mutex<State>>);

impl FakeDns {
    pub(crate) fn new() -> Self {
        let ttl = Duration::from_secs(60);
        Self(Arc::new(Mutex::new(State { ttl, ..State::default() })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn put(&self, name: &str, kind: Kind, answer: Answer) {
        self.state().zone.insert(Question { name: name.into(), kind }, answer);
    }

    pub(crate) fn host(&self, name: &str, address: &str) {
        let ip: IpAddr = address.parse().unwrap();
        let kind = if ip.is_ipv4() { Kind::A } else { Kind::Aaaa };
        self.put(name, kind, Ok(Records::Addresses(vec![ip])));
    }

    /// SRV records of ascending priority.
    pub(crate) fn srv(&self, name: &str, hosts: &[(&str, u16)]) {
        let record = |(priority, (target, port)): (usize, &(&str, u16))| Srv {
            priority: u16::try_from(priority).unwrap(),
            weight: 0,
            port: *port,
            target: (*target).into(),
        };
        let records = hosts.iter().enumerate().map(record).collect();
        self.put(name, Kind::Srv, Ok(Records::Srv(records)));
    }

    pub(crate) fn silence(&self, name: &str) {
        self.state().silent.insert(name.to_owned());
    }

    /// Gives the answers that were held back by silence, as if the servers came back.
    pub(crate) fn asked(&self) -> usize {
        self.state().asked.len()
    }
}

impl Dns for FakeDns {
    fn ask(&mut self, question: &Question) -> bool {
        let mut state = self.state();
        state.asked.push(question.clone());
        if state.silent.iter().any(|name| question.name.ends_with(&**name)) {
            return true;
        }
        let answer = state.zone.get(question).cloned().unwrap_or(Err(NoAnswer::NoRecords));
        let ttl = state.ttl;
        state.answers.push_back(DnsAnswer { question: question.clone(), answer, ttl });
        true
    }

    fn poll(&mut self) -> Option<DnsAnswer> {
        self.state().answers.pop_front()
    }
}

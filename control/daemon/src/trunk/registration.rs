//! Our registration at a provider: when it is made, refreshed and tried again. Pure.
//!
//! | what comes | what follows |
//! | --- | --- |
//! | 2xx | refreshed after 70 to 85 % of what was granted |
//! | 423 | again at once, for as long as the provider wants (RFC 3261 §10.2.8) |
//! | 401, 407 | again at once with credentials |
//! | 403, 404, or credentials refused | again after a minute, then ever more rarely |
//! | anything else, or nothing | again after 5 s, then ever more rarely, up to 5 minutes |
//!
//! Waiting times have jitter, so that many trunks and many Tandems do not come at once; a
//! Retry-After is waited for.

use super::credentials::Attempts;
use core::time::Duration;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_wire::time::Instant;

/// First wait after a failure.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// First wait after credentials were refused.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// Longest wait.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// Longest Retry-After that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
/// Longest registration, s.
const MAX_EXPIRES_S: u32 = 86_400;
/// Values of Service-Route or Path that are kept.
const MAX_ROUTES: usize = 16;

/// What to do after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing until the next timeout.
    Wait,
    /// Send the request again at once.
    Again,
}

/// A registration.
#[derive(Debug)]
pub struct Registration {
    expires_s: u32,
    /// When the next request is due; `None` while one is on its way.
    due: Option<Instant>,
    until: Option<Instant>,
    failures: u32,
    /// The last request was answered with 423 already.
    lengthened: bool,
    /// What the request that is on its way has answered.
    pub attempts: Attempts,
    /// The last response: the next request continues its Call-ID and numbers.
    pub last: Option<Message>,
    /// Way of requests outside of dialogs to the provider (RFC 3608).
    pub service_route: Vec<String>,
    /// What proxies on the way put into our registration (RFC 3327).
    pub path: Vec<String>,
    /// Why it failed last; `None` after success.
    pub failure: Option<String>,
}

impl Registration {
    /// A registration for so long, to be made after at most `spread`.
    #[must_use]
    pub fn new(now: Instant, expires_s: u32, spread: Duration, random: u64) -> Self {
        Self {
            expires_s,
            due: Some(now + part(spread, random)),
            until: None,
            failures: 0,
            lengthened: false,
            attempts: Attempts::default(),
            last: None,
            service_route: Vec::new(),
            path: Vec::new(),
            failure: None,
        }
    }

    /// Whether the provider has us registered.
    #[must_use]
    pub fn is_registered(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// Time that is left of it.
    #[must_use]
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.until.filter(|until| *until > now).map(|until| until.since(now))
    }

    /// When a request is due.
    #[must_use]
    pub const fn next_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// What is asked for, s.
    #[must_use]
    pub const fn expires_s(&self) -> u32 {
        self.expires_s
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A request is being sent, or its server looked for.
    pub fn begin(&mut self) {
        self.due = None;
        self.attempts = Attempts::default();
        self.lengthened = false;
    }

    /// It is being taken back.
    pub fn forget(&mut self) {
        self.begin();
        self.until = None;
    }

    /// A final response that no credentials answer. `contact` is the URI that we registered.
    pub fn response(
        &mut self,
        now: Instant,
        response: &Message,
        contact: &str,
        random: u64,
    ) -> Next {
        let status = response.status().unwrap_or(500);
        self.last = Some(response.clone());
        match status {
            200..300 => self.accepted(now, response, contact, random),
            423 if !self.lengthened
                && response.min_expires().is_some_and(|min| min > self.expires_s) =>
            {
                let min = response.min_expires().unwrap_or(self.expires_s);
                self.expires_s = min.min(MAX_EXPIRES_S);
                self.lengthened = true;
                return Next::Again;
            }
            _ => {
                let text = response.reason().unwrap_or_default();
                let refused = matches!(status, 401 | 403 | 404 | 407);
                let first = if refused { REFUSED_WAIT } else { FIRST_WAIT };
                let asked = response.retry_after().map(|it| Duration::from_secs(it.seconds.into()));
                self.failed(now, format!("{status} {text}"), first, asked, random);
            }
        }
        Next::Wait
    }

    /// The request was not answered, or could not be sent.
    pub fn no_answer(&mut self, now: Instant, why: &str, random: u64) {
        self.failed(now, why.to_owned(), FIRST_WAIT, None, random);
    }

    fn accepted(&mut self, now: Instant, response: &Message, contact: &str, random: u64) {
        let granted = granted(response, contact).unwrap_or(self.expires_s).min(MAX_EXPIRES_S);
        let lasts = Duration::from_secs(granted.into());
        // Whoever answers 2xx and grants nothing has removed us.
        let early = lasts * 70 / 100 + part(lasts * 15 / 100, random);
        self.until = (granted > 0).then(|| now + lasts);
        self.due = Some(now + early.max(Duration::from_secs(1)));
        self.failures = 0;
        self.failure = None;
        self.service_route = values(response, Header::ServiceRoute);
        self.path = values(response, Header::Path);
    }

    fn failed(
        &mut self,
        now: Instant,
        why: String,
        first: Duration,
        asked: Option<Duration>,
        random: u64,
    ) {
        self.failures = self.failures.saturating_add(1);
        let grown = first.saturating_mul(1 << (self.failures - 1).min(10)).min(MAX_WAIT);
        // Half of it is certain.
        let wait = grown / 2 + part(grown / 2, random);
        let asked = asked.unwrap_or_default().min(MAX_RETRY_AFTER);
        self.due = Some(now + wait.max(asked));
        self.failure = Some(why);
    }
}

/// A random part of a time.
fn part(time: Duration, random: u64) -> Duration {
    let share = u32::try_from(random % 1_024).unwrap_or(0);
    time * share / 1_024
}

fn values(response: &Message, header: Header) -> Vec<String> {
    let text = |value: &[u8]| core::str::from_utf8(value).ok().map(str::to_owned);
    response.values(header).filter_map(text).take(MAX_ROUTES).collect()
}

/// Expiry that the registrar granted to our contact, s.
fn granted(response: &Message, contact: &str) -> Option<u32> {
    let user = |uri: &str| uri.split_once('@').map(|(user, _)| user.to_owned());
    let ours = user(contact);
    let of_contact = response.contacts().flatten().find_map(|it| {
        let address = it.address()?;
        // A registrar may write the host that it sees us at; the user part is ours alone.
        (user(address.uri().as_str()) == ours).then(|| it.expires())?
    });
    of_contact.or_else(|| response.number(Header::Expires))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTACT: &str = "sip:line-x@192.0.2.1:5060";

    fn response(status: u16, rows: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status} Said\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\n\
             {rows}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    fn begun() -> Registration {
        let mut it = Registration::new(at(0), 600, Duration::ZERO, 0);
        assert_eq!(it.next_timeout(), Some(at(0)));
        it.begin();
        assert_eq!(it.next_timeout(), None);
        it
    }

    #[test]
    fn it_is_refreshed_in_good_time() {
        for random in [0, 512, 1_023] {
            let mut it = begun();
            let contacts = "Contact: <sip:other@10.0.0.1>;expires=50, \
                            <sip:line-x@203.0.113.9:1024>;expires=200\r\nExpires: 50\r\n";
            assert_eq!(it.response(at(10), &response(200, contacts), CONTACT, random), Next::Wait);
            assert!(it.is_registered(at(209)) && !it.is_registered(at(210)));
            let due = it.next_timeout().unwrap();
            assert!((at(150)..at(181)).contains(&due), "{due:?}");
        }
    }

    #[test]
    fn the_way_back_is_kept() {
        let mut it = begun();
        let rows =
            "Expires: 100\r\nService-Route: <sip:p1;lr>, <sip:p2;lr>\r\nPath: <sip:e;lr>\r\n";
        it.response(at(0), &response(200, rows), CONTACT, 0);
        assert_eq!(it.service_route, ["<sip:p1;lr>", "<sip:p2;lr>"]);
        assert_eq!(it.path, ["<sip:e;lr>"]);
        assert_eq!(it.left(at(40)), Some(Duration::from_secs(60)));
    }

    #[test]
    fn a_longer_expiry_is_granted_once() {
        let mut it = begun();
        let brief = response(423, "Min-Expires: 1800\r\n");
        assert_eq!(it.response(at(0), &brief, CONTACT, 0), Next::Again);
        assert_eq!(it.expires_s(), 1_800);
        let again = response(423, "Min-Expires: 3600\r\n");
        assert_eq!(it.response(at(0), &again, CONTACT, 0), Next::Wait);
        assert_eq!(it.failure.as_deref(), Some("423 Said"));
    }

    #[test]
    fn failures_are_repeated_ever_more_rarely_and_never_stop() {
        let mut it = begun();
        let mut waits = Vec::new();
        for _ in 0..40 {
            it.no_answer(at(0), "no answer", 1_023);
            waits.push(it.next_timeout().unwrap().since(at(0)).as_secs());
            it.begin();
        }
        assert_eq!(waits[..7], [4, 9, 19, 39, 79, 159, 299]);
        assert_eq!(waits[39], 299);
        it.no_answer(at(0), "no answer", 0);
        assert_eq!(it.next_timeout().unwrap().since(at(0)).as_secs(), 150);
        it.response(at(0), &response(200, "Expires: 60\r\n"), CONTACT, 0);
        assert_eq!((it.failures(), it.failure.as_deref()), (0, None));
    }

    #[test]
    fn a_refused_password_and_retry_after_are_waited_for() {
        let mut it = begun();
        it.response(at(0), &response(403, ""), CONTACT, 0);
        assert_eq!(it.next_timeout(), Some(at(30)));
        let mut it = begun();
        it.response(at(0), &response(503, "Retry-After: 120\r\n"), CONTACT, 0);
        assert_eq!(it.next_timeout(), Some(at(120)));
        it.response(at(0), &response(503, "Retry-After: 99999\r\n"), CONTACT, 0);
        assert_eq!(it.next_timeout(), Some(at(3_600)));
    }

    #[test]
    fn a_failed_refresh_leaves_what_is_left() {
        let mut it = begun();
        it.response(at(0), &response(200, "Expires: 100\r\n"), CONTACT, 0);
        it.begin();
        it.no_answer(at(80), "no answer", 0);
        assert!(it.is_registered(at(99)) && !it.is_registered(at(100)));
        // Two hundred that grants nothing is no registration.
        it.response(at(85), &response(200, "Expires: 0\r\n"), CONTACT, 0);
        assert!(!it.is_registered(at(86)));
        assert_eq!(it.next_timeout(), Some(at(86)));
    }

    #[test]
    fn many_do_not_come_at_once() {
        let due = |random| Registration::new(at(0), 600, Duration::from_secs(2), random);
        assert_eq!(due(0).next_timeout(), Some(at(0)));
        assert_eq!(due(512).next_timeout(), Some(at(1)));
    }
}

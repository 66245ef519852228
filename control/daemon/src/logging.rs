//! The log, on standard error, and how parties appear in it.

use crate::config::settings::Log;
use crate::config::types::LogFormat;
use std::fmt;
use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use tandem_wire::time::Instant;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Environment variable that comes before `log.level`.
pub const LEVEL_VARIABLE: &str = "TANDEM_LOG";

static SHOW_PARTIES: AtomicBool = AtomicBool::new(false);

/// Sets another filter on the running log.
type SetFilter = Box<dyn Fn(EnvFilter) + Send + Sync>;

static SET_FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Starts the log; a second call changes how parties appear and which level is shown, not the
/// format.
///
/// # Errors
/// A sentence if `TANDEM_LOG` cannot be read.
pub fn start(settings: &Log) -> Result<(), String> {
    SHOW_PARTIES.store(settings.show_parties, Ordering::Relaxed);
    let filter = filter(settings)?;
    if let Some(set) = SET_FILTER.get() {
        set(filter);
        return Ok(());
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match settings.format {
        LogFormat::Text => {
            let log = log.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = log.reload_handle();
            begin(log.try_init().is_ok(), Box::new(move |filter| drop(handle.reload(filter))));
        }
        LogFormat::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            begin(log.try_init().is_ok(), Box::new(move |filter| drop(handle.reload(filter))));
        }
    }
    Ok(())
}

/// Keeps the way to set another filter, unless somebody else's log runs already.
fn begin(started: bool, set: SetFilter) {
    if started {
        // Only the first log of a process is ever started.
        let _ = SET_FILTER.set(set);
    }
}

fn filter(settings: &Log) -> Result<EnvFilter, String> {
    let level = std::env::var(LEVEL_VARIABLE).ok().filter(|level| !level.is_empty());
    let level = level.as_deref().unwrap_or(&settings.level);
    check_levels(level).map_err(|sentence| format!("{LEVEL_VARIABLE}: {sentence}"))?;
    EnvFilter::try_new(level).map_err(|error| {
        format!("{LEVEL_VARIABLE}: {error}: use \"info\" or \"info,tandem=debug\"")
    })
}

/// Checks that the parts of a filter that name no target are levels: a word alone would be taken
/// for a target that nothing logs under, and the log would be empty.
///
/// # Errors
/// A sentence with the levels that there are.
pub fn check_levels(filter: &str) -> Result<(), String> {
    let mut alone = filter.split(',').filter(|part| !part.contains(['=', '[']));
    match alone.find(|part| part.parse::<LevelFilter>().is_err()) {
        Some(part) => Err(format!(
            "\"{part}\" is no level: use \"error\", \"warn\", \"info\", \"debug\", \"trace\" or \"off\", or name a target as in \"info,tandem::call=debug\""
        )),
        None => Ok(()),
    }
}

/// Keeps lines that come with every call from costing more than the calls: so many in a second, and
/// what was left out is told in one line.
#[derive(Clone, Debug, Default)]
pub struct LineBound {
    most: u64,
    second: u64,
    told: u64,
    left_out: u64,
}

impl LineBound {
    /// At most `most` lines in a second; 0 for all.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self { most: most.into(), ..Self::default() }
    }

    /// Whether another line may be written at `now`.
    pub fn allows(&mut self, now: Instant) -> bool {
        if self.most == 0 {
            return true;
        }
        let second = now.as_millis() / 1_000;
        if second != self.second {
            let left_out = std::mem::take(&mut self.left_out);
            (self.second, self.told) = (second, 0);
            if left_out > 0 {
                tracing::info!(
                    left_out,
                    "lines of calls were left out: more than log.call_lines_per_s; records have all calls"
                );
            }
        }
        let allowed = self.told < self.most;
        self.told += u64::from(allowed);
        self.left_out += u64::from(!allowed);
        allowed
    }
}

/// Shows a phone number, an address of record or a network address in the log: the telling part
/// is hidden unless `log.show_parties` is set.
///
/// A URI keeps its scheme, the last two characters of its user part, and its host; an IP address
/// keeps its first half.
#[derive(Clone, Copy)]
pub struct Redacted<T>(pub T);

impl<T: fmt::Display> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T: fmt::Display> fmt::Display for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&told(self.0.to_string(), SHOW_PARTIES.load(Ordering::Relaxed)))
    }
}

fn told(text: String, show: bool) -> String {
    if show { text } else { hide(&text) }
}

fn hide(text: &str) -> String {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return hide_ip(address.ip());
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        return hide_ip(ip);
    }
    let (scheme, rest) = match text.split_once(':') {
        Some((scheme @ ("sip" | "sips" | "tel"), rest)) => (Some(scheme), rest),
        _ => (None, text),
    };
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (user, Some(host)),
        None => (rest, None),
    };
    let tail = if user.chars().count() > 4 {
        user.char_indices().rev().nth(1).map_or("", |(index, _)| &user[index..])
    } else {
        ""
    };
    let mut hidden = String::new();
    if let Some(scheme) = scheme {
        hidden.push_str(scheme);
        hidden.push(':');
    }
    hidden.push('…');
    hidden.push_str(tail);
    if let Some(host) = host {
        hidden.push('@');
        // Parameters may name the party again.
        let host = host.split([';', '?', '>']).next().unwrap_or_default();
        let ip = host.parse::<SocketAddr>().map(|address| address.ip());
        match ip.or_else(|_| host.trim_matches(['[', ']']).parse::<IpAddr>()) {
            Ok(ip) => hidden.push_str(&hide_ip(ip)),
            Err(_) => hidden.push_str(host),
        }
    }
    hidden
}

fn hide_ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) if ip.is_loopback() => ip.to_string(),
        IpAddr::V4(ip) => format!("{}.{}.x.x", ip.octets()[0], ip.octets()[1]),
        IpAddr::V6(ip) if ip.is_loopback() => ip.to_string(),
        IpAddr::V6(ip) => format!("{:x}:{:x}:x", ip.segments()[0], ip.segments()[1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_part_is_hidden() {
        for (shown, hidden) in [
            ("sip:alice@tandem", "sip:…ce@tandem"),
            ("sip:+4930123456@example.org;user=phone", "sip:…56@example.org"),
            ("tel:112", "tel:…"),
            ("bob", "…"),
            ("sip:alice@192.0.2.7:5060", "sip:…ce@192.0.x.x"),
            ("sip:alice@[2001:db8::1]", "sip:…ce@2001:db8:x"),
            ("192.0.2.1:5060", "192.0.x.x"),
            ("[2001:db8::7]:5060", "2001:db8:x"),
            ("127.0.0.1:5060", "127.0.0.1"),
            ("sip:äöüßé@tandem", "sip:…ßé@tandem"),
            ("", "…"),
        ] {
            assert_eq!(hide(shown), hidden, "{shown}");
        }
    }

    #[test]
    fn parties_are_shown_to_who_asks_for_it() {
        let text = || "sip:alice@192.0.2.7".to_owned();
        assert_eq!(told(text(), true), "sip:alice@192.0.2.7");
        assert_eq!(told(text(), false), "sip:…ce@192.0.x.x");
    }

    #[test]
    fn lines_are_bound_by_the_second() {
        let mut bound = LineBound::new(2);
        let allowed = |bound: &mut LineBound, ms| bound.allows(Instant::from_millis(ms));
        let within: Vec<bool> =
            [1_000, 1_001, 1_002, 1_999].map(|ms| allowed(&mut bound, ms)).into();
        assert_eq!(within, [true, true, false, false]);
        assert_eq!(bound.left_out, 2);
        assert!(allowed(&mut bound, 2_000));
        assert_eq!(bound.left_out, 0);
        let mut all = LineBound::new(0);
        assert!((0..100).all(|_| all.allows(Instant::ZERO)));
    }

    #[test]
    fn wrappers_take_any_text() {
        let address: SocketAddr = "192.0.2.1:5060".parse().unwrap();
        assert_eq!(Redacted(address).to_string(), "192.0.x.x");
        assert_eq!(format!("{:?}", Redacted("sip:alice@tandem")), "sip:…ce@tandem");
    }
}

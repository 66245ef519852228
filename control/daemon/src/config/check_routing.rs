//! Numbers, trunks and routes that make no sense together.

use super::nearest;
use super::settings::{Config, Route, Trunk};
use super::trunk::Network;
use crate::route::number::{MAX_E164_DIGITS, digits_of};
use crate::route::tree::is_prefix;
use std::collections::HashSet;
use tandem_signalling::uri::{Scheme, Uri};

/// Trunks at most.
pub(super) const MAX_TRUNKS: usize = 1_000;
/// Routes at most.
pub(super) const MAX_ROUTES: usize = 100_000;

/// What is wrong with a key of a section, or of the `index`th table of an array.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) section: &'static str,
    pub(super) index: Option<usize>,
    pub(super) key: &'static str,
    /// A sentence with the remedy.
    pub(super) message: String,
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn numbers(&mut self, key: &'static str, message: impl Into<String>) {
        self.0.push(Finding { section: "numbers", index: None, key, message: message.into() });
    }

    fn trunk(&mut self, index: usize, key: &'static str, message: impl Into<String>) {
        let (index, message) = (Some(index), message.into());
        self.0.push(Finding { section: "trunk", index, key, message });
    }

    fn route(&mut self, index: usize, key: &'static str, message: impl Into<String>) {
        let (index, message) = (Some(index), message.into());
        self.0.push(Finding { section: "route", index, key, message });
    }
}

/// All findings.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    numbers(config, &mut findings);
    if config.trunk.len() > MAX_TRUNKS {
        findings.trunk(MAX_TRUNKS, "name", format!("there are more than {MAX_TRUNKS} trunks"));
    }
    let mut names = HashSet::new();
    for (index, it) in config.trunk.iter().enumerate() {
        if !names.insert(it.name.as_str()) {
            findings.trunk(index, "name", format!("there are two trunks `{}`", it.name));
        }
        trunk(index, it, &mut findings);
    }
    if config.route.len() > MAX_ROUTES {
        findings.route(MAX_ROUTES, "prefix", format!("there are more than {MAX_ROUTES} routes"));
    }
    for (index, it) in config.route.iter().enumerate() {
        route(index, it, &config.trunk, &mut findings);
    }
    findings.0
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit())
}

fn numbers(config: &Config, findings: &mut Findings) {
    let numbers = &config.numbers;
    for (key, value, longest) in [
        ("country_code", &numbers.country_code, 3),
        ("international_prefix", &numbers.international_prefix, 6),
        ("national_prefix", &numbers.national_prefix, 4),
        ("area_code", &numbers.area_code, 8),
    ] {
        if !is_digits(value) || value.len() > longest {
            let message = format!("`{value}`: up to {longest} digits, without + and blanks");
            findings.numbers(key, message);
        }
    }
    if numbers.country_code.starts_with('0') {
        findings
            .numbers("country_code", "no country code begins with 0: write \"49\", not \"0049\"");
    }
    if !numbers.area_code.is_empty() && numbers.country_code.is_empty() {
        findings.numbers("area_code", "an area code needs numbers.country_code");
    }
    if numbers.national_digits as usize > MAX_E164_DIGITS {
        let message = format!("a number has at most {MAX_E164_DIGITS} digits");
        findings.numbers("national_digits", message);
    }
    if numbers.local_digits as usize > MAX_E164_DIGITS {
        findings.numbers("local_digits", format!("0 to {MAX_E164_DIGITS} digits are possible"));
    }
    for number in &numbers.emergency {
        if digits_of(number).as_deref() != Some(number) || number.starts_with('+') {
            let message =
                format!("`{number}`: write the digits as they are dialled, as in \"112\"");
            findings.numbers("emergency", message);
        }
    }
}

/// Whether requests can be sent to a URI.
fn check_uri(text: &str) -> Result<(), String> {
    let uri = Uri::parse(text).map_err(|_| {
        format!("`{text}` is no SIP URI: write \"sip:sip.example.com\" or \"sip:192.0.2.9:5060\"")
    })?;
    match uri.scheme() {
        Scheme::Sip | Scheme::Sips => Ok(()),
        _ => Err(format!("`{text}`: a SIP URI is needed, as in \"sip:sip.example.com\"")),
    }
}

fn trunk(index: usize, trunk: &Trunk, findings: &mut Findings) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if trunk.name.is_empty() || trunk.name.len() > 64 || !trunk.name.chars().all(is_name) {
        let message = "a name of letters, digits, `-`, `_` and `.` is needed";
        findings.trunk(index, "name", message);
    }
    if let Err(message) = check_uri(&trunk.peer) {
        findings.trunk(index, "peer", message);
    }
    if !trunk.registrar.is_empty()
        && let Err(message) = check_uri(&trunk.registrar)
    {
        findings.trunk(index, "registrar", message);
    }
    if trunk.sources.iter().any(Network::is_everything) {
        let message =
            "this takes calls from everybody without a password: name the addresses of the trunk";
        findings.trunk(index, "sources", message);
    }
    if trunk.domain.contains(|c: char| c.is_whitespace() || "@;<>\"".contains(c)) {
        findings.trunk(index, "domain", format!("`{}` is not a domain", trunk.domain));
    }
    if trunk.register && trunk.username.is_empty() {
        findings.trunk(index, "username", "a trunk to register at needs a username");
    }
    for (key, name) in [("username", &trunk.username), ("auth_username", &trunk.auth_username)] {
        if name.contains(|c: char| c.is_control() || "<>\"@".contains(c)) {
            findings.trunk(
                index,
                key,
                format!("`{name}` is no user name: write it without domain"),
            );
        }
    }
    if !trunk.number.is_empty() && digits_of(&trunk.number).as_ref() != Some(&trunk.number) {
        findings.trunk(index, "number", format!("`{}`: write it as \"+4930123456\"", trunk.number));
    }
    for (key, value, low, high) in [
        ("expires_s", trunk.expires_s, 30, 86_400),
        ("answer_within_s", trunk.answer_within_s, 1, 32),
        ("max_calls", trunk.max_calls, 0, 1_000_000),
        ("options_s", trunk.options_s, 0, 86_400),
    ] {
        if value < low || value > high {
            findings.trunk(index, key, format!("{value} is out of range: {low} to {high}"));
        }
    }
}

fn route(index: usize, route: &Route, trunks: &[Trunk], findings: &mut Findings) {
    if !is_prefix(&route.prefix) || route.prefix.len() > MAX_E164_DIGITS + 1 {
        let message = format!("`{}`: digits, with + in front for E.164", route.prefix);
        findings.route(index, "prefix", message);
    }
    if !is_prefix(&route.add) {
        findings.route(index, "add", format!("`{}`: digits, with + in front at most", route.add));
    }
    match (route.trunk.is_empty(), route.user.is_empty()) {
        (true, true) => findings.route(index, "trunk", "name a trunk or a user"),
        (false, false) => findings.route(index, "user", "name a trunk or a user, not both"),
        (false, true) => known(index, "trunk", &route.trunk, trunks, findings),
        (true, false) => {}
    }
    if route.strip as usize > MAX_E164_DIGITS + 1 {
        findings.route(index, "strip", "this is longer than any number");
    }
    for name in &route.from {
        if let Some(name) = name.strip_prefix("trunk:") {
            known(index, "from", name, trunks, findings);
        } else if name.is_empty() {
            findings.route(index, "from", "name a user, or \"trunk:NAME\"");
        }
    }
}

/// Says so if there is no trunk of this name.
fn known(index: usize, key: &'static str, name: &str, trunks: &[Trunk], findings: &mut Findings) {
    let mut names = trunks.iter().map(|trunk| trunk.name.as_str());
    if names.clone().any(|known| known == name) {
        return;
    }
    let near = nearest(name, &mut names);
    let message = match near {
        Some(near) => format!("there is no trunk `{name}`: did you mean `{near}`?"),
        None => format!("there is no [[trunk]] with the name `{name}`"),
    };
    findings.route(index, key, message);
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn first(text: &str) -> (usize, String) {
        let problem = Config::parse(text).unwrap_err().remove(0);
        (problem.line, problem.message)
    }

    const TRUNK: &str = "[[trunk]]\nname = \"carrier\"\npeer = \"sip:192.0.2.9\"\n";

    #[test]
    fn nonsense_is_refused_with_place_and_remedy() {
        for (text, line, part) in [
            ("[numbers]\ncountry_code = \"+49\"\n".to_owned(), 2, "without +"),
            ("[numbers]\ncountry_code = \"049\"\n".to_owned(), 2, "begins with 0"),
            ("[numbers]\narea_code = \"30\"\n".to_owned(), 2, "needs numbers.country_code"),
            ("[numbers]\nemergency = [\"1 1 2\"]\n".to_owned(), 2, "as they are dialled"),
            (format!("{TRUNK}{TRUNK}"), 5, "two trunks `carrier`"),
            (format!("{TRUNK}register = true\n"), 1, "needs a username"),
            (format!("{TRUNK}sources = [\"0.0.0.0/0\"]\n"), 4, "from everybody"),
            (format!("{TRUNK}sources = [\"x\"]\n"), 4, "no address or network"),
            (format!("{TRUNK}answer_within_s = 60\n"), 4, "1 to 32"),
            (format!("{TRUNK}failover = [\"nxx\"]\n"), 4, "no cause"),
            (format!("{TRUNK}caller_id = \"hide\"\n"), 4, "anonymous"),
            (format!("{TRUNK}[[route]]\ntrunk = \"carier\"\n"), 5, "did you mean `carrier`?"),
            (format!("{TRUNK}[[route]]\nprefix = \"+49x\"\ntrunk = \"carrier\"\n"), 5, "digits"),
            (format!("{TRUNK}[[route]]\nprefix = \"1\"\n"), 4, "a trunk or a user"),
            (
                format!("{TRUNK}[[route]]\ntrunk = \"carrier\"\nfrom = [\"trunk:x\"]\n"),
                6,
                "no [[trunk]] with the name `x`",
            ),
        ] {
            let (at, message) = first(&text);
            assert!(message.contains(part), "{text}: {message}");
            assert_eq!(at, line, "{text}: {message}");
        }
    }

    #[test]
    fn a_whole_set_is_taken() {
        let text = "[numbers]\ncountry_code = \"49\"\narea_code = \"30\"\nemergency = [\"112\", \"110\"]\n\
            [[trunk]]\nname = \"carrier-1\"\npeer = \"sip:sip.example.com;transport=tcp\"\nregister = true\n\
            username = \"4930123\"\npassword = \"x\"\nsources = [\"192.0.2.0/24\", \"2001:db8::9\"]\n\
            caller_id = \"replace\"\nnumber = \"+4930123\"\nnumber_format = \"national\"\n\
            [[route]]\nprefix = \"+\"\ntrunk = \"carrier-1\"\n\
            [[route]]\nprefix = \"+493012399\"\nuser = \"alice\"\nfrom = [\"trunk:carrier-1\", \"bob\"]\n";
        let config = Config::parse(text).unwrap();
        assert_eq!((config.trunk.len(), config.route.len()), (1, 2));
    }
}

//! Where a call was meant to go before: History-Info (RFC 7044) and Diversion (RFC 5806). Pure.
//!
//! What came with a call goes on. Each time that it is sent to somebody else, an entry is added;
//! entries name addresses of record, for a contact is an address of one leg and no business of the
//! others.

use tandem_signalling::build::reason_phrase;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::NameAddr;
use tandem_signalling::stack::Fields;
use tandem_signalling::uri::{Uri, escape_header_into};

/// The entry of a target that is not to be known (RFC 7044 §10.1).
const ANONYMOUS: &str = "<sip:anonymous@anonymous.invalid>";

/// Entries of either header that go on at most.
const MAX_ENTRIES: usize = 32;

/// One redirection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the call is sent now, for others to see.
    pub to: String,
    /// The status that sent it there.
    pub status: u16,
    /// Whether a phone had rung before.
    pub rang: bool,
    /// Which of the targets of that answer this is, from 1.
    pub ordinal: usize,
    /// What the answer itself said of the diversion.
    pub diversion: Vec<String>,
}

/// Adds History-Info and Diversion for a call to `called` that was redirected by `steps`, oldest
/// first. `private` makes targets anonymous.
pub fn push(fields: &mut Fields, invite: &Message, called: &str, steps: &[&Step], private: bool) {
    for entry in history(invite, called, steps) {
        let entry = if private || entry.contains("Privacy=history") {
            let params = entry.rfind('>').map_or("", |end| &entry[end + 1..]);
            format!("{ANONYMOUS}{params}")
        } else {
            entry
        };
        fields.push("History-Info", entry);
    }
    for value in diversions(invite, called, steps) {
        if !(private || hides(&value)) {
            fields.push("Diversion", value);
        }
    }
}

/// Whether a Diversion value wants its name unknown (RFC 5806 §9).
fn hides(value: &str) -> bool {
    let value = NameAddr::parse(value.as_bytes());
    value.is_ok_and(|it| {
        it.params().get("privacy").is_some_and(|how| !how.eq_ignore_ascii_case("off"))
    })
}

fn texts(message: &Message, header: Header) -> Vec<String> {
    let values = message.values(header).take(MAX_ENTRIES);
    values.filter_map(|value| core::str::from_utf8(value).ok()).map(str::to_owned).collect()
}

/// The entries: those that came; the target that was asked for, unless it is the last of them; one
/// for each step, whose parent gets the reason (RFC 7044 §9.2, §9.3).
fn history(invite: &Message, called: &str, steps: &[&Step]) -> Vec<String> {
    let mut entries = texts(invite, Header::HistoryInfo);
    if steps.is_empty() {
        return entries;
    }
    let last = entries.last().and_then(|entry| {
        let entry = NameAddr::parse(entry.as_bytes()).ok()?;
        let index = entry.params().get("index")?.to_owned();
        let same = entry.uri().user_decoded() == Uri::parse(called).ok()?.user_decoded();
        Some((index, same))
    });
    let mut index = match last {
        Some((index, true)) => index,
        Some((parent, false)) => {
            let index = format!("{parent}.1");
            entries.push(format!("<{called}>;index={index}"));
            index
        }
        None => {
            entries.push(format!("<{called}>;index=1"));
            "1".to_owned()
        }
    };
    for step in steps {
        if let Some(parent) = entries.last_mut() {
            *parent = with_reason(parent, step.status);
        }
        let child = format!("{index}.{}", step.ordinal);
        entries.push(format!("<{}>;index={child};mp={index}", step.to));
        index = child;
    }
    entries
}

/// An entry with the answer that ended it, in its URI.
fn with_reason(entry: &str, status: u16) -> String {
    let Some(end) = entry.find('>') else { return entry.to_owned() };
    let (uri, rest) = entry.split_at(end);
    if uri.contains("Reason=") {
        return entry.to_owned();
    }
    let mut out = uri.to_owned();
    out.push(if uri.contains('?') { '&' } else { '?' });
    out.push_str("Reason=");
    let text = reason_phrase(status);
    escape_header_into(&mut out, &format!("SIP;cause={status};text=\"{text}\""));
    out.push_str(rest);
    out
}

/// The diversions, the latest first (RFC 5806 §5.1).
fn diversions(invite: &Message, called: &str, steps: &[&Step]) -> Vec<String> {
    let mut values = Vec::new();
    for (at, step) in steps.iter().enumerate().rev() {
        if !step.diversion.is_empty() {
            values.extend(step.diversion.iter().cloned());
            continue;
        }
        let diverted = if at == 0 { called } else { &steps[at - 1].to };
        let reason = if step.rang { "deflection" } else { "unconditional" };
        values.push(format!("<{diverted}>;reason={reason};counter=1"));
    }
    values.extend(texts(invite, Header::Diversion));
    values.truncate(MAX_ENTRIES);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite(rows: &str) -> Message {
        let text = format!(
            "INVITE sip:bob@tandem SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bK1\r\n\
             From: <sip:alice@tandem>;tag=1\r\nTo: <sip:bob@tandem>\r\nCall-ID: a@192.0.2.7\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:alice@192.0.2.7>\r\n{rows}Content-Length: 0\r\n\r\n"
        );
        Message::parse(text.as_bytes()).unwrap()
    }

    fn step(to: &str, ordinal: usize) -> Step {
        Step { to: to.into(), status: 302, rang: false, ordinal, diversion: Vec::new() }
    }

    #[test]
    fn each_redirection_is_an_entry_and_its_parent_has_the_reason() {
        let (carol, dave) = (step("sip:carol@tandem", 2), step("sip:dave@tandem", 1));
        assert_eq!(
            history(&invite(""), "sip:bob@tandem", &[&carol, &dave]),
            [
                "<sip:bob@tandem?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%20Temporarily%22>;index=1",
                "<sip:carol@tandem?Reason=SIP%3Bcause%3D302%3Btext%3D%22Moved%20Temporarily%22>;index=1.2;mp=1",
                "<sip:dave@tandem>;index=1.2.1;mp=1.2",
            ]
        );
        assert_eq!(
            diversions(&invite(""), "sip:bob@tandem", &[&carol, &dave]),
            [
                "<sip:carol@tandem>;reason=unconditional;counter=1",
                "<sip:bob@tandem>;reason=unconditional;counter=1",
            ]
        );
    }

    #[test]
    fn what_came_is_kept_and_gone_on_from() {
        let came = "History-Info: <sip:old@a.example>;index=1, <sip:bob@b.example>;index=1.1;mp=1\r\n\
                    Diversion: <sip:old@a.example>;reason=no-answer\r\n";
        let entries = history(&invite(came), "sip:bob@tandem", &[&step("sip:carol@tandem", 1)]);
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[2], "<sip:carol@tandem>;index=1.1.1;mp=1.1");
        assert_eq!(history(&invite(came), "sip:bob@tandem", &[]).len(), 2);
        let came = "History-Info: <sip:old@a.example>;index=1\r\n";
        let entries = history(&invite(came), "sip:bob@tandem", &[&step("sip:carol@tandem", 1)]);
        assert!(entries[1].ends_with(";index=1.1"), "{entries:?}");
        assert!(entries[2].ends_with(";index=1.1.1;mp=1.1"), "{entries:?}");
    }

    #[test]
    fn what_a_phone_says_of_its_diversion_counts() {
        let mut busy = step("sip:carol@tandem", 1);
        busy.diversion = vec!["<sip:bob@tandem>;reason=user-busy".into()];
        assert_eq!(
            diversions(&invite(""), "sip:bob@tandem", &[&busy]),
            ["<sip:bob@tandem>;reason=user-busy"]
        );
    }

    #[test]
    fn hidden_diversions_are_seen() {
        assert!(hides("<sip:bob@tandem>;privacy=full"));
        assert!(!hides("<sip:bob@tandem>;privacy=off"));
        assert!(!hides("<sip:bob@tandem>;reason=away"));
    }
}

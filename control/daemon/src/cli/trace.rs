//! `tandem trace`: the messages of a call as a ladder.

use super::{CliError, CliResult, Daemon, DaemonArgs, say, say_json};
use crate::trace::{Direction, TracedCall, TracedMessage};
use clap::Args;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

const HELP: &str = "\
ID is the id of a call (`tandem calls`) or of a record (`tandem records`), or the Call-ID of one of
its legs; with that of a registration, its messages are shown. The daemon keeps the messages of the
last minutes (trace.memory_mib). Passwords' answers and media keys are hidden, but for --pcap.

Examples:
  tandem trace 0672f3c4a1b2c3d4
  tandem trace 0672f3c4a1b2c3d4 --full | less
  tandem trace 0672f3c4a1b2c3d4 --pcap call.pcap";

/// Characters of a column of the ladder.
const COLUMN: usize = 26;
/// Characters of the time before it.
const TIME: usize = 10;

/// Arguments of `tandem trace`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct TraceArgs {
    /// Which call.
    id: String,
    /// Print every message whole, below its arrow.
    #[arg(long)]
    full: bool,
    /// Write a capture file for Wireshark instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["full", "json"])]
    pcap: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArgs,
}

pub(super) fn run(args: &TraceArgs) -> CliResult {
    let daemon = Daemon::find(&args.daemon)?;
    let path = format!("/v1/trace/{}", escaped(&args.id));
    if let Some(file) = &args.pcap {
        let octets = daemon.get_octets(&format!("{path}/pcap"))?;
        return std::fs::write(file, octets).map_err(|error| {
            CliError::failed(format!("cannot write {}: {error}", file.display()))
        });
    }
    let call: TracedCall = daemon.get(&path, &[])?;
    if args.daemon.json {
        return say_json(&call);
    }
    say(ladder(&call, args.full).trim_end())
}

/// A segment of a path: whatever may not stand in one is escaped (RFC 3986 §2.1).
fn escaped(id: &str) -> String {
    id.bytes().fold(String::new(), |mut out, octet| {
        if octet.is_ascii_alphanumeric() || b"-._~@!*+".contains(&octet) {
            out.push(char::from(octet));
        } else {
            let _ = write!(out, "%{octet:02X}");
        }
        out
    })
}

/// The parties in the order of their columns: the first peer, Tandem, all others. A peer is an
/// address and the leg on it, so that a phone that calls itself has two columns.
struct Parties<'a> {
    peers: Vec<(SocketAddr, &'a str)>,
}

impl<'a> Parties<'a> {
    fn of(call: &'a TracedCall) -> Self {
        let mut peers = Vec::new();
        for message in &call.messages {
            let peer = (message.remote, message.call_id.as_str());
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        Self { peers }
    }

    /// Column of a message's peer; Tandem's is 1.
    fn column(&self, message: &TracedMessage) -> usize {
        let peer = (message.remote, message.call_id.as_str());
        match self.peers.iter().position(|it| *it == peer) {
            Some(0) | None => 0,
            Some(later) => later + 1,
        }
    }

    fn count(&self) -> usize {
        self.peers.len() + 1
    }

    /// Middle of a column.
    const fn middle(column: usize) -> usize {
        TIME + column * COLUMN + COLUMN / 2
    }

    fn heading(&self) -> String {
        let mut names = vec![String::new(); self.count()];
        for (index, (address, _)) in self.peers.iter().enumerate() {
            names[if index == 0 { 0 } else { index + 1 }] = address.to_string();
        }
        names[1] = "tandem".to_owned();
        let mut line = " ".repeat(TIME);
        for name in names {
            let _ = write!(line, "{name:^COLUMN$}");
        }
        line.trim_end().to_owned()
    }

    /// A line with the life line of each party.
    fn life_lines(&self) -> Vec<char> {
        let mut line = vec![' '; TIME + self.count() * COLUMN];
        for column in 0..self.count() {
            line[Self::middle(column)] = '│';
        }
        line
    }
}

fn put(line: &mut [char], at: usize, text: &str) {
    for (place, letter) in line.iter_mut().skip(at).zip(text.chars()) {
        *place = letter;
    }
}

/// The arrow of a message from one party to the other.
fn arrow(parties: &Parties<'_>, message: &TracedMessage, time: &str) -> String {
    let mut line = parties.life_lines();
    put(&mut line, 0, time);
    let (peer, tandem) = (Parties::middle(parties.column(message)), Parties::middle(1));
    let (left, right) = (peer.min(tandem), peer.max(tandem));
    line[left + 1..right].fill('─');
    let to_the_right = (message.direction == Direction::In) == (peer < tandem);
    if to_the_right {
        line[right - 1] = '▶';
    } else {
        line[left + 1] = '◀';
    }
    let repeated = if message.repeated { " (again)" } else { "" };
    let room = right - left - 5;
    let label: String = format!(" {}{repeated} ", message.summary).chars().take(room).collect();
    put(&mut line, left + 2 + (room + 1 - label.chars().count().min(room)) / 2, &label);
    line.into_iter().collect::<String>().trim_end().to_owned()
}

/// The whole ladder.
fn ladder(call: &TracedCall, full: bool) -> String {
    let parties = Parties::of(call);
    let mut out = String::new();
    let Some(first) = call.messages.first() else { return out };
    if let Some(id) = &call.call {
        let _ = writeln!(out, "call {id}");
    }
    let _ = writeln!(out, "begins {}\n\n{}", super::table::time(first.at), parties.heading());
    let mut last_media: BTreeMap<(SocketAddr, &str, bool), &[String]> = BTreeMap::new();
    for message in &call.messages {
        let seconds = (message.at - first.at).total(jiff::Unit::Second).unwrap_or(0.0);
        let _ = writeln!(out, "{}", arrow(&parties, message, &format!("{seconds:>8.3}")));
        let way = (message.remote, message.call_id.as_str(), message.direction == Direction::In);
        if !message.media.is_empty()
            && last_media.insert(way, &message.media) != Some(&message.media)
        {
            for media in &message.media {
                let _ = writeln!(out, "{:TIME$}    {media}", "");
            }
        }
        if full {
            for line in message.text.lines() {
                let _ = writeln!(out, "{:TIME$}    {}", "", line.trim_end());
            }
            out.push('\n');
        }
    }
    if call.truncated {
        let _ = writeln!(
            out,
            "… and more: {} messages are shown at most",
            crate::trace::dialogue::MAX_MESSAGES
        );
    }
    let _ = write!(
        out,
        "\n{} of {}",
        super::table::counted(call.messages.len(), "message"),
        super::table::counted(call.call_ids.len(), "leg")
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(second: i64, remote: &str, way: Direction, summary: &str) -> TracedMessage {
        let remote: SocketAddr = remote.parse().unwrap();
        TracedMessage {
            at: jiff::Timestamp::from_millisecond(1_700_000_000_000 + second * 10).unwrap(),
            direction: way,
            transport: "udp".into(),
            local: "192.0.2.1:5060".parse().unwrap(),
            remote,
            call_id: format!("x@{remote}"),
            summary: summary.into(),
            cseq: "1 INVITE".into(),
            repeated: summary == "200 OK",
            media: if summary == "INVITE" {
                vec!["audio 1.2.3.4:4000 PCMA sendrecv".into()]
            } else {
                vec![]
            },
            text: format!("{summary} sip:x SIP/2.0\r\n\r\n"),
        }
    }

    fn call() -> TracedCall {
        let (a, b, c) = ("192.0.2.7:5060", "192.0.2.8:5060", "192.0.2.9:5060");
        let messages = vec![
            message(0, a, Direction::In, "INVITE"),
            message(1, b, Direction::Out, "INVITE"),
            message(1, c, Direction::Out, "INVITE"),
            message(2, b, Direction::In, "180 Ringing"),
            message(3, a, Direction::Out, "180 Ringing"),
            message(4, c, Direction::In, "200 OK"),
        ];
        serde_json::from_value(serde_json::json!({
            "call": "0672f3c4a1b2c3d4",
            "call_ids": ["x@1", "x@2", "x@3"],
            "messages": messages,
            "truncated": false,
        }))
        .unwrap()
    }

    #[test]
    fn every_arrow_goes_from_one_life_line_to_another() {
        let text = ladder(&call(), false);
        let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
        let arrows: Vec<_> = lines.iter().filter(|line| line.contains(&'─')).collect();
        assert_eq!(arrows.len(), 6, "{text}");
        let (a, tandem, b, c) =
            (Parties::middle(0), Parties::middle(1), Parties::middle(2), Parties::middle(3));
        let head = |index: usize, at: usize| arrows[index][at];
        assert_eq!(head(0, tandem - 1), '▶', "{text}");
        assert_eq!(head(1, b - 1), '▶');
        assert_eq!(head(2, c - 1), '▶');
        assert_eq!(head(3, tandem + 1), '◀');
        assert_eq!(head(4, a + 1), '◀');
        assert_eq!(head(5, tandem + 1), '◀');
        for line in &arrows {
            assert_eq!((line[a], line[tandem]), ('│', '│'), "{text}");
        }
        assert!(text.contains("200 OK (again)") && text.contains("6 messages of 3 legs"), "{text}");
        assert_eq!(text.matches("audio 1.2.3.4:4000").count(), 3);
        assert!(ladder(&call(), true).contains("INVITE sip:x SIP/2.0"));
    }

    #[test]
    fn ids_stay_one_segment_of_the_path() {
        assert_eq!(escaped("a/b@c ä?"), "a%2Fb@c%20%C3%A4%3F");
    }
}

//! The messages of RFC 5118, SIP over IPv6, and what becomes of each.

use core::net::IpAddr;
use tandem_signalling::message::{Message, validate_request};
use tandem_signalling::sdp::SessionDescription;
use tandem_signalling::stack::{Event, Flow, Output, Stack, StackConfig};
use tandem_signalling::uri::Host;
use tandem_wire::time::Instant;

fn octets(name: &str) -> Vec<u8> {
    let path = format!("{}/vectors/rfc5118/{name}.dat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn message(name: &str) -> Message {
    let message = Message::parse(&octets(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    validate_request(&message).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    message
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What a stack does with it: the status that it answers by itself, 0 if it passes it on.
fn fate(name: &str) -> u16 {
    let mut stack = Stack::new(StackConfig::default(), 1);
    let (local, remote) = ("[2001:db8::10]:5060".parse(), "[2001:db8::9:1]:5060".parse());
    stack.handle_input(Instant::ZERO, Flow::udp(local.unwrap(), remote.unwrap()), &octets(name));
    match stack.poll_output() {
        Some(Output::Event(Event::Request { .. })) => 0,
        Some(Output::Transmit { bytes, .. }) => Message::parse(&bytes).unwrap().status().unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn s4_1_to_4_4_references_and_ports() {
    for (name, host, port) in [
        ("ipv6-good", "2001:db8::10", None),
        // §4.3: the port is missing, and 5070 belongs to the address.
        ("port-ambiguous", "2001:db8::10:5070", None),
        ("port-unambiguous", "2001:db8::10", Some(5070)),
    ] {
        assert_eq!(fate(name), 0, "{name}");
        let it = message(name);
        let uri = it.uri().unwrap();
        assert_eq!((uri.host(), uri.port()), (Host::Ip(ip(host)), port), "{name}");
        assert_eq!(it.top_via().unwrap().host(), Host::Ip(ip("2001:db8::9:1")));
        let contact = it.contacts().next().unwrap().unwrap().address().unwrap();
        assert_eq!(contact.uri().host(), Host::Ip(ip("2001:db8::1")));
    }
    // §4.2: without brackets it is no address.
    assert_eq!(fate("ipv6-bad"), 400);
}

#[test]
fn s4_5_received_with_and_without_brackets() {
    for name in ["via-received-param-with-delim", "via-received-param-no-delim"] {
        let it = message(name);
        assert_eq!(it.top_via().unwrap().received(), Some(ip("2001:db8::9:255")), "{name}");
        assert_eq!(fate(name), 481, "a BYE of no dialog");
    }
}

#[test]
fn s4_6_to_4_9_addresses_of_both_versions() {
    let description = |name: &str| SessionDescription::parse(message(name).body()).unwrap();
    let host = |sdp: &SessionDescription, media| {
        sdp.media_connection(media).unwrap().host.ip().expect("an address")
    };
    let sdp = description("ipv6-in-sdp");
    for media in 0..2 {
        assert_eq!(host(&sdp, media), ip("2001:db8::20"));
    }
    let it = message("mult-ip-in-header");
    let hosts: Vec<_> = it.vias().map(|via| via.unwrap().host().to_string()).collect();
    assert_eq!(hosts.len(), 3);
    assert_eq!(it.vias().nth(2).unwrap().unwrap().received(), Some(ip("192.0.2.200")));
    let sdp = description("mult-ip-in-sdp");
    assert_eq!(host(&sdp, 0), ip("192.0.2.1"));
    assert_eq!(host(&sdp, 1), ip("2001:db8::1"));
    let it = message("ipv4-mapped-ipv6");
    assert_eq!(it.top_via().unwrap().host(), Host::Ip(ip("::ffff:192.0.2.10")));
    assert_eq!(host(&description("ipv4-mapped-ipv6"), 0), ip("::ffff:192.0.2.2"));
    for name in ["ipv6-in-sdp", "mult-ip-in-sdp", "ipv4-mapped-ipv6"] {
        assert_eq!(fate(name), 0, "{name}");
    }
}

#[test]
fn s4_10_three_colons_are_an_error_of_the_old_grammar() {
    // The document lets a receiver accept it; nothing that is not an address is taken for one here.
    assert_eq!(fate("ipv6-bug-abnf-3-colons"), 400);
    assert_eq!(fate("ipv6-correct-abnf-2-colons"), 0);
    let host = ip("2001:db8::192.0.2.1");
    assert_eq!(message("ipv6-correct-abnf-2-colons").uri().unwrap().host(), Host::Ip(host));
}

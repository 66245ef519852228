//! How requests over secure transports and WebSocket name us.

use super::*;

#[test]
fn via_and_contact_name_the_transport_and_alias_is_asked_for_with_a_certificate() {
    for (transport, has_certificate, via, contact) in [
        (Transport::Tls, true, "TLS", "tls"),
        (Transport::Tls, false, "TLS", "tls"),
        (Transport::Ws, true, "WS", "ws"),
        (Transport::Wss, true, "WSS", "ws"),
    ] {
        let config = StackConfig { has_certificate, ..StackConfig::default() };
        let mut stack = Stack::new(config, 1);
        let flow = Flow::new(transport, LOCAL.parse().unwrap(), PEER.parse().unwrap(), 7);
        let request = NewRequest::new(Method::Invite, "sip:peer@192.0.2.9");
        stack.request(at(0), flow, request).unwrap();
        let Some(Output::Transmit { bytes, .. }) = stack.poll_output() else { panic!() };
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains(&format!("\r\nVia: SIP/2.0/{via} 192.0.2.1:5060;")), "{text}");
        let to_us = format!("\r\nContact: <sip:192.0.2.1:5060;transport={contact}>\r\n");
        assert!(text.contains(&to_us), "{text}");
        let asks = has_certificate && transport == Transport::Tls;
        assert_eq!(text.contains(";rport;alias\r\n"), asks, "{text}");
    }
}

#[test]
fn a_response_goes_back_over_the_connection_whatever_the_via_says() {
    let mut stack = Stack::new(StackConfig::default(), 1);
    let flow = Flow::new(Transport::Wss, LOCAL.parse().unwrap(), PEER.parse().unwrap(), 7);
    let request = Peer { via: "WSS df7jal23ls0d.invalid", ..Peer::new("OPTIONS", "z9hG4bKb", 1) };
    stack.handle_input(at(0), flow, &request.bytes());
    let Some(Output::Event(Event::Request { tx, .. })) = stack.poll_output() else { panic!() };
    stack.respond(at(0), tx, Reply::new(200)).unwrap();
    let Some(Output::Transmit { flow: back, bytes }) = stack.poll_output() else { panic!() };
    assert_eq!(back, flow);
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("Via: SIP/2.0/WSS df7jal23ls0d.invalid;"), "{text}");
}

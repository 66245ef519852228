//! Requests that are too large for a datagram.

use super::*;

fn stack() -> Stack {
    let tcp = vec!["[2001:db8::1]:5060".parse().unwrap(), "192.0.2.1:5062".parse().unwrap()];
    Stack::new(StackConfig { tcp, ..StackConfig::default() }, 1)
}

fn large(uri: &str) -> NewRequest {
    NewRequest::new(Method::Invite, uri).body("application/sdp", vec![b'x'; 1_300])
}

fn sent(stack: &mut Stack) -> (Flow, String) {
    loop {
        match stack.poll_output() {
            Some(Output::Transmit { flow, bytes }) => {
                return (flow, String::from_utf8_lossy(&bytes).into_owned());
            }
            Some(Output::Event(_)) => {}
            None => panic!("nothing is sent"),
        }
    }
}

fn answer(stack: &mut Stack, flow: Flow, request: &str, status: u16) {
    let request = Message::parse(request.as_bytes()).unwrap();
    let answer = crate::build::MessageBuilder::response_to(&request, status, "")
        .to_tag("peer")
        .header("Contact", "<sip:peer@192.0.2.9:5070>")
        .finish()
        .unwrap();
    stack.handle_input(at(10), flow, answer.bytes());
}

#[test]
fn a_large_request_goes_over_tcp_and_its_dialog_stays_on_udp() {
    let mut stack = stack();
    stack.request(at(0), udp(), large("sip:peer@192.0.2.9:5070")).unwrap();
    let (flow, text) = sent(&mut stack);
    let over_tcp = Flow::tcp("192.0.2.1:5062".parse().unwrap(), PEER.parse().unwrap(), 0);
    assert_eq!(flow, over_tcp);
    assert!(text.contains("\r\nVia: SIP/2.0/TCP 192.0.2.1:5062;branch=z9hG4bK"), "{text}");
    assert!(text.contains("\r\nContact: <sip:192.0.2.1:5060>"), "{text}");
    // No retransmission over a stream.
    stack.handle_timeout(at(600));
    assert!(stack.poll_output().is_none());
    answer(&mut stack, Flow { connection: 7, ..over_tcp }, &text, 200);
    let Some(Output::Event(Event::Response { dialog: Some(dialog), .. })) = stack.poll_output()
    else {
        panic!("no dialog")
    };
    stack.ack(at(20), dialog, Fields::new()).unwrap();
    assert_eq!(sent(&mut stack).0, udp());
    stack.request_in_dialog(at(30), dialog, Method::Bye, Fields::new()).unwrap();
    assert_eq!(sent(&mut stack).0, udp());
}

#[test]
fn who_takes_no_tcp_is_asked_over_udp_at_once_for_a_while() {
    let mut stack = stack();
    stack.request(at(0), udp(), large("sip:peer@192.0.2.9:5070")).unwrap();
    let (flow, _) = sent(&mut stack);
    stack.handle_transport_error(at(5), Flow { connection: 3, ..flow });
    let (flow, text) = sent(&mut stack);
    assert_eq!(flow, udp());
    assert!(text.contains("\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK"), "{text}");
    assert!(stack.poll_output().is_none());
    stack.handle_timeout(at(505));
    assert_eq!(sent(&mut stack), (flow, text));
    stack.request(at(600), udp(), large("sip:peer@192.0.2.9:5070")).unwrap();
    assert_eq!(sent(&mut stack).0, udp());
    stack.request(at(601_000), udp(), large("sip:peer@192.0.2.9:5070")).unwrap();
    assert_eq!(sent(&mut stack).0.transport, Transport::Tcp);
}

#[test]
fn a_failure_after_a_response_is_a_failure() {
    let mut stack = stack();
    stack.request(at(0), udp(), large("sip:peer@192.0.2.9:5070")).unwrap();
    let (flow, text) = sent(&mut stack);
    answer(&mut stack, flow, &text, 180);
    stack.handle_transport_error(at(20), flow);
    assert!(stack.clients.iter().all(|(_, client)| client.flow.transport == Transport::Tcp));
}

#[test]
fn what_only_the_flow_leads_to_stays_on_it() {
    for uri in ["sip:peer@10.0.0.7:5070", "sip:peer@192.0.2.9:5070;ob"] {
        let mut stack = stack();
        stack.request(at(0), udp(), large(uri)).unwrap();
        assert_eq!(sent(&mut stack).0, udp(), "{uri}");
    }
    let mut without = Stack::new(StackConfig::default(), 1);
    without.request(at(0), udp(), large("sip:peer@192.0.2.9:5070")).unwrap();
    assert_eq!(sent(&mut without).0, udp());
    let mut small = stack();
    small.request(at(0), udp(), NewRequest::new(Method::Invite, "sip:a@192.0.2.9")).unwrap();
    assert_eq!(sent(&mut small).0, udp());
}

//! The stack against messages as a peer writes them.

mod large;
mod reliable;
mod secure;

use super::*;
use crate::header::Header;

const LOCAL: &str = "192.0.2.1:5060";
const PEER: &str = "192.0.2.9:5070";

pub(super) fn udp() -> Flow {
    Flow::udp(LOCAL.parse().unwrap(), PEER.parse().unwrap())
}

pub(super) fn tcp(connection: u64) -> Flow {
    Flow::tcp(LOCAL.parse().unwrap(), PEER.parse().unwrap(), connection)
}

pub(super) fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// A request of the peer. Without `to_tag` it is outside of a dialog.
#[derive(Clone)]
pub(super) struct Peer {
    branch: &'static str,
    method: &'static str,
    cseq: u32,
    to_tag: String,
    pub(super) via: &'static str,
    rows: &'static str,
    body: &'static str,
}

impl Peer {
    pub(super) fn new(method: &'static str, branch: &'static str, cseq: u32) -> Self {
        let (via, rows) = ("UDP 192.0.2.9:5070;rport", "Contact: <sip:peer@192.0.2.9:5070>\r\n");
        Self { branch, method, cseq, to_tag: String::new(), via, rows, body: "" }
    }

    pub(super) fn in_dialog(mut self, stack: &Stack, dialog: DialogId) -> Self {
        self.to_tag = format!(";tag={}", stack.dialog(dialog).unwrap().local_tag());
        self
    }

    pub(super) fn with_body(mut self) -> Self {
        self.body = "v=0\r\n";
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let Self { branch, method, cseq, to_tag, via, rows, body } = self;
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:us@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/{via};branch={branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:peer@example.com>;tag=peer\r\n\
             To: <sip:us@example.com>{to_tag}\r\nCall-ID: call\r\nCSeq: {cseq} {method}\r\n{rows}{kind}\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

fn stack() -> Stack {
    Stack::new(StackConfig::default(), 1)
}

/// What the stack sent and told since the last time.
pub(super) fn drain(stack: &mut Stack) -> (Vec<(Flow, Message)>, Vec<Event>) {
    let (mut sent, mut told) = (Vec::new(), Vec::new());
    while let Some(output) = stack.poll_output() {
        match output {
            Output::Transmit { flow, bytes } => sent.push((flow, Message::parse(&bytes).unwrap())),
            Output::Event(event) => told.push(event),
        }
    }
    (sent, told)
}

pub(super) fn sent(stack: &mut Stack) -> Vec<Message> {
    drain(stack).0.into_iter().map(|(_, message)| message).collect()
}

pub(super) fn statuses(stack: &mut Stack) -> Vec<u16> {
    sent(stack).iter().filter_map(Message::status).collect()
}

/// Gives a request to the stack and returns the transaction that it asks to answer.
pub(super) fn receive(stack: &mut Stack, now: Instant, peer: &Peer) -> ServerTx {
    stack.handle_input(now, udp(), &peer.bytes());
    match &drain(stack).1[..] {
        [Event::Request { tx, .. }] => *tx,
        other => panic!("no request: {other:?}"),
    }
}

/// As [`receive`], in a dialog.
fn receive_in(stack: &mut Stack, dialog: DialogId, peer: Peer) -> ServerTx {
    let peer = peer.in_dialog(stack, dialog);
    receive(stack, at(0), &peer)
}

/// A call that the peer made and that is up.
pub(super) fn callee(stack: &mut Stack) -> DialogId {
    let tx = receive(stack, at(0), &Peer::new("INVITE", "z9hG4bK1", 1).with_body());
    let dialog = stack.respond(at(0), tx, Reply::new(200)).unwrap().unwrap();
    let ack = Peer::new("ACK", "z9hG4bKack", 1).in_dialog(stack, dialog);
    stack.handle_input(at(0), udp(), &ack.bytes());
    assert!(matches!(drain(stack).1[..], [Event::Ack { .. }]));
    dialog
}

/// The answer of a peer to one of our requests.
pub(super) fn answer(request: &Message, status: u16, tag: &str) -> Vec<u8> {
    let mut builder = crate::build::MessageBuilder::response_to(request, status, "");
    if request.to_tag().is_none() {
        builder = builder.to_tag(tag);
    }
    let contact = "<sip:peer@192.0.2.9:5070>";
    builder.header(Header::Contact, contact).finish().unwrap().bytes().to_vec()
}

pub(super) fn invite(stack: &mut Stack, flow: Flow) -> (ClientTx, Message) {
    let tx =
        stack.request(at(0), flow, NewRequest::new(Method::Invite, "sip:peer@192.0.2.9")).unwrap();
    (tx, sent(stack).remove(0))
}

/// A call that we made and that is up.
pub(super) fn caller(stack: &mut Stack) -> DialogId {
    let (_, request) = invite(stack, udp());
    stack.handle_input(at(0), udp(), &answer(&request, 200, "peer"));
    let Event::Response { dialog: Some(dialog), .. } = drain(stack).1.remove(0) else { panic!() };
    stack.ack(at(0), dialog, Fields::new()).unwrap();
    assert_eq!(sent(stack)[0].method(), Method::Ack);
    dialog
}

/// When the stack sends by itself, in ms, until `until`.
fn retransmissions(stack: &mut Stack, until: u64) -> Vec<u64> {
    let mut times = Vec::new();
    while let Some(next) = stack.next_timeout().filter(|next| *next <= at(until)) {
        stack.handle_timeout(next);
        times.extend(sent_only(stack).iter().map(|_| next.as_millis()));
    }
    times
}

fn sent_only(stack: &mut Stack) -> Vec<(Flow, Message)> {
    drain(stack).0
}

#[test]
fn timers_a_e_and_g_space_the_retransmissions() {
    let mut it = stack();
    invite(&mut it, udp());
    assert_eq!(retransmissions(&mut it, 40_000), [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert!(it.is_idle());

    let request = NewRequest::new(Method::Options, "sip:peer@192.0.2.9");
    it.request(at(0), udp(), request).unwrap();
    drain(&mut it);
    let expected = [500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(retransmissions(&mut it, 40_000), expected);
    assert!(it.is_idle());

    let tx = receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    it.respond(at(0), tx, Reply::new(486)).unwrap();
    drain(&mut it);
    assert_eq!(retransmissions(&mut it, 40_000), expected);
    assert!(it.is_idle());
}

#[test]
fn a_2xx_is_repeated_over_tcp_too_until_its_ack_comes() {
    let mut it = stack();
    let mut peer = Peer::new("INVITE", "z9hG4bK1", 1);
    peer.via = "TCP 192.0.2.9:5070";
    it.handle_input(at(0), tcp(3), &peer.bytes());
    let Event::Request { tx, .. } = drain(&mut it).1.remove(0) else { panic!() };
    let dialog = it.respond(at(0), tx, Reply::new(200)).unwrap().unwrap();
    let (flow, response) = sent_only(&mut it).remove(0);
    assert_eq!((flow, response.status()), (tcp(3), Some(200)));
    assert_eq!(retransmissions(&mut it, 4_000), [500, 1_500, 3_500]);
    let ack = Peer::new("ACK", "z9hG4bK2", 1).in_dialog(&it, dialog);
    it.handle_input(at(4_000), tcp(3), &ack.bytes());
    assert!(matches!(drain(&mut it).1[..], [Event::Ack { .. }]));
    assert_eq!(retransmissions(&mut it, 100_000), []);
}

#[test]
fn trying_goes_out_after_200_ms_unless_there_is_an_answer() {
    let mut it = stack();
    receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    it.handle_timeout(at(199));
    assert!(statuses(&mut it).is_empty());
    it.handle_timeout(at(200));
    let trying = sent(&mut it).remove(0);
    assert_eq!((trying.status(), trying.to_tag()), (Some(100), None));
    // A repeated INVITE gets it again and is not told twice.
    it.handle_input(at(500), udp(), &Peer::new("INVITE", "z9hG4bK1", 1).bytes());
    let (sent, told) = drain(&mut it);
    assert_eq!((sent[0].1.status(), told.len()), (Some(100), 0));
    assert_eq!(it.counters().retransmissions_in, 1);
    assert_eq!(retransmissions(&mut it, 300_000), [], "100 is not repeated each minute");
}

#[test]
fn ringing_is_repeated_each_minute() {
    let mut it = stack();
    let tx = receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    it.respond(at(0), tx, Reply::new(180)).unwrap();
    drain(&mut it);
    assert_eq!(retransmissions(&mut it, 150_000), [60_000, 120_000]);
}

#[test]
fn requests_of_rfc_2543_are_matched_without_a_branch() {
    let mut it = stack();
    let mut peer = Peer::new("INVITE", "1", 1);
    let tx = receive(&mut it, at(0), &peer);
    it.handle_input(at(10), udp(), &peer.bytes());
    assert_eq!(it.counters().retransmissions_in, 1);
    it.respond(at(20), tx, Reply::new(486)).unwrap();
    let response = sent(&mut it).pop().unwrap();
    peer.method = "ACK";
    peer.to_tag = ";tag=other".to_owned();
    it.handle_input(at(30), udp(), &peer.bytes());
    assert_eq!(it.counters().stray_acks, 1, "the tag is not ours");
    peer.to_tag = format!(";tag={}", response.to_tag().unwrap());
    it.handle_input(at(30), udp(), &peer.bytes());
    assert_eq!(retransmissions(&mut it, 40_000), []);
    assert!(it.is_idle());
}

#[test]
fn sent_by_tells_equal_branches_apart() {
    let mut it = stack();
    let peer = Peer::new("OPTIONS", "z9hG4bK1", 1);
    receive(&mut it, at(0), &peer);
    let mut other = peer.clone();
    other.via = "UDP 192.0.2.9:5071";
    other.cseq = 2;
    receive(&mut it, at(0), &other);
    assert_eq!(it.counters().server_transactions, 2);
}

#[test]
fn a_request_that_came_by_two_ways_is_answered_482() {
    let mut it = stack();
    receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    it.handle_input(at(0), udp(), &Peer::new("INVITE", "z9hG4bK2", 1).bytes());
    assert_eq!(statuses(&mut it), [482]);
    assert_eq!(it.counters().merged, 1);
}

#[test]
fn credentials_with_the_same_cseq_are_let_in() {
    let mut it = stack();
    let tx = receive(&mut it, at(0), &Peer::new("REGISTER", "z9hG4bK1", 1));
    it.respond(at(0), tx, Reply::new(401)).unwrap();
    drain(&mut it);
    receive(&mut it, at(0), &Peer::new("REGISTER", "z9hG4bK2", 1));
}

#[test]
fn what_belongs_to_no_dialog_gets_481_and_an_ack_nothing() {
    let mut it = stack();
    let mut peer = Peer::new("BYE", "z9hG4bK1", 1);
    peer.to_tag = ";tag=gone".to_owned();
    it.handle_input(at(0), udp(), &peer.bytes());
    assert_eq!(statuses(&mut it), [481]);
    it.handle_input(at(0), udp(), &Peer { method: "ACK", ..peer }.bytes());
    it.handle_input(at(0), udp(), &Peer::new("CANCEL", "z9hG4bK2", 1).bytes());
    assert_eq!(statuses(&mut it), [481], "for the CANCEL");
    assert_eq!(it.counters().stray_acks, 1);
}

#[test]
fn of_a_refusal_nothing_is_kept_and_its_ack_is_known() {
    let mut it = stack();
    let mut peer = Peer::new("INVITE", "z9hG4bK1", 1);
    let mut tags = Vec::new();
    for _ in 0..2 {
        // The second one is a repetition, which nobody remembers.
        let tx = receive(&mut it, at(0), &peer);
        it.refuse(tx, &Reply::new(407)).unwrap();
        assert!(it.is_idle());
        let response = sent(&mut it).pop().unwrap();
        tags.push(response.to_tag().unwrap().to_owned());
        assert_eq!(it.refuse(tx, &Reply::new(407)), Err(StackError::NoTransaction));
    }
    assert_eq!(tags[0], tags[1]);
    peer.method = "ACK";
    peer.to_tag = format!(";tag={}", tags[0]);
    it.handle_input(at(1), udp(), &peer.bytes());
    assert_eq!((it.counters().stateless_acks, it.counters().stray_acks), (1, 0));
    peer.branch = "z9hG4bK2";
    it.handle_input(at(1), udp(), &peer.bytes());
    assert_eq!(it.counters().stray_acks, 1, "the tag belongs to another branch");

    let tx = receive(&mut it, at(2), &Peer::new("INVITE", "z9hG4bK3", 2));
    assert_eq!(it.refuse(tx, &Reply::new(200)), Err(StackError::BadStatus(200)));
    let tx = receive(&mut it, at(2), &Peer::new("OPTIONS", "z9hG4bK4", 3));
    it.refuse(tx, &Reply::new(200)).unwrap();
    assert_eq!(it.counters().server_transactions, 1);
}

#[test]
fn a_request_out_of_order_gets_500() {
    let mut it = stack();
    let dialog = callee(&mut it);
    let info = |branch, cseq| Peer::new("INFO", branch, cseq);
    receive_in(&mut it, dialog, info("z9hG4bK5", 5));
    it.handle_input(at(0), udp(), &info("z9hG4bK4", 4).in_dialog(&it, dialog).bytes());
    assert_eq!(statuses(&mut it), [500]);
    assert_eq!(it.dialog(dialog).unwrap().remote_cseq(), Some(5));
    receive_in(&mut it, dialog, info("z9hG4bK9", 9));
}

#[test]
fn a_second_invite_is_told_to_wait() {
    let mut it = stack();
    let dialog = callee(&mut it);
    receive_in(&mut it, dialog, Peer::new("INVITE", "z9hG4bK2", 2));
    it.handle_input(
        at(0),
        udp(),
        &Peer::new("INVITE", "z9hG4bK3", 3).in_dialog(&it, dialog).bytes(),
    );
    let response = sent(&mut it).remove(0);
    assert_eq!(response.status(), Some(500));
    assert!(response.retry_after().unwrap().seconds <= 10);
}

#[test]
fn crossing_invites_get_491_and_wait_by_role() {
    let mut it = stack();
    let dialog = callee(&mut it);
    it.request_in_dialog(at(0), dialog, Method::Invite, Fields::new()).unwrap();
    drain(&mut it);
    it.handle_input(
        at(0),
        udp(),
        &Peer::new("INVITE", "z9hG4bK2", 2).in_dialog(&it, dialog).bytes(),
    );
    assert_eq!(statuses(&mut it), [491]);
    let again = it.request_in_dialog(at(0), dialog, Method::Invite, Fields::new());
    assert_eq!(again, Err(StackError::InviteInProgress));
    let owner = caller(&mut it);
    for _ in 0..100 {
        let (theirs, ours) = (it.glare_delay(dialog), it.glare_delay(owner));
        assert!(theirs <= Duration::from_secs(2));
        assert!((Duration::from_millis(2_100)..=Duration::from_secs(4)).contains(&ours));
    }
}

#[test]
fn an_invite_before_the_ack_that_brings_the_answer_gets_491() {
    let mut it = stack();
    let tx = receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    let dialog = it.respond(at(0), tx, Reply::new(200).body("application/sdp", "v=0")).unwrap();
    drain(&mut it);
    let second = Peer::new("INVITE", "z9hG4bK2", 2).in_dialog(&it, dialog.unwrap());
    it.handle_input(at(0), udp(), &second.bytes());
    assert_eq!(statuses(&mut it), [491]);
}

#[test]
fn a_bye_in_an_early_dialog_ends_the_invite_with_487() {
    let mut it = stack();
    let invite = receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    let dialog = it.respond(at(0), invite, Reply::new(180)).unwrap().unwrap();
    drain(&mut it);
    let bye = receive_in(&mut it, dialog, Peer::new("BYE", "z9hG4bK2", 2));
    it.respond(at(0), bye, Reply::new(200)).unwrap();
    let (sent, told) = drain(&mut it);
    let statuses: Vec<_> = sent.iter().map(|(_, it)| (it.method(), it.status())).collect();
    assert_eq!(statuses, [(Method::Bye, Some(200)), (Method::Invite, Some(487))]);
    assert!(matches!(told[..], [Event::DialogEnded { cause: DialogEnd::ByeReceived, .. }]));
    assert_eq!(it.respond(at(0), invite, Reply::new(200)), Err(StackError::AlreadyFinal));
}

#[test]
fn responses_go_where_via_and_rport_say() {
    let mut it = stack();
    let mut peer = Peer::new("OPTIONS", "z9hG4bK1", 1);
    peer.via = "UDP 10.0.0.7:5099";
    let tx = receive(&mut it, at(0), &peer);
    it.respond(at(0), tx, Reply::new(200)).unwrap();
    let (flow, response) = sent_only(&mut it).remove(0);
    assert_eq!(flow.remote, "192.0.2.9:5099".parse().unwrap());
    assert_eq!(response.top_via().unwrap().received(), Some("192.0.2.9".parse().unwrap()));
}

#[test]
fn the_ack_of_a_failure_and_the_cancel_repeat_the_invite() {
    let mut it = stack();
    let request = NewRequest::new(Method::Invite, "sip:peer@192.0.2.9").route("<sip:proxy;lr>");
    let tx = it.request(at(0), udp(), request).unwrap();
    let invite = sent(&mut it).remove(0);
    it.cancel(at(0), tx, Fields::new()).unwrap();
    assert!(sent(&mut it).is_empty(), "it waits for a provisional response");
    it.handle_input(at(0), udp(), &answer(&invite, 100, "peer"));
    let cancel = sent(&mut it).remove(0);
    it.handle_input(at(0), udp(), &answer(&cancel, 200, "peer"));
    it.handle_input(at(0), udp(), &answer(&invite, 487, "peer"));
    let (sent, told) = drain(&mut it);
    let ack = &sent[0].1;
    for (made, method) in [(&cancel, Method::Cancel), (ack, Method::Ack)] {
        assert_eq!(made.method(), method);
        assert_eq!(made.request_uri(), invite.request_uri());
        for header in [Header::Via, Header::From, Header::CallId, Header::Route] {
            assert_eq!(made.value(header), invite.value(header));
        }
        assert_eq!(made.cseq().unwrap().number, invite.cseq().unwrap().number);
    }
    assert_eq!((cancel.to_tag(), ack.to_tag()), (None, Some("peer")));
    assert!(matches!(told[..], [Event::Response { .. }]));
    retransmissions(&mut it, 100_000);
    assert!(it.is_idle());
}

#[test]
fn a_cancel_without_any_final_response_gives_up_after_64_t1() {
    let mut it = stack();
    let (tx, request) = invite(&mut it, udp());
    it.handle_input(at(0), udp(), &answer(&request, 180, "peer"));
    it.cancel(at(1_000), tx, Fields::new()).unwrap();
    drain(&mut it);
    let mut told = Vec::new();
    while let Some(next) = it.next_timeout() {
        it.handle_timeout(next);
        told.extend(drain(&mut it).1.into_iter().map(|event| (next.as_millis(), event)));
    }
    assert!(matches!(
        told[..],
        [
            (33_000, Event::TimedOut { .. }),
            (33_000, Event::DialogEnded { cause: DialogEnd::InviteFailed, .. })
        ]
    ));
    assert!(it.is_idle());
}

#[test]
fn a_repeated_2xx_gets_the_same_ack_also_when_its_transaction_is_over() {
    let mut it = stack();
    let (_, request) = invite(&mut it, udp());
    let ok = answer(&request, 200, "peer");
    it.handle_input(at(0), udp(), &ok);
    let Event::Response { dialog: Some(dialog), .. } = drain(&mut it).1.remove(0) else { panic!() };
    it.handle_input(at(0), udp(), &ok);
    assert_eq!(drain(&mut it).0.len(), 0, "there is no ACK to repeat yet");
    it.ack(at(0), dialog, Fields::new().body("application/sdp", "v=0")).unwrap();
    let first = sent(&mut it).remove(0);
    for ms in [100, 50_000] {
        it.handle_timeout(at(ms));
        it.handle_input(at(ms), udp(), &ok);
        let (sent, told) = drain(&mut it);
        assert_eq!((sent[0].1.bytes(), told.len()), (first.bytes(), 0));
    }
    assert_eq!(it.counters().client_transactions, 0);
}

#[test]
fn a_strict_router_becomes_the_request_uri() {
    let mut it = stack();
    let (_, request) = invite(&mut it, udp());
    let mut response = String::from_utf8(answer(&request, 200, "peer")).unwrap();
    let routes = "Record-Route: <sip:last.example.com>, <sip:first.example.com>\r\nContent-Length";
    response = response.replace("Content-Length", routes);
    it.handle_input(at(0), udp(), response.as_bytes());
    let Event::Response { dialog: Some(dialog), .. } = drain(&mut it).1.remove(0) else { panic!() };
    it.ack(at(0), dialog, Fields::new()).unwrap();
    let ack = sent(&mut it).remove(0);
    assert_eq!(ack.request_uri(), Some("sip:first.example.com"));
    let route: Vec<_> = ack.values(Header::Route).collect();
    assert_eq!(route, [&b"<sip:last.example.com>"[..], b"<sip:peer@192.0.2.9:5070>"]);
    assert_eq!(it.dialog(dialog).unwrap().next_hop(), "sip:first.example.com");
}

#[test]
fn a_481_ends_the_dialog_and_a_challenged_bye_does_not() {
    let mut it = stack();
    let dialog = caller(&mut it);
    it.request_in_dialog(at(0), dialog, Method::Bye, Fields::new()).unwrap();
    let bye = sent(&mut it).remove(0);
    it.handle_input(at(0), udp(), &answer(&bye, 407, "peer"));
    assert_eq!(drain(&mut it).1.len(), 1);
    it.request_in_dialog(at(0), dialog, Method::Info, Fields::new()).unwrap();
    let info = sent(&mut it).remove(0);
    it.handle_input(at(0), udp(), &answer(&info, 481, "peer"));
    let told = drain(&mut it).1;
    assert!(matches!(
        told[..],
        [Event::Response { .. }, Event::DialogEnded { cause: DialogEnd::Unknown, .. }]
    ));
    assert!(it.dialog(dialog).is_none());
}

#[test]
fn a_transport_error_fails_what_waits_on_that_flow_only() {
    let mut it = stack();
    let elsewhere = Flow::udp(LOCAL.parse().unwrap(), "192.0.2.77:5060".parse().unwrap());
    let (lost, _) = invite(&mut it, udp());
    invite(&mut it, elsewhere);
    it.handle_transport_error(at(0), udp());
    let told = drain(&mut it).1;
    assert!(matches!(told[..], [Event::TransportFailed { tx }] if tx == lost));
    assert_eq!(it.counters().client_transactions, 1);
    // A connection that was opened for the request has got a number meanwhile.
    let (lost, _) = invite(&mut it, tcp(0));
    it.handle_transport_error(at(0), tcp(8));
    assert!(matches!(drain(&mut it).1[..], [Event::TransportFailed { tx }] if tx == lost));
}

#[test]
fn a_response_takes_a_new_connection_when_its_own_is_gone() {
    let mut it = stack();
    let mut peer = Peer::new("INVITE", "z9hG4bK1", 1);
    peer.via = "TCP 192.0.2.9:5080";
    it.handle_input(at(0), tcp(3), &peer.bytes());
    let Event::Request { tx, .. } = drain(&mut it).1.remove(0) else { panic!() };
    it.respond(at(0), tx, Reply::new(486)).unwrap();
    drain(&mut it);
    it.handle_transport_error(at(0), tcp(3));
    let (flow, response) = sent_only(&mut it).remove(0);
    assert_eq!((flow.remote.to_string(), flow.connection), ("192.0.2.9:5080".to_owned(), 0));
    assert_eq!(response.status(), Some(486));
    it.handle_transport_error(at(0), flow);
    it.handle_transport_error(at(0), flow);
    let told = drain(&mut it).1;
    assert!(matches!(told[..], [Event::ResponseFailed { cause: ResponseFailure::Transport, .. }]));
}

#[test]
fn full_tables_are_answered_503_and_say_so() {
    let limits = Limits {
        max_server_transactions: 1,
        max_client_transactions: 1,
        max_dialogs: 1,
        ..Limits::default()
    };
    let mut it = Stack::new(StackConfig { limits, ..StackConfig::default() }, 1);
    let tx = receive(&mut it, at(0), &Peer::new("INVITE", "z9hG4bK1", 1));
    it.handle_input(at(0), udp(), &Peer::new("OPTIONS", "z9hG4bK2", 7).bytes());
    let refused = sent(&mut it).remove(0);
    assert_eq!(refused.status(), Some(503));
    assert!(refused.retry_after().is_some());
    let warning = refused.value_named("Warning").unwrap();
    assert_eq!(warning, b"399 tandem \"limit max_server_transactions (1) reached\"");
    assert_eq!(it.counters().refused_full, 1);
    it.respond(at(0), tx, Reply::new(200)).unwrap();
    let error = it.request(at(0), udp(), NewRequest::new(Method::Invite, "sip:a@b")).unwrap_err();
    assert_eq!((error, error.status()), (StackError::LimitReached("max_dialogs"), 503));
    let options = || NewRequest::new(Method::Options, "sip:a@b");
    it.request(at(0), udp(), options()).unwrap();
    let error = it.request(at(0), udp(), options()).unwrap_err();
    assert_eq!(error, StackError::LimitReached("max_client_transactions"));
}

#[test]
fn malformed_input_is_answered_or_not_and_counted() {
    let mut it = stack();
    for bytes in [&b"\r\n\r\n"[..], b"nonsense", b"SIP/2.0 200 OK\r\n\r\n"] {
        it.handle_input(at(0), udp(), bytes);
    }
    assert!(sent(&mut it).is_empty());
    let text = String::from_utf8(Peer::new("OPTIONS", "z9hG4bK1", 1).bytes()).unwrap();
    it.handle_input(at(0), udp(), text.replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE").as_bytes());
    it.handle_input(at(0), udp(), text.replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia").as_bytes());
    assert_eq!(statuses(&mut it), [400, 505]);
    let counters = it.counters();
    assert_eq!((counters.keepalives_in, counters.malformed.total()), (1, 4));
    assert!(counters.malformed.iter().any(|it| it == ("cseq_method", 1)));
    assert!(it.is_idle(), "nothing is kept of them");
}

#[test]
fn a_stray_response_is_dropped() {
    let mut it = stack();
    let (_, request) = invite(&mut it, udp());
    let text = String::from_utf8(answer(&request, 200, "peer")).unwrap();
    let branch = request.top_via().unwrap().branch().unwrap().to_owned();
    let forged = branch.replace(&branch[branch.len() - 4..], "0000");
    it.handle_input(at(0), udp(), text.replace(&branch, &forged).as_bytes());
    it.handle_input(at(0), udp(), text.replace(LOCAL, "192.0.2.1:5099").as_bytes());
    assert_eq!((drain(&mut it).1.len(), it.counters().stray_responses), (0, 2));
}

#[test]
fn loops_are_noticed() {
    let mut it = stack();
    let (_, request) = invite(&mut it, udp());
    assert!(it.has_looped(&udp(), &request), "its Via and its Call-ID are ours");
    let fresh = Message::parse(&Peer::new("INVITE", "z9hG4bK1", 1).bytes()).unwrap();
    assert!(!it.has_looped(&udp(), &fresh));
}

#[test]
fn an_advertised_name_stands_in_via_and_contact() {
    let advertised = Advertised {
        transport: Transport::Udp,
        local: LOCAL.parse().unwrap(),
        host: "sip.example.com".to_owned(),
        port: 5061,
    };
    let config = StackConfig { shard: 5, advertised: vec![advertised], ..StackConfig::default() };
    let mut it = Stack::new(config, 1);
    let (_, request) = invite(&mut it, udp());
    assert_eq!(request.top_via().unwrap().sent_by(), "sip.example.com:5061");
    assert_eq!(request.value(Header::Contact), Some(&b"<sip:sip.example.com:5061>"[..]));
    assert_eq!(shard_of(request.call_id().unwrap()), Some(5));
    assert_eq!(shard_of(request.from_tag().unwrap()), Some(5));
    it.handle_input(at(0), udp(), &answer(&request, 486, "peer"));
    assert!(matches!(drain(&mut it).1[..], [Event::Response { .. }]));
}

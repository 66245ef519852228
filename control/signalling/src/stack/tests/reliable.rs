//! Reliable provisional responses (RFC 3262), as they come and as they go.

use super::*;

/// An INVITE of the peer, and its early dialog after a reliable 183.
fn early(stack: &mut Stack, reply: Reply) -> (ServerTx, DialogId, u32) {
    let invite = Peer::new("INVITE", "z9hG4bK1", 1).with_body();
    let tx = receive(stack, at(0), &invite);
    let dialog = stack.respond(at(0), tx, reply.reliable(true)).unwrap().unwrap();
    let response = sent(stack).remove(0);
    assert!(response.lists(Header::Require, "100rel"));
    (tx, dialog, response.number(Header::RSeq).unwrap())
}

fn session(status: u16) -> Reply {
    Reply::new(status).body("application/sdp", "v=0\r\n")
}

/// A PRACK of the peer.
fn prack(stack: &Stack, dialog: DialogId, cseq: u32, rack: &str) -> Vec<u8> {
    let branch: &'static str = Box::leak(format!("z9hG4bKprack{cseq}").into_boxed_str());
    let rows: &'static str = Box::leak(format!("RAck: {rack}\r\n").into_boxed_str());
    let peer = Peer { rows, ..Peer::new("PRACK", branch, cseq) };
    peer.in_dialog(stack, dialog).bytes()
}

/// Gives a PRACK to the stack, which passes it on.
fn acknowledge(stack: &mut Stack, dialog: DialogId, cseq: u32, rseq: u32) -> ServerTx {
    let bytes = prack(stack, dialog, cseq, &format!("{rseq} 1 INVITE"));
    stack.handle_input(at(0), udp(), &bytes);
    match &drain(stack).1[..] {
        [Event::Request { tx, .. }] => *tx,
        other => panic!("no PRACK: {other:?}"),
    }
}

#[test]
fn a_reliable_response_is_repeated_until_its_prack() {
    let mut stack = stack();
    let (_, dialog, rseq) = early(&mut stack, Reply::new(180));
    assert_eq!(retransmissions(&mut stack, 4_000), [500, 1_500, 3_500]);
    let tx = acknowledge(&mut stack, dialog, 2, rseq);
    stack.respond(at(4_000), tx, Reply::new(200)).unwrap();
    assert_eq!(statuses(&mut stack), [200]);
    assert!(retransmissions(&mut stack, 30_000).is_empty());
}

#[test]
fn without_a_prack_the_transaction_user_is_told() {
    let mut stack = stack();
    let (tx, _, _) = early(&mut stack, session(183));
    stack.respond(at(0), tx, session(200)).unwrap();
    let mut times = Vec::new();
    let mut told = Vec::new();
    while let Some(next) = stack.next_timeout().filter(|next| *next <= at(32_000)) {
        stack.handle_timeout(next);
        let (sent, events) = drain(&mut stack);
        times.extend(sent.iter().map(|_| next.as_millis()));
        told.extend(events);
    }
    // The interval is not capped at T2.
    assert_eq!(times, [500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert!(matches!(told[..], [Event::PrackTimeout { tx: told }] if told == tx));
    stack.respond(at(32_000), tx, Reply::new(504)).unwrap();
    assert_eq!(statuses(&mut stack), [504]);
}

#[test]
fn one_at_a_time_and_in_order() {
    let mut stack = stack();
    let (tx, dialog, rseq) = early(&mut stack, Reply::new(180));
    stack.respond(at(0), tx, session(183).reliable(true)).unwrap();
    assert!(statuses(&mut stack).is_empty());
    let prack = acknowledge(&mut stack, dialog, 2, rseq);
    stack.respond(at(0), prack, Reply::new(200)).unwrap();
    let out = sent(&mut stack);
    assert_eq!(out.iter().filter_map(Message::status).collect::<Vec<_>>(), [200, 183]);
    assert_eq!(out[1].number(Header::RSeq), Some(rseq + 1));
    stack.respond(at(0), tx, session(200)).unwrap();
    assert!(statuses(&mut stack).is_empty());
    assert_eq!(stack.dialog(dialog).unwrap().state(), DialogState::Early);
    let prack = acknowledge(&mut stack, dialog, 3, rseq + 1);
    stack.respond(at(0), prack, Reply::new(200)).unwrap();
    let out = sent(&mut stack);
    assert_eq!((out[0].method(), out[1].method()), (Method::Prack, Method::Invite));
    assert_eq!(stack.dialog(dialog).unwrap().state(), DialogState::Confirmed);
    assert_eq!(stack.respond(at(0), tx, Reply::new(486)), Err(StackError::AlreadyFinal));
}

#[test]
fn a_2xx_overtakes_only_what_has_no_session_description() {
    let mut stack = stack();
    let (tx, dialog, rseq) = early(&mut stack, Reply::new(180));
    stack.respond(at(0), tx, session(200)).unwrap();
    assert_eq!(statuses(&mut stack), [200]);
    // The PRACK that was on its way is still taken, once.
    let prack = acknowledge(&mut stack, dialog, 2, rseq);
    stack.respond(at(0), prack, Reply::new(200)).unwrap();
    assert_eq!(statuses(&mut stack), [200]);
}

#[test]
fn a_failure_overtakes_all() {
    let mut stack = stack();
    let (tx, _, _) = early(&mut stack, session(183));
    stack.respond(at(0), tx, session(200)).unwrap();
    stack.respond(at(0), tx, Reply::new(486)).unwrap();
    assert_eq!(statuses(&mut stack), [486]);
}

#[test]
fn a_prack_that_fits_nothing_is_481() {
    let mut stack = stack();
    let (_, dialog, rseq) = early(&mut stack, Reply::new(180));
    let racks = [
        format!("{} 1 INVITE", rseq + 1),
        format!("{rseq} 2 INVITE"),
        format!("{rseq} 1 UPDATE"),
        "nonsense".to_owned(),
    ];
    for (cseq, rack) in (2..).zip(racks) {
        let bytes = prack(&stack, dialog, cseq, &rack);
        stack.handle_input(at(0), udp(), &bytes);
        let (out, told) = drain(&mut stack);
        assert_eq!((out[0].1.status(), told.len()), (Some(481), 0), "{rack}");
    }
    let tx = acknowledge(&mut stack, dialog, 10, rseq);
    stack.respond(at(0), tx, Reply::new(200)).unwrap();
    // It is acknowledged once.
    let bytes = prack(&stack, dialog, 11, &format!("{rseq} 1 INVITE"));
    stack.handle_input(at(0), udp(), &bytes);
    assert_eq!(statuses(&mut stack), [200, 481]);
}

/// A reliable provisional response of the peer.
fn reliable(request: &Message, status: u16, rseq: u32) -> Vec<u8> {
    let builder = crate::build::MessageBuilder::response_to(request, status, "").to_tag("peer");
    builder
        .header(Header::Contact, "<sip:peer@192.0.2.9:5070>")
        .header(Header::Require, "100rel")
        .header(Header::RSeq, rseq.to_string())
        .finish()
        .unwrap()
        .bytes()
        .to_vec()
}

#[test]
fn those_of_the_peer_come_once_and_in_order_and_are_acknowledged() {
    let mut stack = stack();
    let (_, request) = invite(&mut stack, udp());
    let number = request.cseq().unwrap().number;
    let told = |stack: &mut Stack, rseq| {
        stack.handle_input(at(0), udp(), &reliable(&request, 183, rseq));
        drain(stack).1.into_iter().find_map(|event| match event {
            Event::Response { dialog, .. } => dialog,
            _ => None,
        })
    };
    let dialog = told(&mut stack, 7).expect("the first one is taken, whatever its number");
    assert!(told(&mut stack, 7).is_none(), "repeated");
    assert!(told(&mut stack, 9).is_none(), "one is missing");
    assert!(told(&mut stack, 8).is_some());
    for rack in ["7", "8"] {
        let tx = stack.request_in_dialog(at(0), dialog, Method::Prack, Fields::new()).unwrap();
        let prack = sent(&mut stack).remove(0);
        let expected = format!("{rack} {number} INVITE");
        assert_eq!(prack.value(Header::RAck), Some(expected.as_bytes()));
        stack.handle_input(at(0), udp(), &answer(&prack, 200, "peer"));
        assert!(matches!(drain(&mut stack).1[..], [Event::Response { tx: of, .. }] if of == tx));
    }
    let more = stack.request_in_dialog(at(0), dialog, Method::Prack, Fields::new());
    assert_eq!(more, Err(StackError::WrongDialogState));
}

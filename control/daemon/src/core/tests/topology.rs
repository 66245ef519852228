//! What one leg sees of the other: nothing that names its addresses, dialogs or ways. Every octet
//! that leaves for a phone is looked at.

use super::*;

impl Bench {
    /// As [`Bench::pump`], and gives what was sent to each phone.
    fn captured(&mut self) -> Vec<(usize, String)> {
        let mut sent = Vec::new();
        self.switch.set_time(self.now, wall(self.now));
        let mut busy = true;
        while busy {
            busy = false;
            while let Some((flow, bytes)) = self.switch.poll_transmit() {
                busy = true;
                let who = self.phones.iter().position(|it| it.addr == flow.remote).unwrap();
                sent.push((who, String::from_utf8_lossy(&bytes).into_owned()));
                let phone = &mut self.phones[who];
                phone.stack.handle_input(self.now, Flow::udp(phone.own, flow.local), &bytes);
            }
            for index in 0..self.phones.len() {
                while let Some(output) = self.phones[index].stack.poll_output() {
                    busy = true;
                    match output {
                        Output::Transmit { flow, bytes } => {
                            let from = Flow::udp(flow.remote, self.phones[index].addr);
                            self.switch.handle_input(from, &bytes);
                        }
                        Output::Event(event) => self.phones[index].events.push(event),
                    }
                }
            }
            if !busy && !self.link.state().events.is_empty() {
                busy = true;
                self.switch.handle_engine();
            }
        }
        sent
    }
}

/// What must not be seen of a leg: its address, Call-ID and tags, as the phone at it knows them.
fn secrets(bench: &Bench, who: usize, dialog: DialogId) -> Vec<String> {
    let known = bench.phones[who].stack.dialog(dialog).unwrap();
    vec![
        bench.phones[who].own.ip().to_string(),
        known.call_id().to_owned(),
        known.local_tag().to_owned(),
        known.remote_tag().to_owned(),
        format!("proxy-of-{who}"),
    ]
}

/// Rows that a phone may send and that name its own leg.
fn telling(bench: &Bench, who: usize) -> Fields {
    let own = bench.phones[who].own;
    Fields::new()
        .header("Record-Route", format!("<sip:proxy-of-{who}.example;lr>"))
        .header("Path", format!("<sip:proxy-of-{who}.example>"))
        .header("Service-Route", format!("<sip:proxy-of-{who}.example;lr>"))
        .header("Target-Dialog", format!("{own};local-tag=1;remote-tag=2"))
        .header("Remote-Party-ID", format!("<sip:x@{own}>"))
        .header("P-Charging-Vector", format!("icid-value=1;icid-generated-at={}", own.ip()))
        .header("Warning", format!("399 {own} \"hm\""))
}

#[test]
fn no_message_of_any_method_tells_one_leg_of_the_other() {
    let mut bench = Bench::new();
    let (alice, bob) = bench.established();
    let dialogs = [alice, bob];
    let told: Vec<_> =
        [ALICE, BOB].iter().map(|who| secrets(&bench, *who, dialogs[*who])).collect();
    let look = |sent: Vec<(usize, String)>, what: &str| {
        for (who, text) in sent.into_iter().filter(|(who, _)| *who <= BOB) {
            for secret in &told[1 - who] {
                assert!(!text.contains(secret.as_str()), "{what}: {secret} is told in\n{text}");
            }
        }
    };
    let methods = [Method::Invite, Method::Update, Method::Info, Method::Message, Method::Options];
    for method in methods {
        for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
            let mut fields = telling(&bench, who);
            if matches!(method, Method::Invite | Method::Update) {
                let body = String::from_utf8(sdp(4000)).unwrap();
                let own = bench.phones[who].own.ip().to_string();
                fields = fields.body("application/sdp", body.replace("192.0.2.50", &own));
            }
            let stack = &mut bench.phones[who].stack;
            stack.request_in_dialog(bench.now, dialogs[who], method, fields).unwrap();
            look(bench.captured(), method.as_str());
            let (tx, _, _) = bench.phones[other].request(method);
            let own = bench.phones[other].own.ip().to_string();
            let body = String::from_utf8(sdp(5000)).unwrap().replace("192.0.2.50", &own);
            let mut reply = Reply::new(200).fields(telling(&bench, other));
            if matches!(method, Method::Invite | Method::Update) {
                reply =
                    Reply::new(200).fields(telling(&bench, other).body("application/sdp", body));
            }
            bench.phones[other].stack.respond(bench.now, tx, reply).unwrap();
            look(bench.captured(), method.as_str());
            bench.phones[who].response(200);
            if method == Method::Invite {
                let stack = &mut bench.phones[who].stack;
                stack.ack(bench.now, dialogs[who], Fields::new()).unwrap();
                look(bench.captured(), "ACK");
            }
        }
    }
    let bye = telling(&bench, ALICE);
    let stack = &mut bench.phones[ALICE].stack;
    stack.request_in_dialog(bench.now, alice, Method::Bye, bye).unwrap();
    bench.switch.set_time(bench.now, wall(bench.now));
    look(bench.captured(), "BYE");
}

#[test]
fn a_call_that_begins_fails_or_is_cancelled_tells_nothing_either() {
    for end in [0, 302, 486, 488] {
        let mut bench = Bench::new();
        bench.register(BOB);
        let call = bench.invite_with(ALICE, "bob", |request| {
            let body = String::from_utf8(sdp(4000)).unwrap().replace("192.0.2.50", "192.0.2.51");
            request
                .header("Target-Dialog", "x@192.0.2.51;local-tag=1;remote-tag=2")
                .header("Record-Route", "<sip:192.0.2.51;lr>")
                .body("application/sdp", body)
        });
        let (tx, _, invite) = bench.phones[BOB].request(Method::Invite);
        let text = String::from_utf8_lossy(invite.bytes()).into_owned();
        for secret in ["192.0.2.51", "call-0-", "tag-of-alice"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        let see = |bench: &mut Bench, reply: Reply| {
            let reply = reply
                .header("Warning", "399 192.0.2.52 \"x\"")
                .header("Record-Route", "<sip:192.0.2.52;lr>");
            bench.phones[BOB].stack.respond(bench.now, tx, reply).unwrap();
            for (who, text) in bench.captured() {
                assert!(who != ALICE || !text.contains("192.0.2.52"), "{text}");
            }
        };
        see(&mut bench, Reply::new(180));
        if end == 0 {
            bench.phones[ALICE].stack.cancel(bench.now, call, Fields::new()).unwrap();
            for (who, text) in bench.captured() {
                assert!(who != BOB || !text.contains("192.0.2.51"), "{text}");
            }
            see(&mut bench, Reply::new(487));
            bench.phones[ALICE].response(487);
        } else {
            let reply = Reply::new(end);
            // A place that the caller may try itself is no secret.
            let elsewhere = "<sip:eve@elsewhere.example>";
            see(&mut bench, if end == 302 { reply.header("Contact", elsewhere) } else { reply });
            bench.phones[ALICE].response(end);
        }
    }
}

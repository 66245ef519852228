//! The 49 messages of RFC 4475, octet for octet as in its appendix A, and what becomes of each.

use tandem_signalling::digest::{Authenticator, Outcome, Policy, Refusal};
use tandem_signalling::header::Header;
use tandem_signalling::message::{Message, check_require, validate_request, validate_response};
use tandem_signalling::stack::{Event, Flow, Output, Stack, StackConfig};
use tandem_signalling::uri::Scheme;
use tandem_wire::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// A request that goes on to the transaction layer.
    Request,
    /// A response that goes on to the transaction layer.
    Response,
    /// A request that is answered with this status for this reason.
    Answer(u16, &'static str),
    /// A response that is discarded for this reason.
    Discard(&'static str),
}
use Fate::{Answer, Discard, Request, Response};

const MESSAGES: [(&str, Fate); 49] = [
    // 3.1.1, valid messages.
    ("wsinv", Request),
    ("intmeth", Request),
    ("esc01", Request),
    ("escnull", Request),
    ("esc02", Request),
    ("lwsdisp", Request),
    ("longreq", Request),
    ("dblreq", Request),
    ("semiuri", Request),
    ("transports", Request),
    ("mpart01", Request),
    ("unreason", Response),
    ("noreason", Response),
    // 3.1.2, invalid messages.
    ("badinv01", Answer(400, "via")),
    ("clerr", Answer(400, "body_short")),
    ("ncl", Answer(400, "content_length")),
    ("scalar02", Answer(400, "cseq")),
    ("scalarlg", Discard("cseq")),
    ("quotbal", Answer(400, "to")),
    ("ltgtruri", Answer(400, "request_uri")),
    ("lwsruri", Answer(400, "request_uri")),
    ("lwsstart", Answer(400, "request_uri")),
    ("trws", Answer(400, "start_line")),
    ("escruri", Answer(400, "request_uri")),
    ("baddate", Answer(400, "date")),
    ("regbadct", Answer(400, "contact")),
    ("badaspec", Answer(400, "to")),
    // Its empty line is missing in the archive; with it the reason would be From.
    ("baddn", Answer(400, "unterminated")),
    ("badvers", Answer(505, "version")),
    ("mismatch01", Answer(400, "cseq_method")),
    ("mismatch02", Answer(400, "cseq_method")),
    ("bigcode", Discard("status_code")),
    // 3.2, transaction layer.
    ("badbranch", Request),
    // 3.3, application layer.
    ("insuf", Answer(400, "missing_from")),
    ("unkscm", Answer(416, "uri_scheme")),
    ("novelsc", Answer(416, "uri_scheme")),
    ("unksm2", Request),
    ("bext01", Request),
    ("invut", Request),
    ("regaut01", Request),
    ("multi01", Answer(400, "repeated")),
    ("mcl01", Answer(400, "content_length")),
    ("bcast", Response),
    ("zeromf", Request),
    ("cparam01", Request),
    ("cparam02", Request),
    ("regescrt", Request),
    ("sdp01", Request),
    // 3.4, backward compatibility: without Contact there is nothing to send a BYE to.
    ("inv2543", Answer(400, "missing_contact")),
];

fn octets(name: &str) -> Vec<u8> {
    let path = format!("{}/vectors/rfc4475/{name}.dat", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn message(name: &str) -> Message {
    Message::parse(&octets(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn fate(octets: &[u8]) -> Fate {
    let message = match Message::parse(octets) {
        Ok(message) => message,
        Err(error) => return Discard(error.key()),
    };
    if message.is_response() {
        return validate_response(&message)
            .map_or_else(|error| Discard(error.key()), |()| Response);
    }
    match validate_request(&message) {
        Ok(()) => Request,
        Err(reject) => match reject.status {
            Some(status) => Answer(status, reject.cause.key()),
            None => Discard(reject.cause.key()),
        },
    }
}

#[test]
fn every_message_meets_its_fate() {
    let wrong: Vec<_> = MESSAGES
        .iter()
        .map(|(name, expected)| (*name, *expected, fate(&octets(name))))
        .filter(|(_, expected, found)| expected != found)
        .collect();
    assert!(wrong.is_empty(), "(message, expected, found): {wrong:#?}");
}

/// What comes out of the stack when the message comes in as a datagram.
fn through_the_stack(octets: &[u8]) -> Vec<String> {
    let mut stack = Stack::new(StackConfig::default(), 1);
    let local = ([192, 0, 2, 250], 5060).into();
    let flow = Flow::udp(local, ([192, 0, 2, 1], 5060).into());
    stack.handle_input(Instant::ZERO, flow, octets);
    core::iter::from_fn(|| stack.poll_output())
        .map(|output| match output {
            Output::Transmit { bytes, .. } => {
                // An answer repeats what is broken in its request: only the status line is looked at.
                String::from_utf8_lossy(&bytes[..11]).replace("SIP/2.0 ", "")
            }
            Output::Event(Event::Request { .. }) => "event".to_owned(),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn the_stack_does_what_the_table_says() {
    for (name, fate) in MESSAGES {
        let expected = match fate {
            // It has a To tag of a dialog that nobody knows.
            Request if name == "wsinv" => vec!["481".to_owned()],
            Request => vec!["event".to_owned()],
            Answer(status, _) => vec![status.to_string()],
            Response | Discard(_) => vec![],
        };
        assert_eq!(through_the_stack(&octets(name)), expected, "{name}");
    }
}

#[test]
fn every_vector_is_in_the_table() {
    let folder = format!("{}/vectors/rfc4475", env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|it| it.unwrap().file_name().to_str()?.strip_suffix(".dat").map(str::to_owned))
        .collect();
    files.sort_unstable();
    let mut names: Vec<_> = MESSAGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}

#[test]
fn wsinv_reads_through_all_its_white_space() {
    let it = message("wsinv");
    let uri = it.uri().unwrap();
    assert_eq!(uri.param("unknownparam"), Some(""));
    assert_eq!(it.to_tag(), Some("1918181833n"));
    assert_eq!(it.from().unwrap().display_text().as_deref(), Some(r#"J Rosenberg \""#));
    assert_eq!(it.from_tag(), Some("98asjd8"));
    assert_eq!(it.max_forwards(), Some(68));
    assert_eq!(it.cseq().unwrap().to_string(), "9 INVITE");
    assert_eq!(it.value(Header::Subject), Some(&b""[..]));
    assert_eq!(it.value_named("UnknownHeaderWithUnusualValue"), Some(&b";;,,;;,;"[..]));
    let vias: Vec<_> = it.vias().map(Result::unwrap).collect();
    let hosts: Vec<_> = vias.iter().map(|via| (via.transport(), via.sent_by())).collect();
    let expected =
        [("UDP", "192.0.2.2"), ("TCP", "spindle.example.com"), ("UDP", "192.168.255.111")];
    assert_eq!(hosts, expected);
    assert_eq!(vias[2].branch(), Some("z9hG4bK30239"));
    let contact = it.contacts().next().unwrap().unwrap();
    assert_eq!(contact.q().thousandths(), 330);
    let address = contact.address().unwrap();
    assert_eq!(address.display_text().as_deref(), Some(r#"Quoted string """#));
    assert_eq!(address.params().get("newparam"), Some("newvalue"));
    assert!(address.params().has("secondparam"));
    assert_eq!(it.body().len(), 150);
}

#[test]
fn intmeth_keeps_its_odd_characters() {
    let it = message("intmeth");
    assert_eq!(it.method().as_str(), "!interesting-Method0123456789_*+`.%indeed'~");
    assert_eq!(it.to().unwrap().display().as_deref(), Some(&b"BEL:\x07 NUL:\x00 DEL:\x7f"[..]));
    assert_eq!(it.uri().unwrap().password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(it.call_id(), Some("intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{"));
    assert_eq!(it.from_tag(), Some("_token~1'+`*%!-."));
    let text =
        it.from().unwrap().params().get_unquoted("fromParam''~+*_!.-%").unwrap().into_owned();
    assert_eq!(String::from_utf8(text).unwrap(), "работающий");
}

#[test]
fn escapes_are_part_of_names_only_in_uris() {
    let it = message("esc01");
    assert_eq!(it.uri().unwrap().user_decoded().as_deref(), Some("sips:user@example.com"));
    let contact = it.contacts().next().unwrap().unwrap().address().unwrap().uri();
    assert_eq!(contact.user_decoded().as_deref(), Some("caller"));
    assert!(contact.is_loose());
    assert_eq!(contact.param("name"), Some("v%61lue%25%34%31"));

    let it = message("esc02");
    assert_eq!(it.method().as_str(), "RE%47IST%45R");
    assert_eq!(it.contacts().count(), 2);
    assert!(it.value_named("C%6Fntact").is_some());

    let it = message("escnull");
    let users: Vec<_> = it
        .contacts()
        .map(|it| it.unwrap().address().unwrap().uri().user_decoded().unwrap().into_owned())
        .collect();
    assert_eq!(users, ["\0", "\0\0"]);
}

#[test]
fn parameters_belong_to_the_uri_only_inside_brackets() {
    let it = message("cparam01");
    let contact = it.contacts().next().unwrap().unwrap().address().unwrap();
    assert!(contact.params().has("unknownparam") && contact.uri().param("unknownparam").is_none());
    let it = message("cparam02");
    let contact = it.contacts().next().unwrap().unwrap().address().unwrap();
    assert!(!contact.params().has("unknownparam") && contact.uri().param("unknownparam").is_some());
    let it = message("semiuri");
    assert_eq!(it.uri().unwrap().user(), Some("user;par=u%40example.net"));
    let it = message("regescrt");
    let contact = it.contacts().next().unwrap().unwrap().address().unwrap();
    assert_eq!(contact.uri().headers_str(), "Route=%3Csip:sip.example.com%3E");
}

#[test]
fn a_datagram_is_one_message() {
    let it = message("dblreq");
    assert_eq!(it.call_id(), Some("dblreq.0ha0isndaksdj99sdfafnl3lk233412"));
    assert!(it.body().is_empty() && it.bytes().ends_with(b"Content-Length: 0\r\n\r\n"));
    let it = message("mpart01");
    assert_eq!(it.body().len(), 553);
    assert!(it.content_type().unwrap().is("multipart", "mixed"));
}

#[test]
fn what_the_layers_above_decide_can_be_seen() {
    assert_eq!(message("longreq").vias().count(), 34);
    assert_eq!(message("badbranch").top_via().unwrap().unique_branch(), None);
    assert_eq!(message("zeromf").max_forwards(), Some(0));
    assert!(!message("invut").content_type().unwrap().is("application", "sdp"));
    assert!(!message("sdp01").lists(Header::Accept, "application/sdp"));
    // A user agent discards a response with more than one Via.
    assert_eq!(message("bcast").vias().count(), 2);
    let transports: Vec<_> =
        message("transports").vias().map(|it| it.unwrap().transport().to_owned()).collect();
    assert_eq!(transports, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
    let it = message("unksm2");
    assert_eq!(it.to().unwrap().uri().scheme(), Scheme::Other);
    assert_eq!(it.from().unwrap().uri().as_str(), "http://www.example.com");
    assert!(message("unreason").reason().unwrap().starts_with("= 2**3 * 5**2 но сто"));
    assert_eq!(message("noreason").reason(), Some(""));

    let reject = check_require(&message("bext01"), Header::Require, &["100rel"]).unwrap_err();
    assert_eq!(reject.status, Some(420));
    let named = "nothingSupportsThis, nothingSupportsThisEither".to_owned();
    assert_eq!(reject.headers, [(Header::Unsupported, named)]);

    let mut server = Authenticator::new(Policy::new("tandem"), [0; 32]);
    let now = Instant::ZERO;
    let it = server.check(now, &message("regaut01"), Header::Authorization, |_, _| None);
    assert_eq!(it, Outcome::Refused(Refusal::Missing));
}

//! Parsing a SIP message allocates as often for 100 headers as for 6, and reading it not at all.

use std::fmt::Write as _;

use tandem_hw::count_alloc::{CountingAllocator, allocations_on_this_thread};
use tandem_signalling::header::Header;
use tandem_signalling::message::{Message, validate_request};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn request(more_rows: usize) -> Vec<u8> {
    let mut text = "OPTIONS sip:bob@192.0.2.4 SIP/2.0\r\n\
        Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n\
        From: \"Alice\" <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n\
        Call-ID: 1@2\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
        .to_owned();
    for row in 0..more_rows {
        let names = ["Route: <sip:a;lr>,", "X-Unknown:", "Supported: a, b,", "s:"];
        let _ = write!(text, "{} <sip:p{row}.example.com;lr>\r\n", names[row % 4]);
    }
    text.push_str("\r\n");
    text.into_bytes()
}

fn counted<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = allocations_on_this_thread();
    let it = run();
    (it, allocations_on_this_thread() - before)
}

#[test]
fn no_allocation_per_header() {
    let (few, many) = (request(0), request(100));
    let (few, few_allocations) = counted(|| Message::parse(&few).unwrap());
    let (many, many_allocations) = counted(|| Message::parse(&many).unwrap());
    assert_eq!(many.rows().count(), 106);
    assert_eq!(few_allocations, many_allocations);
    assert!(few_allocations <= 3, "{few_allocations} allocations");
    drop(few);

    let (sum, allocations) = counted(|| {
        validate_request(&many).unwrap();
        let copy = many.clone();
        let routes = copy.route().filter(|it| it.is_ok()).count();
        let tokens = copy.tokens(Header::Supported).count();
        let via = copy.top_via().unwrap();
        let from = copy.from().unwrap();
        routes + tokens + via.sent_by().len() + from.tag().map_or(0, str::len)
    });
    assert_eq!(allocations, 0);
    assert_eq!(sum, 50 + 75 + 9 + 1);
}

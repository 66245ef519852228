//! Offer and answer, case by case of RFC 3264 §6 to §8, and of its neighbours.

use super::*;
use crate::media::CodecPolicy;
use tandem_signalling::sdp::{Direction, Section};

const ALICE: &str = "198.51.100.1";
const BOB: &str = "203.0.113.1";

/// Media type and port of every line; `*` for a port of ours.
fn shape(text: &str) -> String {
    let sdp = parse(text);
    let line = |index| {
        let media = sdp.media(index).unwrap();
        format!("{} {}", media.kind, if media.port == 0 { "0" } else { "*" })
    };
    (0..sdp.media_count()).map(line).collect::<Vec<_>>().join(", ")
}

fn media(lines: &[(&str, u16)]) -> String {
    let text = |(kind, port): &(&str, u16)| match *kind {
        "audio" => audio(*port),
        "video" => format!("m=video {port} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n"),
        "text" => format!("m=text {port} RTP/AVP 98\r\na=rtpmap:98 t140/1000\r\n"),
        "chat" => format!("m=message {port} TCP/MSRP *\r\na=accept-types:text/plain\r\n"),
        "fax" => format!("m=image {port} udptl t38\r\na=T38FaxVersion:0\r\n"),
        other => panic!("{other}"),
    };
    lines.iter().map(text).collect()
}

struct Case {
    name: &'static str,
    /// Each exchange: who offers, what is offered, what is answered, and what the others see.
    steps: &'static [Step],
}

type Step = (
    u8,
    &'static [(&'static str, u16)],
    &'static [(&'static str, u16)],
    &'static str,
    &'static str,
);

const CASES: &[Case] = &[
    Case {
        name: "§6 one stream, accepted",
        steps: &[(0, &[("audio", 1)], &[("audio", 2)], "audio *", "audio *")],
    },
    Case {
        name: "§5.1, §6 several streams of one type",
        steps: &[(
            0,
            &[("audio", 1), ("audio", 3), ("video", 5)],
            &[("audio", 2), ("audio", 4), ("video", 6)],
            "audio *, audio *, video *",
            "audio *, audio *, video *",
        )],
    },
    Case {
        name: "§6 a rejected stream keeps its place",
        steps: &[(
            0,
            &[("video", 1), ("audio", 3), ("text", 5)],
            &[("video", 0), ("audio", 4), ("text", 0)],
            "video *, audio *, text *",
            "video 0, audio *, text 0",
        )],
    },
    Case {
        name: "§6 a stream that was offered as rejected stays rejected",
        steps: &[(
            0,
            &[("audio", 1), ("video", 0)],
            &[("audio", 2), ("video", 6)],
            "audio *, video 0",
            "audio *, video 0",
        )],
    },
    Case {
        name: "a stream that we cannot carry is offered on as rejected, in its place",
        steps: &[(
            0,
            &[("chat", 9), ("audio", 1)],
            &[("chat", 0), ("audio", 2)],
            "message 0, audio *",
            "message 0, audio *",
        )],
    },
    Case {
        name: "§8.1 a stream is added by either side",
        steps: &[
            (0, &[("audio", 1)], &[("audio", 2)], "audio *", "audio *"),
            (
                1,
                &[("audio", 2), ("video", 4)],
                &[("audio", 1), ("video", 3)],
                "audio *, video *",
                "audio *, video *",
            ),
            (
                0,
                &[("audio", 1), ("video", 3), ("text", 5)],
                &[("audio", 2), ("video", 4), ("text", 0)],
                "audio *, video *, text *",
                "audio *, video *, text 0",
            ),
        ],
    },
    Case {
        name: "§8.1 a new stream takes the place of a removed one",
        steps: &[
            (
                0,
                &[("video", 1), ("audio", 3)],
                &[("video", 2), ("audio", 4)],
                "video *, audio *",
                "video *, audio *",
            ),
            (
                0,
                &[("video", 0), ("audio", 3)],
                &[("video", 0), ("audio", 4)],
                "video 0, audio *",
                "video 0, audio *",
            ),
            (
                1,
                &[("text", 8), ("audio", 4)],
                &[("text", 7), ("audio", 3)],
                "text *, audio *",
                "text *, audio *",
            ),
        ],
    },
    Case {
        name: "§8.2 a stream is removed; the last one too",
        steps: &[
            (
                0,
                &[("audio", 1), ("video", 3)],
                &[("audio", 2), ("video", 4)],
                "audio *, video *",
                "audio *, video *",
            ),
            (
                1,
                &[("audio", 2), ("video", 0)],
                &[("audio", 1), ("video", 0)],
                "audio *, video 0",
                "audio *, video 0",
            ),
            (
                0,
                &[("audio", 0), ("video", 0)],
                &[("audio", 0), ("video", 0)],
                "audio 0, video 0",
                "audio 0, video 0",
            ),
            (
                0,
                &[("audio", 1), ("video", 0)],
                &[("audio", 2), ("video", 0)],
                "audio *, video 0",
                "audio *, video 0",
            ),
        ],
    },
    Case {
        name: "§8.3.3 a stream changes its media type (T.38)",
        steps: &[
            (0, &[("audio", 1)], &[("audio", 2)], "audio *", "audio *"),
            (1, &[("fax", 2)], &[("fax", 1)], "image *", "image *"),
            (1, &[("audio", 2)], &[("audio", 1)], "audio *", "audio *"),
        ],
    },
    Case {
        name: "§8 a session never gets fewer lines, whatever a party offers",
        steps: &[
            (
                0,
                &[("audio", 1), ("video", 3)],
                &[("audio", 2), ("video", 4)],
                "audio *, video *",
                "audio *, video *",
            ),
            (0, &[("audio", 1)], &[("audio", 2), ("video", 0)], "audio *, audio 0", "audio *"),
            (
                1,
                &[("audio", 2), ("video", 4)],
                &[("audio", 1), ("video", 3)],
                "audio *, video *",
                "audio *, video *",
            ),
        ],
    },
];

#[test]
fn every_case() {
    for case in CASES {
        let mut bench = Bench::new();
        for (at, (offerer, offer, answer, offered_on, answered_on)) in case.steps.iter().enumerate()
        {
            let (ip, other) = if *offerer == 0 { (ALICE, BOB) } else { (BOB, ALICE) };
            let peer = 1 - *offerer;
            let name = format!("{}, step {at}", case.name);
            let offered = bench.offer(*offerer, peer, &sdp(ip, &media(offer)));
            let offered = offered.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(shape(&offered), *offered_on, "{name}: offer\n{offered}");
            let answered = bench.answer(peer, *offerer, &sdp(other, &media(answer)), false);
            let answered = answered.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(shape(&answered), *answered_on, "{name}: answer\n{answered}");
            // What is in the descriptions is in the engine, and nothing else.
            let used = answered_on.matches('*').count();
            assert_eq!(bench.link.state().put.len(), 2 * used, "{name}");
            for line in (0..parse(&answered).media_count())
                .filter(|it| parse(&answered).media(*it).unwrap().port != 0)
            {
                let line = u8::try_from(line).unwrap();
                assert_eq!(bench.hears(0, line), [1], "{name}");
                assert_eq!(bench.hears(1, line), [0], "{name}");
            }
        }
    }
}

#[test]
fn an_offer_without_streams_is_passed() {
    let mut bench = Bench::new();
    let (offered, answered) = bench.call(&sdp(ALICE, ""), &sdp(BOB, ""));
    assert_eq!((shape(&offered), shape(&answered)), (String::new(), String::new()));
    assert!(bench.link.state().put.is_empty());
}

#[test]
fn an_answer_with_another_number_of_lines_is_refused() {
    for lines in [&[("audio", 2)][..], &[("audio", 2), ("video", 4), ("text", 6)]] {
        let mut bench = Bench::new();
        bench.offer(0, 1, &sdp(ALICE, &media(&[("audio", 1), ("video", 3)]))).unwrap();
        assert_eq!(status(bench.answer(1, 0, &sdp(BOB, &media(lines)), false)), (488, 399));
    }
}

/// §6.1, §8.4: every direction that is offered and answered, and who hears whom then.
#[test]
fn directions_meet() {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    // Offered, answered, what the offerer reads, caller is heard, callee is heard.
    for (offer, answer, told, caller, callee) in [
        (SendRecv, SendRecv, SendRecv, true, true),
        (SendRecv, SendOnly, SendOnly, false, true),
        (SendRecv, RecvOnly, RecvOnly, true, false),
        (SendRecv, Inactive, Inactive, false, false),
        (SendOnly, RecvOnly, RecvOnly, true, false),
        (SendOnly, Inactive, Inactive, false, false),
        (RecvOnly, SendOnly, SendOnly, false, true),
        (RecvOnly, Inactive, Inactive, false, false),
        (Inactive, Inactive, Inactive, false, false),
        // An answerer that does not keep to the offer: the offerer gets what is left.
        (SendOnly, SendRecv, RecvOnly, true, false),
        (SendOnly, SendOnly, Inactive, false, false),
        (RecvOnly, SendRecv, SendOnly, false, true),
        (RecvOnly, RecvOnly, Inactive, false, false),
        (Inactive, SendRecv, Inactive, false, false),
        (Inactive, SendOnly, Inactive, false, false),
        (Inactive, RecvOnly, Inactive, false, false),
    ] {
        for of_session in [false, true] {
            let mut bench = Bench::new();
            let with = |ip: &str, port: u16, direction: Direction| {
                let line = format!("a={}\r\n", direction.name());
                let (session, stream) = if of_session { (&*line, "") } else { ("", &*line) };
                sdp(ip, &format!("{session}{}{stream}", audio(port)))
            };
            let (offered, answered) = bench.call(&with(ALICE, 1, offer), &with(BOB, 2, answer));
            let name = format!("{offer:?} {answer:?} {of_session}");
            assert_eq!(parse(&offered).direction(0), offer, "{name}");
            assert_eq!(parse(&answered).direction(0), told, "{name}\n{answered}");
            assert_eq!(!bench.hears(0, 0).is_empty(), caller, "{name}");
            assert_eq!(!bench.hears(1, 0).is_empty(), callee, "{name}");
        }
    }
}

/// §8.4 and what was there before it: all ways to put the other one on hold, and back.
#[test]
fn hold_by_every_idiom() {
    let with = |ip: &str, direction: &str| sdp(ip, &format!("{}{direction}", audio(1)));
    let of_media = format!("{}c=IN IP4 0.0.0.0\r\n", audio(1));
    for (name, hold, bob) in [
        ("sendonly", with(ALICE, "a=sendonly\r\n"), "recvonly"),
        ("inactive", with(ALICE, "a=inactive\r\n"), "inactive"),
        ("address 0", with("0.0.0.0", ""), "recvonly"),
        ("address 0 of the stream", sdp(ALICE, &of_media), "recvonly"),
        ("address 0 and sendonly", with("0.0.0.0", "a=sendonly\r\n"), "recvonly"),
        ("address 0 and inactive", with("0.0.0.0", "a=inactive\r\n"), "inactive"),
        ("sendonly of the session", sdp(ALICE, &format!("a=sendonly\r\n{}", audio(1))), "recvonly"),
        ("RFC 6157", sdp("none.invalid", &audio(1)), "recvonly"),
    ] {
        let mut bench = Bench::new();
        bench.call(&sdp(ALICE, &audio(1)), &sdp(BOB, &audio(2)));
        let offered = bench.offer(0, 1, &hold).unwrap();
        assert!(!parse(&offered).direction(0).receives(), "{name}\n{offered}");
        let ours = parse(&offered);
        assert!(!ours.media_connection(0).unwrap().is_hold(), "{name}: we have an address");
        bench.answer(1, 0, &sdp(BOB, &format!("{}a={bob}\r\n", audio(2))), false).unwrap();
        assert!(bench.hears(1, 0).is_empty(), "{name}: on hold nobody is heard");
        assert!(bench.media.is_held(CALL, 0) && bench.spec(1, 0).flags & FLAG_HOLD != 0, "{name}");
        bench.call(&sdp(ALICE, &audio(1)), &sdp(BOB, &audio(2)));
        assert_eq!((bench.hears(1, 0), bench.hears(0, 0)), (vec![0], vec![1]), "{name}: resumed");
        assert!(!bench.media.is_held(CALL, 0), "{name}");
        assert_eq!(bench.spec(0, 0).remote_rtp, addr("198.51.100.1:1"), "{name}");
    }
    // Both hold each other.
    let mut bench = Bench::new();
    bench.call(&sdp(ALICE, &audio(1)), &sdp(BOB, &audio(2)));
    bench.call(&with(ALICE, "a=sendonly\r\n"), &sdp(BOB, &format!("{}a=inactive\r\n", audio(2))));
    assert!(bench.media.is_held(CALL, 0) && bench.media.is_held(CALL, 1));
}

/// §5.1, §8.3.2: numbers are the offerer's for one direction and the answerer's for the other; each
/// side reads them as they were said, in every exchange.
#[test]
fn payload_numbers_stay_as_each_side_said_them() {
    let opus = |port: u16, number: u8| {
        format!("m=audio {port} RTP/AVP {number}\r\na=rtpmap:{number} opus/48000/2\r\n")
    };
    let mut bench = Bench::new();
    for _ in 0..2 {
        let offered = bench.offer(0, 1, &sdp(ALICE, &opus(1, 96))).unwrap();
        assert_eq!(parse(&offered).rtpmap(0, 96).unwrap().encoding, "opus");
        let answered = bench.answer(1, 0, &sdp(BOB, &opus(2, 111)), false).unwrap();
        assert_eq!(parse(&answered).rtpmap(0, 111).unwrap().encoding, "opus");
        // The caller sends what the callee listed.
        assert_eq!(bench.spec(0, 0).payload_types[0].number, 111);
        assert_eq!(bench.spec(1, 0).payload_types[0].number, 96);
        // The other way round nothing changes: both keep their numbers.
        bench.offer(1, 0, &sdp(BOB, &opus(2, 111))).unwrap();
        bench.answer(0, 1, &sdp(ALICE, &opus(1, 96)), false).unwrap();
        assert_eq!(bench.spec(0, 0).payload_types[0].number, 111);
        assert_eq!(bench.spec(1, 0).payload_types[0].number, 96);
    }
}

/// What we have no opinion about passes in its place: bandwidth, packet times, titles, keys of
/// other kinds, attributes that nobody knows.
#[test]
fn what_is_not_ours_passes_in_its_place() {
    let body = "v=0\r\no=alice 7 7 IN IP4 198.51.100.1\r\ns=A call\r\ni=About it\r\n\
        u=http://example.com/\r\ne=a@example.com\r\np=+1 617 555 6011\r\nc=IN IP4 198.51.100.1\r\n\
        b=CT:128\r\nb=AS:100\r\nt=0 0\r\nr=7d 1h 0 25h\r\na=X-session:1\r\na=tool:x\r\n\
        m=audio 4000 RTP/AVP 8 101\r\ni=Voice\r\nb=AS:64\r\nb=TIAS:64000\r\nb=RR:800\r\n\
        a=X-first\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
        a=fmtp:101 0-16\r\na=ptime:30\r\na=maxptime:60\r\na=X-last: with  blanks\r\n\
        m=video 4002 RTP/AVP 96\r\nc=IN IP4 198.51.100.2\r\nb=AS:512\r\na=rtpmap:96 VP8/90000\r\n\
        a=framerate:30\r\na=label:2\r\n";
    let mut bench = Bench::new();
    let offered = bench.offer(0, 1, body).unwrap();
    let ours = |line: &&str| !matches!(line.as_bytes()[0], b'o' | b'c' | b'm');
    let kept: Vec<&str> = offered.lines().filter(ours).collect();
    let given: Vec<&str> = body.lines().filter(ours).collect();
    assert_eq!(kept, given);
    let answered = bench.answer(1, 0, body, false).unwrap();
    assert_eq!(answered.lines().filter(ours).collect::<Vec<_>>(), given);
}

/// `c=` of the session, of each stream, or of some of them: every stream names our address, and
/// no address of theirs is left.
#[test]
fn connections_of_session_and_streams_become_ours() {
    let head = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\n";
    let session = "c=IN IP4 198.51.100.1\r\n";
    let first = "m=audio 1 RTP/AVP 8\r\n";
    let second = "m=video 3 RTP/AVP 96\r\n";
    let own = "c=IN IP4 198.51.100.7\r\n";
    for body in [
        format!("{head}{session}t=0 0\r\n{first}{second}"),
        format!("{head}t=0 0\r\n{first}{own}{second}{own}"),
        format!("{head}{session}t=0 0\r\n{first}{second}{own}"),
        format!("{head}{session}t=0 0\r\n{first}{own}m=video 0 RTP/AVP 96\r\n{own}"),
    ] {
        let mut bench = Bench::new();
        let offered = bench.offer(0, 1, &body).unwrap();
        assert!(!offered.contains("198.51.100"), "{offered}");
        let sdp = parse(&offered);
        let at = |index: usize| sdp.media_connection(index).unwrap().host.ip().unwrap();
        assert_eq!(at(0), "192.0.2.1".parse::<IpAddr>().unwrap(), "{offered}");
        assert_eq!(at(1), at(0), "{offered}");
    }
}

/// RFC 3264 does not care about IP versions; each side reads its own, in every line.
#[test]
fn ip_versions_are_bridged_in_both_directions_and_held_too() {
    for (caller, callee) in [(ALICE, "2001:db8::b"), ("2001:db8::a", BOB)] {
        let mut bench = Bench::new();
        let local = |of: &str| LegProfile {
            local: if of.contains(':') { "2001:db8::1" } else { "192.0.2.1" }.parse().unwrap(),
        };
        bench.media.prepare_leg(CALL, 0, local(caller));
        bench.media.prepare_leg(CALL, 1, local(callee));
        let rtcp = |ip: &str| {
            let kind = if ip.contains(':') { "IP6" } else { "IP4" };
            format!("a=rtcp:4009 IN {kind} {ip}\r\n")
        };
        let offer =
            sdp(caller, &format!("{}{}", media(&[("audio", 1), ("video", 3)]), rtcp(caller)));
        let answer = sdp(callee, &media(&[("audio", 2), ("video", 4)]));
        let (offered, answered) = bench.call(&offer, &answer);
        for (text, reader) in [(&offered, callee), (&answered, caller)] {
            let kind = if reader.contains(':') { "IP6" } else { "IP4" };
            let other = if reader.contains(':') { "IP4" } else { "IP6" };
            assert!(text.contains(&format!("IN {kind} ")) && !text.contains(other), "{text}");
        }
        assert_eq!((bench.hears(0, 1), bench.hears(1, 1)), (vec![1], vec![0]));
        // Hold by the zero address of the caller's version.
        let zero = if caller.contains(':') { "::" } else { "0.0.0.0" };
        let held = bench.offer(0, 1, &sdp(zero, &media(&[("audio", 1), ("video", 0)]))).unwrap();
        let held = parse(&held);
        assert_eq!(held.direction(0), Direction::SendOnly);
        assert!(!held.media_connection(0).unwrap().is_hold());
    }
}

fn policy(allowed: &[&str], refused: &[&str]) -> Bench {
    let names = |list: &[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
    let codecs = CodecPolicy { allowed: names(allowed), refused: names(refused) };
    Bench::with(MediaConfig { codecs, ..MediaConfig::default() })
}

#[test]
fn codecs_are_filtered_and_ordered_towards_both_sides() {
    let mut bench = policy(&["PCMU", "PCMA"], &[]);
    let wide = "m=audio 1 RTP/AVP 111 8 0 101\r\na=rtpmap:111 opus/48000/2\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:111 useinbandfec=1\r\n";
    let offered = bench.offer(0, 1, &sdp(ALICE, wide)).unwrap();
    let parsed = parse(&offered);
    assert_eq!(parsed.media(0).unwrap().formats, "0 8 101");
    assert!(!offered.contains("opus") && !offered.contains("fmtp:111"));
    // An answerer that was never asked for opus names it all the same.
    let answered = bench.answer(1, 0, &sdp(BOB, wide), false).unwrap();
    assert_eq!(parse(&answered).media(0).unwrap().formats, "8 0 101");
    assert!(bench.spec(0, 0).payload_types.iter().all(|it| it.number != 111));
}

#[test]
fn a_stream_without_an_allowed_codec_is_rejected_and_the_others_go_on() {
    let mut bench = policy(&[], &["VP8"]);
    let two = media(&[("video", 1), ("audio", 3)]);
    let offered = bench.offer(0, 1, &sdp(ALICE, &two)).unwrap();
    assert_eq!(shape(&offered), "video 0, audio *");
    let answer = media(&[("video", 0), ("audio", 4)]);
    let answered = bench.answer(1, 0, &sdp(BOB, &answer), false).unwrap();
    assert_eq!(shape(&answered), "video 0, audio *");
    assert_eq!(bench.link.state().put.len(), 2);
}

#[test]
fn an_offer_without_any_allowed_codec_is_a_488() {
    let mut bench = policy(&["G729"], &[]);
    assert_eq!(status(bench.offer(0, 1, &sdp(ALICE, &audio(1)))), (488, 305));
    assert!(bench.link.state().put.is_empty());
    // And so is an answer.
    let mut bench = policy(&["PCMA"], &[]);
    bench.offer(0, 1, &sdp(ALICE, "m=audio 1 RTP/AVP 8\r\n")).unwrap();
    let answered = bench.answer(1, 0, &sdp(BOB, "m=audio 2 RTP/AVP 0\r\n"), false);
    assert_eq!(status(answered), (488, 305));
}

#[test]
fn a_refused_re_offer_of_codecs_leaves_the_call_as_it_was() {
    let mut bench = policy(&["PCMA"], &[]);
    bench.call(&sdp(ALICE, &audio(1)), &sdp(BOB, &audio(2)));
    let before = bench.link.state().put.clone();
    let refused = bench.offer(0, 1, &sdp(ALICE, "m=audio 1 RTP/AVP 0\r\n"));
    assert_eq!(status(refused), (488, 305));
    assert_eq!(bench.link.state().put, before);
}

#[test]
fn padding_has_no_attributes_of_others() {
    let mut bench = Bench::new();
    let two = media(&[("audio", 1), ("video", 3)]);
    bench.call(&sdp(ALICE, &two), &sdp(BOB, &media(&[("audio", 2), ("video", 4)])));
    let offered = bench.offer(0, 1, &sdp(ALICE, &audio(1))).unwrap();
    let parsed = parse(&offered);
    assert_eq!(parsed.lines(Section::Media(1)).count(), 1);
    assert!(offered.ends_with("m=audio 0 RTP/AVP 0\r\n"), "{offered}");
}

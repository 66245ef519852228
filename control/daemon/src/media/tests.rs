//! Offer and answer over an engine in memory.

use super::*;
use crate::link::fake::FakeLink;
use crate::link::{Installed, LinkEvent};
use std::net::{IpAddr, SocketAddr};
use tandem_contract::command::{
    FLAG_HOLD, FLAG_OPAQUE, FLAG_RELEARN, FLAG_RTCP_MUX, FLAG_SECURED, TerminationSpec,
};
use tandem_contract::counters::TerminationCounters;
use tandem_contract::measure::{Measurement, RTT_UNKNOWN};
use tandem_signalling::sdp::SessionDescription;

mod figures;
mod restart;
mod rfc3264;

const CALL: CallKey = CallKey(0x1234_5678_9abc_def0);
const NOW: Instant = Instant::from_millis(1_000);

struct Bench {
    link: FakeLink,
    media: MediaPlane,
}

impl Bench {
    fn new() -> Self {
        Self::with(MediaConfig::default())
    }

    fn with(config: MediaConfig) -> Self {
        let link = FakeLink::new();
        Self { media: MediaPlane::new(config, Box::new(link.clone())), link }
    }

    fn offer(&mut self, from: u8, to: u8, sdp: &str) -> Result<String, MediaError> {
        self.media.offer(NOW, CALL, from, to, sdp.as_bytes()).map(text)
    }

    fn answer(&mut self, from: u8, to: u8, sdp: &str, early: bool) -> Result<String, MediaError> {
        self.media.answer(NOW, CALL, from, to, sdp.as_bytes(), early).map(text)
    }

    /// A call of two legs, each with one audio stream.
    fn call(&mut self, offer: &str, answer: &str) -> (String, String) {
        let offered = self.offer(0, 1, offer).unwrap();
        let answered = self.answer(1, 0, answer, false).unwrap();
        (offered, answered)
    }

    fn spec(&self, leg: u8, stream: u8) -> TerminationSpec {
        self.find(leg, stream).expect("the stream is installed").1
    }

    fn find(&self, leg: u8, stream: u8) -> Option<(Handle, TerminationSpec)> {
        let state = self.link.state();
        let mut found = state.put.iter().filter(|(_, s)| (s.leg, s.stream) == (leg, stream));
        let first = found.next().map(|(handle, spec)| (*handle, *spec));
        assert!(found.next().is_none(), "leg {leg} has stream {stream} twice");
        first
    }

    /// Legs whose stream of this index gets what `leg` sends.
    fn hears(&self, leg: u8, stream: u8) -> Vec<u8> {
        let state = self.link.state();
        let (_, spec) = state
            .put
            .iter()
            .find(|(_, s)| (s.leg, s.stream) == (leg, stream))
            .expect("the stream is installed");
        spec.edges
            .iter()
            .filter(|edge| edge.generation != 0)
            .map(|edge| {
                let target = state.put.iter().find(|(h, _)| h.index == edge.index);
                target.expect("edges lead to what exists").1.leg
            })
            .collect()
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn parse(text: &str) -> SessionDescription {
    SessionDescription::parse(text.as_bytes()).unwrap()
}

/// A description of a party at `ip` with these media sections.
fn sdp(ip: &str, media: &str) -> String {
    let kind = if ip.contains(':') { "IP6" } else { "IP4" };
    format!("v=0\r\no=- 1 1 IN {kind} {ip}\r\ns=-\r\nc=IN {kind} {ip}\r\nt=0 0\r\n{media}")
}

fn audio(port: u16) -> String {
    format!(
        "m=audio {port} RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=X-vendor:kept\r\n"
    )
}

fn addr(text: &str) -> tandem_wire::addr::SockAddr {
    text.parse::<SocketAddr>().unwrap().into()
}

fn status(result: Result<String, MediaError>) -> (u16, u16) {
    let error = result.unwrap_err();
    (error.status(), error.warning().0)
}

#[test]
fn a_call_is_relayed_between_its_legs() {
    let mut bench = Bench::new();
    let (offered, answered) =
        bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let (caller, callee) = (bench.spec(0, 0), bench.spec(1, 0));
    // Each side is shown our endpoint on its own leg, all else as it was written.
    for (shown, spec, origin) in [(&offered, callee, 1), (&answered, caller, 0)] {
        let port = spec.local_rtp.port();
        let session = 0x1234_5678_9abc_def0_u64 & 0x0000_ffff_ffff_ff00 | origin;
        assert_eq!(
            *shown,
            sdp("192.0.2.1", &audio(port)).replace("o=- 1 1", &format!("o=- {session} 1"))
        );
    }
    assert_eq!(caller.remote_rtp, addr("198.51.100.1:4000"));
    assert_eq!(callee.remote_rtp, addr("203.0.113.1:5000"));
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![1], vec![0]));
    assert_eq!((caller.flags, callee.flags), (0, 0));
    assert_eq!((caller.dscp, caller.media_timeout_ms), (46, 30_000));
    let numbers: Vec<_> = caller
        .payload_types
        .iter()
        .filter(|pt| pt.present == 1)
        .map(|pt| (pt.number, pt.clock_rate, pt.telephone_event, pt.codec != 0))
        .collect();
    assert_eq!(numbers, [(8, 8_000, 0, true), (0, 8_000, 0, true), (101, 8_000, 1, false)]);
}

#[test]
fn nobody_is_heard_before_the_answer_and_silence_is_no_fault_then() {
    let mut bench = Bench::new();
    bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![], vec![]));
    assert_eq!(bench.spec(0, 0).flags, FLAG_HOLD);
    bench.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), true).unwrap();
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![1], vec![0]));
    assert_eq!(bench.spec(1, 0).flags, FLAG_HOLD);
}

#[test]
fn an_answer_that_repeats_changes_nothing() {
    let mut bench = Bench::new();
    bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    let answer = sdp("203.0.113.1", &audio(5000));
    let first = bench.answer(1, 0, &answer, true).unwrap();
    let puts = bench.link.state().puts;
    assert_eq!(bench.answer(1, 0, &answer, true).unwrap(), first);
    assert_eq!(bench.link.state().puts, puts);
}

#[test]
fn an_offer_in_the_200_is_answered_in_the_ack() {
    let mut bench = Bench::new();
    bench.offer(1, 0, &sdp("203.0.113.1", &audio(5000))).unwrap();
    bench.answer(0, 1, &sdp("198.51.100.1", &audio(4000)), false).unwrap();
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![1], vec![0]));
    assert_eq!(bench.spec(0, 0).flags, 0);
    assert_eq!(bench.media.leg_name(CALL, 1), "callee");
}

#[test]
fn the_branch_that_spoke_last_is_heard_and_the_answer_wins() {
    let mut bench = Bench::new();
    let offer = sdp("198.51.100.1", &audio(4000));
    for branch in 1..=3 {
        bench.offer(0, branch, &offer).unwrap();
    }
    let caller = bench.find(0, 0).unwrap().0;
    let branch = |n: u16| sdp("203.0.113.1", &audio(5000 + n * 10));
    bench.answer(1, 0, &branch(1), true).unwrap();
    bench.answer(2, 0, &branch(2), true).unwrap();
    assert_eq!(
        (bench.hears(0, 0), bench.hears(2, 0), bench.hears(1, 0)),
        (vec![2], vec![0], vec![])
    );
    // The one that spoke is gone: the one before is heard again.
    bench.media.drop_leg(NOW, CALL, 2);
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![1], vec![0]));
    bench.answer(3, 0, &branch(3), false).unwrap();
    assert_eq!(
        (bench.hears(0, 0), bench.hears(3, 0), bench.hears(1, 0)),
        (vec![3], vec![0], vec![])
    );
    // A late provisional or final answer of a loser changes nothing.
    bench.answer(1, 0, &branch(1), true).unwrap();
    bench.answer(1, 0, &branch(1), false).unwrap();
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![3], vec![]));
    bench.media.drop_leg(NOW, CALL, 1);
    assert_eq!(bench.hears(0, 0), [3]);
    assert_eq!(bench.find(0, 0).unwrap().0, caller, "the caller keeps its port");
    assert_eq!(bench.media.leg_name(CALL, 3), "callee");
    assert_eq!(bench.media.leg_name(CALL, 1), "callee#1");
    assert_eq!(bench.link.state().put.len(), 2);
}

#[test]
fn the_version_towards_a_leg_counts_what_changed_for_it() {
    let mut bench = Bench::new();
    bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    bench.offer(0, 2, &sdp("198.51.100.1", &audio(4000))).unwrap();
    let version = |text: &str| parse(text).origin().unwrap().version.to_owned();
    let codec = |n: u16| sdp("203.0.113.1", &format!("m=audio {n} RTP/AVP 8\r\n"));
    let first = bench.answer(1, 0, &codec(5000), true).unwrap();
    let same = bench.answer(2, 0, &codec(6000), true).unwrap();
    let other =
        bench.answer(2, 0, &sdp("203.0.113.1", "m=audio 6000 RTP/AVP 0\r\n"), false).unwrap();
    assert_eq!([version(&first), version(&same), version(&other)], ["1", "1", "2"]);
    assert_eq!(first, same, "the caller cannot tell the branches apart");
}

#[test]
fn hold_and_resume() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let with = |ip: &str, port: u16, direction: &str| {
        sdp(ip, &format!("{}a={direction}\r\n", audio(port)))
    };
    let held = bench.offer(0, 1, &with("198.51.100.1", 4000, "sendonly")).unwrap();
    assert!(held.contains("a=sendonly"));
    bench.answer(1, 0, &with("203.0.113.1", 5000, "recvonly"), false).unwrap();
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![1], vec![]));
    assert_eq!((bench.spec(0, 0).flags, bench.spec(1, 0).flags), (FLAG_HOLD, FLAG_HOLD));
    assert!(bench.media.is_held(CALL, 0) && !bench.media.is_held(CALL, 1));

    bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    bench.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), false).unwrap();
    assert_eq!((bench.hears(0, 0), bench.hears(1, 0)), (vec![1], vec![0]));
    assert_eq!(bench.spec(0, 0).flags, 0);
    assert!(!bench.media.is_held(CALL, 0));
}

#[test]
fn hold_by_address_becomes_a_direction_and_keeps_the_known_address() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let held = bench.offer(1, 0, &sdp("0.0.0.0", &audio(5000))).unwrap();
    assert!(held.contains("a=sendonly") && held.contains("c=IN IP4 192.0.2.1"), "{held}");
    bench
        .answer(0, 1, &sdp("198.51.100.1", &format!("{}a=recvonly\r\n", audio(4000))), false)
        .unwrap();
    assert_eq!((bench.hears(1, 0), bench.hears(0, 0)), (vec![0], vec![]));
    assert_eq!(bench.spec(1, 0).remote_rtp, addr("203.0.113.1:5000"));
    assert!(bench.media.is_held(CALL, 1));
    // The same address again is no move.
    bench.offer(1, 0, &sdp("203.0.113.1", &audio(5000))).unwrap();
    bench.answer(0, 1, &sdp("198.51.100.1", &audio(4000)), false).unwrap();
    assert_eq!((bench.spec(1, 0).flags, bench.spec(1, 0).relearn_epoch), (0, 0));
}

#[test]
fn a_party_that_moves_is_learnt_anew() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    bench.offer(0, 1, &sdp("198.51.100.77", &audio(4444))).unwrap();
    assert_eq!(bench.spec(0, 0).relearn_epoch, 0, "not before it is agreed");
    bench.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), false).unwrap();
    let spec = bench.spec(0, 0);
    assert_eq!((spec.flags, spec.relearn_epoch), (FLAG_RELEARN, 1));
    assert_eq!(spec.remote_rtp, addr("198.51.100.77:4444"));
    assert_eq!(bench.spec(1, 0).relearn_epoch, 0);
}

#[test]
fn streams_are_added_rejected_and_removed_in_their_places() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let video = |port: u16| format!("m=video {port} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
    let both = |ip: &str, a: u16, v: u16| sdp(ip, &format!("{}{}", audio(a), video(v)));

    let offered = bench.offer(0, 1, &both("198.51.100.1", 4000, 4002)).unwrap();
    assert_eq!(parse(&offered).media(1).unwrap().port, bench.spec(1, 1).local_rtp.port());
    let answered = bench.answer(1, 0, &both("203.0.113.1", 5000, 5002), false).unwrap();
    assert_eq!(parse(&answered).media(1).unwrap().port, bench.spec(0, 1).local_rtp.port());
    assert_eq!(bench.hears(0, 1), [1]);
    let video_handles = [bench.find(0, 1).unwrap().0, bench.find(1, 1).unwrap().0];

    let offered = bench.offer(1, 0, &both("203.0.113.1", 5000, 0)).unwrap();
    assert_eq!(parse(&offered).media(1).unwrap().port, 0);
    let answered = bench.answer(0, 1, &both("198.51.100.1", 4000, 0), false).unwrap();
    assert_eq!(parse(&answered).media(1).unwrap().port, 0);
    assert_eq!(bench.find(0, 1), None);
    assert_eq!(bench.hears(0, 0), [1]);
    let mut subtracted = bench.link.state().subtracted.clone();
    subtracted.sort_unstable();
    assert_eq!(subtracted, video_handles);
}

#[test]
fn a_stream_that_the_answerer_rejects_is_rejected_for_the_offerer() {
    let mut bench = Bench::new();
    let media = format!("{}m=video 4002 RTP/AVP 96\r\n", audio(4000));
    bench.offer(0, 1, &sdp("198.51.100.1", &media)).unwrap();
    let answer = format!("{}m=video 0 RTP/AVP 96\r\n", audio(5000));
    let early = bench.answer(1, 0, &sdp("203.0.113.1", &answer), true).unwrap();
    assert_eq!(parse(&early).media(1).unwrap().port, 0);
    assert!(bench.find(0, 1).is_some(), "another branch may still take it");
    bench.answer(1, 0, &sdp("203.0.113.1", &answer), false).unwrap();
    assert_eq!(bench.find(0, 1), None);
}

#[test]
fn a_refused_re_offer_leaves_the_call_as_it_was() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let before = bench.link.state().put.clone();
    let media = format!("{}m=video 4002 RTP/AVP 96\r\n", audio(4444));
    bench.offer(0, 1, &sdp("198.51.100.1", &media)).unwrap();
    bench.media.reject(NOW, CALL, 0, 1);
    assert_eq!(bench.link.state().put, before);
    let late = bench.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), false);
    assert_eq!(late, Err(MediaError::BadAnswer("nothing was offered")));
}

#[test]
fn a_provisional_answer_can_be_made_final_without_a_body() {
    let mut bench = Bench::new();
    let media = format!("{}m=video 4002 RTP/AVP 96\r\n", audio(4000));
    bench.offer(0, 1, &sdp("198.51.100.1", &media)).unwrap();
    let answer = format!("{}m=video 0 RTP/AVP 96\r\n", audio(5000));
    bench.answer(1, 0, &sdp("203.0.113.1", &answer), true).unwrap();
    bench.media.confirm(NOW, CALL, 1, 0);
    assert_eq!((bench.hears(0, 0), bench.spec(0, 0).flags), (vec![1], 0));
    assert_eq!(bench.find(0, 1), None);
}

#[test]
fn sdes_keys_pass_untouched_and_unprinted() {
    let mut bench = Bench::new();
    let keyed = |port: u16, key: &str| {
        format!(
            "m=audio {port} RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4\r\n"
        )
    };
    let offered = bench.offer(0, 1, &sdp("198.51.100.1", &keyed(4000, "T2ZmZXI="))).unwrap();
    assert!(offered.contains("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:T2ZmZXI=|2^20|1:4\r\n"));
    let answered =
        bench.answer(1, 0, &sdp("203.0.113.1", &keyed(5000, "QW5zd2Vy")), false).unwrap();
    assert!(answered.contains("inline:QW5zd2Vy|2^20|1:4\r\n"));
    assert_eq!((bench.spec(0, 0).flags, bench.spec(1, 0).flags), (FLAG_SECURED, FLAG_SECURED));
    let printed = format!("{:?}", bench.media);
    assert!(!printed.contains("T2ZmZXI") && !printed.contains("QW5zd2Vy"));
}

#[test]
fn keys_offered_beside_plain_rtp_count_only_if_they_are_taken() {
    let offer = format!("{}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QQ==\r\n", audio(4000));
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &offer), &sdp("203.0.113.1", &audio(5000)));
    assert_eq!(bench.spec(0, 0).flags, 0);
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &offer), &sdp("203.0.113.1", &offer));
    assert_eq!(bench.spec(0, 0).flags, FLAG_SECURED);
}

#[test]
fn what_would_need_keys_of_ours_is_refused_with_488() {
    let offer = |media: &str| status(Bench::new().offer(0, 1, &sdp("198.51.100.1", media)));
    let print = "a=fingerprint:sha-256 AA:BB\r\na=setup:actpass\r\n";
    assert_eq!(offer(&format!("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{print}")), (488, 302));
    assert_eq!(offer(&format!("m=audio 9 RTP/SAVPF 111\r\n{print}")), (488, 302));
    assert_eq!(offer("m=audio 4000 RTP/SAVP 8\r\n"), (488, 399));
    assert_eq!(offer("m=message 4000 TCP/MSRP *\r\n"), (488, 302));
    let mut bench = Bench::new();
    let keyed = "m=audio 4000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QQ==\r\n";
    bench.offer(0, 1, &sdp("198.51.100.1", keyed)).unwrap();
    let plain = bench.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), false);
    assert!(plain.clone().unwrap_err().warning().1.contains("RTP/SAVP"));
    assert_eq!(status(plain), (488, 302));
    assert!(bench.hears(0, 0).is_empty());
}

#[test]
fn a_refused_offer_takes_no_port() {
    let mut bench = Bench::new();
    assert!(bench.offer(0, 1, &sdp("198.51.100.1", "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n")).is_err());
    assert!(bench.offer(0, 1, "v=0\r\nrubbish\r\n").is_err());
    assert_eq!(bench.link.state().puts, 0);
    assert!(bench.media.release(NOW, CALL).is_empty());
}

#[test]
fn one_line_over_tcp_is_passed_on_as_rejected() {
    let mut bench = Bench::new();
    let media = format!("m=message 4000 TCP/MSRP *\r\n{}", audio(4002));
    let offered = bench.offer(0, 1, &sdp("198.51.100.1", &media)).unwrap();
    assert!(offered.contains("m=message 0 TCP/MSRP *\r\n"));
    let answer = format!("m=message 7000 TCP/MSRP *\r\n{}", audio(5000));
    let answered = bench.answer(1, 0, &sdp("203.0.113.1", &answer), false).unwrap();
    assert!(answered.contains("m=message 0 TCP/MSRP *\r\n"), "what was not offered stays rejected");
    assert_eq!((bench.hears(0, 1), bench.find(0, 0)), (vec![1], None));
}

#[test]
fn fax_over_udptl_passes_as_opaque_datagrams() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let fax = |port: u16| format!("m=image {port} udptl t38\r\na=T38FaxVersion:0\r\n");
    let offered = bench.offer(1, 0, &sdp("203.0.113.1", &fax(5000))).unwrap();
    assert!(offered.contains(" udptl t38\r\na=T38FaxVersion:0\r\n") && !offered.contains("rtcp"));
    bench.answer(0, 1, &sdp("198.51.100.1", &fax(4000)), false).unwrap();
    assert_eq!((bench.spec(0, 0).flags, bench.spec(1, 0).flags), (FLAG_OPAQUE, FLAG_OPAQUE));
    assert_eq!(bench.hears(1, 0), [0]);
    // Who receives a page is silent for longer than any time-out.
    assert_eq!((bench.spec(0, 0).media_timeout_ms, bench.spec(1, 0).media_timeout_ms), (0, 0));
}

#[test]
fn multiplexing_of_rtcp_is_agreed_per_leg() {
    let mut bench = Bench::new();
    let mux = |port: u16| format!("{}a=rtcp-mux\r\n", audio(port));
    let (offered, answered) =
        bench.call(&sdp("198.51.100.1", &mux(4000)), &sdp("203.0.113.1", &audio(5000)));
    assert!(offered.contains("a=rtcp-mux\r\n") && answered.contains("a=rtcp-mux\r\n"));
    let (caller, callee) = (bench.spec(0, 0), bench.spec(1, 0));
    assert_eq!((caller.flags, callee.flags), (FLAG_RTCP_MUX, 0));
    assert!(!caller.local_rtcp.is_some() && callee.local_rtcp.is_some());
    // Not offered: not answered, whatever the other side says.
    let mut bench = Bench::new();
    let (offered, answered) =
        bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &mux(5000)));
    assert!(!offered.contains("rtcp-mux") && !answered.contains("rtcp-mux"));
    assert_eq!((bench.spec(0, 0).flags, bench.spec(1, 0).flags), (0, 0));
}

#[test]
fn rtcp_elsewhere_is_found_and_ours_is_shown() {
    let mut bench = Bench::new();
    let media = format!("{}a=rtcp:4999 IN IP4 198.51.100.9\r\n", audio(4000));
    let (offered, _) = bench.call(&sdp("198.51.100.1", &media), &sdp("203.0.113.1", &audio(5000)));
    assert_eq!(bench.spec(0, 0).remote_rtcp, addr("198.51.100.9:4999"));
    let rtcp = bench.spec(1, 0).local_rtcp.port();
    assert!(offered.contains(&format!("a=rtcp:{rtcp}\r\n")), "{offered}");
    assert!(!offered.contains("198.51.100"), "no address of the other side is left: {offered}");
}

#[test]
fn what_an_ice_agent_or_a_bundle_would_need_is_not_passed() {
    let mut bench = Bench::new();
    let media = format!(
        "a=group:BUNDLE 0\r\na=ice-lite\r\n{}a=ice-ufrag:a\r\na=ice-pwd:b\r\n\
         a=candidate:1 1 UDP 1 198.51.100.1 4000 typ host\r\na=mid:0\r\n",
        audio(4000)
    );
    let offered = bench.offer(0, 1, &sdp("198.51.100.1", &media)).unwrap();
    assert!(!offered.contains("ice") && !offered.contains("candidate"), "{offered}");
    assert!(!offered.contains("BUNDLE") && offered.contains("a=mid:0"));
}

#[test]
fn a_leg_over_ipv6_meets_a_leg_over_ipv4() {
    let mut bench = Bench::new();
    let local: IpAddr = "2001:db8::5".parse().unwrap();
    bench.media.prepare_leg(CALL, 1, LegProfile { local });
    let offered = bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    assert!(offered.contains("c=IN IP6 2001:db8::1\r\n"), "{offered}");
    let answered = bench.answer(1, 0, &sdp("2001:db8::77", &audio(5000)), false).unwrap();
    assert!(answered.contains("c=IN IP4 192.0.2.1\r\n"));
    assert_eq!(bench.spec(1, 0).remote_rtp, addr("[2001:db8::77]:5000"));
    assert_eq!(bench.spec(0, 0).remote_rtp, addr("198.51.100.1:4000"));
    // An answer of the other version cannot be reached from our endpoint.
    let mut bench = Bench::new();
    bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    let answer = bench.answer(1, 0, &sdp("2001:db8::77", &audio(5000)), false);
    assert_eq!(status(answer), (488, 301));
}

#[test]
fn the_announced_address_may_differ_from_the_bound_one() {
    let shown: IpAddr = "203.0.113.200".parse().unwrap();
    let bound: IpAddr = "192.0.2.1".parse().unwrap();
    let config = MediaConfig { advertised: vec![(bound, shown)], ..MediaConfig::default() };
    let mut bench = Bench::with(config);
    let offered = bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    assert!(offered.contains("c=IN IP4 203.0.113.200\r\n") && !offered.contains("192.0.2.1"));
    assert_eq!(bench.spec(1, 0).local_rtp.ip(), Some(bound));
}

#[test]
fn without_relay_descriptions_pass_and_nothing_is_installed() {
    let mut bench = Bench::with(MediaConfig { relay: false, ..MediaConfig::default() });
    let (offer, answer) = (sdp("198.51.100.1", &audio(4000)), sdp("203.0.113.1", &audio(5000)));
    assert_eq!(bench.call(&offer, &answer), (offer, answer));
    assert_eq!(bench.link.state().puts, 0);
    assert!(bench.media.is_settled(CALL) && bench.media.release(NOW, CALL).is_empty());
}

#[test]
fn exhausted_ports_are_a_503_and_nothing_stays_taken() {
    let mut bench = Bench::new();
    bench.link.state().free = [3, 0];
    let media = format!("{}m=video 4002 RTP/AVP 96\r\n", audio(4000));
    let error = bench.offer(0, 1, &sdp("198.51.100.1", &media)).unwrap_err();
    assert_eq!(error.status(), 503);
    assert!(error.to_string().contains("port range"), "{error}");
    let state = bench.link.state();
    assert_eq!((state.puts, state.given_back), (0, 3));
    drop(state);
    bench.link.state().away = true;
    let error = bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap_err();
    assert!(error.to_string().contains("restarted"), "{error}");
}

#[test]
fn broken_descriptions_are_a_400() {
    let mut bench = Bench::new();
    for text in [
        "",
        "v=0\r\n",
        "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\ns=-\r\nm=audio 9 RTP/AVP 0\r\n",
        "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\nc=IN IP4 1.2.3\r\nm=audio 9 RTP/AVP 0\r\n",
        "v=0\r\no=- 1 1 IN IP4 1.1.1.1\r\nc=IN IP4 1.1.1.1\r\nm=audio\r\n",
    ] {
        assert_eq!(bench.offer(0, 1, text).unwrap_err().status(), 400, "{text}");
    }
    bench.offer(0, 1, &sdp("198.51.100.1", &audio(4000))).unwrap();
    let two = format!("{}{}", audio(1), audio(2));
    assert_eq!(bench.answer(1, 0, &sdp("203.0.113.1", &two), false).unwrap_err().status(), 488);
}

//! Media of a call that another media plane takes over.

use super::*;
use crate::link::{EngineInfo, LinkEvent};
use std::time::Duration;

/// The next media plane on the same engine, with what the first one saved.
fn next(bench: &Bench) -> (Bench, usize) {
    let saved = rmp_serde::to_vec(&bench.media.save(CALL).unwrap()).unwrap();
    bench.link.state().puts = 0;
    let mut media = MediaPlane::new(MediaConfig::default(), Box::new(bench.link.clone()));
    media.adopt(NOW, rmp_serde::from_slice(&saved).unwrap(), false);
    (Bench { link: bench.link.clone(), media }, saved.len())
}

fn attach(bench: &mut Bench) -> Vec<MediaEvent> {
    bench.link.state().events.push_back(LinkEvent::Attached {
        info: EngineInfo::default(),
        reinstalled: 0,
        found: Vec::new(),
        outage: Duration::ZERO,
    });
    bench.media.handle_link(NOW)
}

#[test]
fn what_was_agreed_is_wanted_again_as_it_was() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let before = bench.link.state().put.clone();
    let (mut again, octets) = next(&bench);
    assert!(octets < 600, "{octets} octets");
    assert_eq!(again.link.state().put, before);
    assert_eq!(again.link.state().puts, 2, "each is stated, so that its lease is renewed");
    // A hold goes on from there: the same endpoints, the next version.
    let hold = sdp("198.51.100.1", &audio(4000)) + "a=sendonly\r\n";
    let offered = again.offer(0, 1, &hold).unwrap();
    assert!(offered.contains(" 2 IN IP4"), "{offered}");
    again.answer(1, 0, &(sdp("203.0.113.1", &audio(5000)) + "a=recvonly\r\n"), false).unwrap();
    assert!(again.media.is_held(CALL, 0));
    assert_eq!((again.hears(0, 0), again.hears(1, 0)), (vec![1], vec![]));
    let ports = |specs: &std::collections::BTreeMap<Handle, TerminationSpec>| {
        specs.values().map(|spec| spec.local_rtp).collect::<Vec<_>>()
    };
    assert_eq!(ports(&again.link.state().put), ports(&before));
}

#[test]
fn an_offer_that_was_not_answered_is_not_taken_over() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let more = audio(4000) + "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
    bench.offer(0, 1, &sdp("198.51.100.1", &more)).unwrap();
    assert_eq!(bench.link.state().put.len(), 4);
    let (mut again, _) = next(&bench);
    assert_eq!(again.link.state().puts, 2);
    let answer = again.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), false);
    assert_eq!(answer, Err(MediaError::BadAnswer("nothing was offered")));
    let legs = again.media.release(NOW, CALL);
    assert_eq!(legs.len(), 2);
}

#[test]
fn figures_go_on_and_those_of_ended_streams_are_read_once() {
    let mut bench = Bench::new();
    let two = |port: u16| audio(port) + &format!("m=video {} RTP/AVP 34\r\n", port + 2);
    bench.call(&sdp("198.51.100.1", &two(4000)), &sdp("203.0.113.1", &two(5000)));
    let put = bench.link.state().put.clone();
    for (handle, spec) in &put {
        let packets = 10 * (u64::from(spec.leg) + 1) + u64::from(spec.stream);
        let rx = Measurement { packets, ..Measurement::default() };
        let (handle, alive) = (*handle, 1);
        let last = TerminationCounters { handle, alive, rx, ..Default::default() };
        bench.link.state().counters.insert(handle, last);
    }
    // Video goes; the engine has not said so when control is killed.
    bench.link.state().mute = true;
    let without = |port: u16| audio(port) + "m=video 0 RTP/AVP 34\r\n";
    bench.offer(0, 1, &sdp("198.51.100.1", &without(4000))).unwrap();
    bench.answer(1, 0, &sdp("203.0.113.1", &without(5000)), false).unwrap();
    let (mut again, _) = next(&bench);
    again.link.state().mute = false;
    attach(&mut again);
    // The place of the ended streams is used again.
    for (handle, spec) in &put {
        if spec.stream == 1 {
            again.link.state().counters.remove(handle);
        }
    }
    let legs = again.media.release(NOW, CALL);
    let figures: Vec<_> =
        legs.iter().map(|it| (it.leg.as_str(), it.media.as_str(), it.rx_packets)).collect();
    assert_eq!(
        figures,
        [
            ("caller", "audio", 10),
            ("caller", "video", 11),
            ("callee", "audio", 20),
            ("callee", "video", 21)
        ]
    );
}

#[test]
fn a_stream_that_the_engine_gave_up_meanwhile_is_told() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let (handle, context) = {
        let state = bench.link.state();
        let (handle, spec) = state.put.iter().next().unwrap();
        (*handle, spec.context)
    };
    let (mut again, _) = next(&bench);
    let refusal = tandem_contract::event::Refusal::StaleHandle;
    again.link.state().events.push_back(LinkEvent::Refused { handle, context, refusal });
    let told = again.media.handle_link(NOW);
    assert!(matches!(told[..], [MediaEvent::Refused { call: CALL, .. }]), "{told:?}");
}

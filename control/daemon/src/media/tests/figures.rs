//! What the engine counts, and where it ends up: reports, endings, calls of an earlier daemon.

use super::*;

fn figures(handle: Handle, packets: u64, payload_type: u32) -> TerminationCounters {
    TerminationCounters {
        handle,
        alive: 1,
        rx: Measurement {
            packets,
            expected: packets + 2,
            lost: 2,
            jitter_ns: 1_500_000,
            rtt_ns: RTT_UNKNOWN,
            clock_rate: 8_000,
            payload_type,
            codec: 1,
            ssrc: 7,
            ..Measurement::default()
        },
        tx_packets: packets + 1,
        latched_rtp: addr("198.51.100.1:4000"),
        ..TerminationCounters::default()
    }
}

#[test]
fn a_report_tells_what_is_known_and_null_for_the_rest() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let caller = bench.find(0, 0).unwrap().0;
    let published = TerminationCounters { alive: 1, published_ns: 9, ..figures(caller, 100, 8) };
    bench.link.state().counters.insert(caller, published);
    let reports = bench.media.report(CALL);
    assert_eq!(reports.len(), 2);
    // Of the callee the engine has published nothing, and records know no time of the engine.
    assert_eq!((reports[0].published_ns, reports[1].published_ns), (Some(9), None));
    assert_eq!(bench.media.release(NOW, CALL)[0].published_ns, None);
    let (first, second) = (&reports[0], &reports[1]);
    assert_eq!((first.leg.as_str(), first.media.as_str()), ("caller", "audio"));
    assert_eq!((first.codec.as_deref(), first.payload_type), (Some("PCMA/8000"), Some(8)));
    assert_eq!((first.rx_packets, first.tx_packets, first.lost), (100, 101, 2));
    assert_eq!((first.jitter_ms, first.rtt_ms), (Some(1.5), None));
    assert!(first.mos.is_some_and(|mos| (1.0..4.5).contains(&mos)));
    assert_eq!(first.remote, "198.51.100.1:4000".parse().ok());
    // The other side sent nothing: nothing is known of it.
    assert_eq!((second.leg.as_str(), second.rx_packets), ("callee", 0));
    assert_eq!((&second.codec, second.mos, second.jitter_ms), (&None, None, None));
    assert_eq!((second.rtt_ms, second.bitrate_bps, second.ssrc), (None, None, None));
}

#[test]
fn release_ends_everything_and_keeps_the_figures_of_lost_branches() {
    let mut bench = Bench::new();
    for branch in [1, 2] {
        bench.offer(0, branch, &sdp("198.51.100.1", &audio(4000))).unwrap();
    }
    bench.answer(1, 0, &sdp("203.0.113.1", &audio(5000)), true).unwrap();
    let loser = bench.find(1, 0).unwrap().0;
    bench.link.state().counters.insert(loser, figures(loser, 10, 8));
    bench.answer(2, 0, &sdp("203.0.113.2", &audio(5000)), false).unwrap();
    bench.media.drop_leg(NOW, CALL, 1);
    assert!(bench.media.handle_link(NOW).is_empty());
    let legs: Vec<_> =
        bench.media.release(NOW, CALL).into_iter().map(|r| (r.leg, r.rx_packets)).collect();
    assert_eq!(
        legs,
        [("caller".to_owned(), 0), ("callee#1".to_owned(), 10), ("callee".to_owned(), 0)]
    );
    assert!(bench.link.state().put.is_empty());
    assert_eq!(bench.link.state().subtracted.len(), 3);
    assert!(bench.media.release(NOW, CALL).is_empty());
    assert!(bench.media.handle_link(NOW).is_empty());
    assert!(bench.media.owners.is_empty());
}

#[test]
fn a_stopped_call_is_settled_when_the_engine_has_ended_all_of_it() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let [caller, callee] = [0, 1].map(|leg| bench.find(leg, 0).unwrap().0);
    bench.link.state().counters.insert(caller, figures(caller, 100, 8));
    bench.media.stop(NOW, CALL);
    assert!(!bench.media.is_settled(CALL));
    // What came until the end counts.
    bench.link.state().counters.insert(caller, figures(caller, 103, 8));
    let last = bench.link.state().events.pop_back().unwrap();
    assert!(bench.media.handle_link(NOW).is_empty());
    bench.link.state().events.push_back(last);
    assert_eq!(bench.media.handle_link(NOW), [MediaEvent::Settled { call: CALL }]);
    assert!(bench.media.is_settled(CALL));
    let legs = bench.media.release(NOW, CALL);
    assert_eq!(legs.iter().map(|leg| leg.rx_packets).collect::<Vec<_>>(), [103, 0]);

    // What the engine refused will never end.
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    for handle in [caller, callee] {
        bench.link.state().put.remove(&handle);
        bench.link.state().events.push_back(LinkEvent::Refused {
            handle,
            context: ContextId(CALL.0),
            refusal: tandem_contract::event::Refusal::CannotBind,
        });
    }
    assert_eq!(bench.media.handle_link(NOW).len(), 2);
    bench.media.stop(NOW, CALL);
    assert!(bench.media.is_settled(CALL));
}

#[test]
fn a_line_that_comes_and_goes_has_one_report_with_all_its_packets() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let kind = "x".repeat(1_000);
    let both = |ip: &str, port: u16| {
        let extra = format!("m={kind} {port} RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n");
        sdp(ip, &format!("{}{extra}", audio(4000)))
    };
    for round in 0..700 {
        bench.offer(0, 1, &both("198.51.100.1", 4002)).unwrap();
        bench.answer(1, 0, &both("203.0.113.1", 5002), false).unwrap();
        let (handle, _) = bench.find(0, 1).unwrap();
        bench.link.state().counters.insert(handle, figures(handle, 2, 96));
        bench.offer(0, 1, &both("198.51.100.1", 0)).unwrap();
        bench.answer(1, 0, &both("203.0.113.1", 0), false).unwrap();
        bench.link.state().free = [100, 100];
        if round % 10 == 0 {
            assert!(bench.media.handle_link(NOW).is_empty());
            assert!(bench.media.calls[&CALL].closed.len() <= 2);
        }
    }
    let legs = bench.media.release(NOW, CALL);
    let said: Vec<_> =
        legs.iter().map(|l| (l.leg.as_str(), l.media.len(), l.rx_packets, l.lost)).collect();
    assert_eq!(
        said,
        [
            ("caller", 5, 0, 0),
            ("caller", 32, 1_400, 1_400),
            ("callee", 5, 0, 0),
            ("callee", 32, 0, 0)
        ]
    );
    assert_eq!(legs[1].codec.as_deref(), Some("VP8/90000"));
    assert!(bench.link.state().counters.is_empty(), "nothing is left in the link");
}

#[test]
fn a_party_is_silent_when_all_its_audio_is() {
    let mut bench = Bench::new();
    let three = |ip: &str, port: u16| {
        let video = "m=video 6000 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n";
        sdp(ip, &format!("{}{video}{}", audio(port), audio(port + 2)))
    };
    bench.call(&three("198.51.100.1", 4000), &three("203.0.113.1", 5000));
    let limits = [0, 1, 2].map(|stream| bench.spec(0, stream).media_timeout_ms);
    assert_eq!(limits, [30_000, 0, 30_000], "a camera may be off");
    let [first, second] = [0, 2].map(|stream| bench.find(0, stream).unwrap().0);
    let mut silent = |handle: Handle, packets: u64| {
        bench.link.state().counters.insert(handle, figures(handle, packets, 8));
        let event = LinkEvent::MediaTimeout { handle, silent_ms: 30_000 };
        bench.link.state().events.push_back(event);
        assert_eq!(bench.media.handle_link(NOW).len(), 1);
        bench.media.is_silent(CALL, 0)
    };
    assert!(!silent(first, 100));
    // The first line was heard again before the second one fell silent.
    bench.link.state().counters.insert(first, figures(first, 101, 8));
    assert!(!silent(second, 50));
    assert!(silent(first, 102));
    assert!(!bench.media.is_silent(CALL, 1));
}

#[test]
fn engine_events_find_their_call() {
    let mut bench = Bench::new();
    bench.call(&sdp("198.51.100.1", &audio(4000)), &sdp("203.0.113.1", &audio(5000)));
    let callee = bench.find(1, 0).unwrap().0;
    let stranger = Handle { index: 999, ..callee };
    let source = addr("203.0.113.1:5000");
    bench.link.state().events.extend([
        LinkEvent::Latched { handle: callee, source, rtcp: false, moved: false },
        LinkEvent::Latched { handle: callee, source, rtcp: true, moved: false },
        LinkEvent::Dtmf { handle: callee, code: 11, duration_ms: 160 },
        LinkEvent::Dtmf { handle: callee, code: 16, duration_ms: 160 },
        LinkEvent::MediaTimeout { handle: callee, silent_ms: 30_000 },
        LinkEvent::MediaTimeout { handle: stranger, silent_ms: 30_000 },
        LinkEvent::Ended {
            handle: callee,
            context: ContextId(CALL.0),
            cause: tandem_contract::event::EndCause::LeaseExpired,
        },
    ]);
    assert_eq!(
        bench.media.handle_link(NOW),
        [
            MediaEvent::Latched {
                call: CALL,
                leg: 1,
                source: source.to_std().unwrap(),
                moved: false
            },
            MediaEvent::Dtmf { call: CALL, leg: 1, digit: '#', duration_ms: 160 },
            MediaEvent::MediaTimeout { call: CALL, leg: 1, stream: 0, silent_ms: 30_000 },
            MediaEvent::LeaseExpired { call: CALL, leg: 1 },
        ]
    );
}

#[test]
fn calls_of_an_earlier_control_are_told_and_counted_out() {
    let mut bench = Bench::new();
    let handles = [1, 2].map(|index| Handle { engine: 0, worker: 0, index, generation: 4 });
    let found: Vec<_> = handles
        .iter()
        .map(|&handle| Installed {
            handle,
            context: ContextId(77),
            local_rtp: addr("192.0.2.1:30000"),
            latched_rtp: tandem_wire::addr::SockAddr::NONE,
            latched_rtcp: tandem_wire::addr::SockAddr::NONE,
        })
        .collect();
    for (leg, handle) in (0..).zip(handles) {
        let counters = TerminationCounters { leg, ..figures(handle, 50, 0) };
        bench.link.state().counters.insert(handle, counters);
    }
    let attached = LinkEvent::Attached {
        info: crate::link::EngineInfo::default(),
        reinstalled: 0,
        found,
        outage: Duration::ZERO,
    };
    bench.link.state().events.push_back(attached);
    let events = bench.media.handle_link(NOW);
    let Some(MediaEvent::Found { call, legs }) = events.get(1) else { panic!("{events:?}") };
    assert_eq!(*call, CallKey(77));
    let said: Vec<_> =
        legs.iter().map(|l| (l.leg.as_str(), l.codec.as_deref(), l.rx_packets)).collect();
    assert_eq!(said, [("caller", Some("PCMU/8000"), 50), ("callee", Some("PCMU/8000"), 50)]);

    for handle in handles {
        bench.link.state().counters.insert(handle, figures(handle, 60, 0));
        bench.link.state().events.push_back(LinkEvent::Ended {
            handle,
            context: ContextId(77),
            cause: tandem_contract::event::EndCause::LeaseExpired,
        });
    }
    let events = bench.media.handle_link(NOW);
    let [MediaEvent::FoundEnded { call: CallKey(77), legs }] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(legs.iter().all(|leg| leg.rx_packets == 60));
}

#[test]
fn a_found_call_whose_end_overtook_the_news_of_it_is_counted_out() {
    let mut bench = Bench::new();
    let handle = Handle { engine: 0, worker: 0, index: 1, generation: 4 };
    let last = TerminationCounters { alive: 0, ..figures(handle, 50, 0) };
    bench.link.state().counters.insert(handle, last);
    let none = tandem_wire::addr::SockAddr::NONE;
    let context = ContextId(77);
    bench.link.state().events.push_back(LinkEvent::Attached {
        info: crate::link::EngineInfo::default(),
        reinstalled: 0,
        found: vec![Installed {
            handle,
            context,
            local_rtp: none,
            latched_rtp: none,
            latched_rtcp: none,
        }],
        outage: Duration::ZERO,
    });
    let events = bench.media.handle_link(NOW);
    let Some(MediaEvent::FoundEnded { call: CallKey(77), legs }) = events.last() else {
        panic!("{events:?}")
    };
    assert_eq!(legs[0].rx_packets, 50);
    assert!(bench.media.found.is_empty() && bench.link.state().counters.is_empty());
}

#[test]
fn a_call_that_ended_while_no_control_was_there_is_counted_out_of_the_tables() {
    let mut bench = Bench::new();
    let last = |index: u32, leg: u8, context: u64| TerminationCounters {
        alive: 0,
        leg,
        context: ContextId(context),
        ..figures(Handle { engine: 0, worker: 0, index, generation: 4 }, 50 + u64::from(index), 0)
    };
    for counters in [last(1, 0, 77), last(2, 1, 77), last(3, 0, 78)] {
        bench.link.state().counters.insert(counters.handle, counters);
    }
    let attached = || LinkEvent::Attached {
        info: crate::link::EngineInfo::default(),
        reinstalled: 0,
        found: Vec::new(),
        outage: Duration::ZERO,
    };
    bench.link.state().events.push_back(attached());
    let told: Vec<_> = bench
        .media
        .handle_link(NOW)
        .into_iter()
        .filter_map(|event| match event {
            MediaEvent::FoundEnded { call, legs } => {
                Some((call.0, legs.iter().map(|leg| leg.rx_packets).collect::<Vec<_>>()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [(77, vec![51, 52]), (78, vec![53])]);
    assert!(bench.media.found.is_empty());
    // Later engines leave calls of our own.
    let own = last(4, 0, 79);
    bench.link.state().counters.insert(own.handle, own);
    bench.link.state().events.push_back(attached());
    assert_eq!(bench.media.handle_link(NOW).len(), 1);
}

#[test]
fn the_engine_s_figures_are_summed_by_reason() {
    let mut worker = tandem_contract::counters::WorkerCounters {
        received: 10,
        forwarded: 6,
        residence_p99_ns: 5_000,
        port: tandem_contract::counters::PortLosses {
            overflowed: 7,
            stale: u64::MAX,
            ..Default::default()
        },
        ..Default::default()
    };
    worker.dropped[tandem_contract::reason::DropReason::NotRtp as usize] = 4;
    let view = view::engine_view(Some(crate::link::EngineInfo::default()), &[worker, worker], 2);
    assert_eq!((view.received, view.forwarded, view.workers), (20, 12, 2));
    assert_eq!(view.dropped.into_iter().collect::<Vec<_>>(), [("not_rtp".to_owned(), 8)]);
    let losses = view.port_losses;
    assert_eq!((losses.overflowed, losses.starved, losses.stale), (14, 0, u64::MAX));
    assert_eq!((view.residence.p99_ns, view.restarts, view.attached), (5_000, 2, true));
    let most = tandem_contract::counters::WorkerCounters {
        received: u64::MAX,
        absorbed: [u64::MAX; 8],
        dropped: [u64::MAX; tandem_contract::counters::REASON_SLOTS],
        ..Default::default()
    };
    let view = view::engine_view(None, &[most, most], 0);
    assert_eq!(
        (view.received, view.absorbed, view.dropped["not_rtp"]),
        (u64::MAX, u64::MAX, u64::MAX)
    );
}

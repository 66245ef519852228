//! What lives on when the daemon is killed.

use super::*;
use crate::link::{EngineInfo, Installed, LinkEvent};
use tandem_contract::counters::TerminationCounters;
use tandem_contract::event::EndCause;
use tandem_contract::measure::Measurement;
use tandem_wire::addr::SockAddr;

#[test]
fn registrations_survive() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.advance(Duration::from_secs(100));
    bench.restart();
    assert_eq!(bench.switch.world.registrar.len(), 1);
    bench.invite(ALICE, "bob");
    bench.phones[BOB].request(Method::Invite);
}

#[test]
fn registrations_of_users_who_went_meanwhile_do_not() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.users.replace(Vec::new(), 1);
    bench.restart();
    assert!(bench.switch.world.registrar.is_empty());
    bench.users.replace(users(), 2);
    bench.restart();
    assert!(bench.switch.world.registrar.is_empty(), "it was journalled");
}

#[test]
fn a_phone_with_a_reg_id_is_known_again_at_another_address() {
    let mut bench = Bench::new();
    let contact =
        |address: &str| format!("<sip:bob@{address}>;+sip.instance=\"<urn:uuid:1>\";reg-id=1");
    bench.register_with(BOB, &[("Contact", &contact("10.0.0.7:5060"))], 200);
    bench.advance(Duration::from_secs(1));
    bench.restart();
    let ok = bench.register_with(BOB, &[("Contact", &contact("10.0.0.8:5060"))], 200);
    assert_eq!(ok.values(Header::Contact).count(), 1);
    assert_eq!(bench.switch.world.registrar.len(), 1);
}

#[test]
fn a_call_that_the_engine_relays_gets_its_record_when_its_lease_is_over() {
    let mut bench = Bench::new();
    let _ = bench.established();
    bench.advance(Duration::from_secs(20));
    let installed: Vec<Installed> = {
        let state = bench.link.state();
        let all = state.put.iter().map(|(handle, spec)| Installed {
            handle: *handle,
            context: spec.context,
            local_rtp: SockAddr::NONE,
            latched_rtp: SockAddr::NONE,
            latched_rtcp: SockAddr::NONE,
        });
        all.collect()
    };
    bench.restart();
    bench.link.state().events.push_back(LinkEvent::Attached {
        info: EngineInfo::default(),
        reinstalled: 0,
        found: installed.clone(),
        outage: Duration::ZERO,
    });
    bench.switch.handle_engine();
    bench.advance(Duration::from_secs(15));
    assert_eq!(bench.switch.recovery.len(), 1, "its media goes on");
    for it in installed {
        let cause = EndCause::LeaseExpired;
        let ended = LinkEvent::Ended { handle: it.handle, context: it.context, cause };
        bench.link.state().events.push_back(ended);
    }
    bench.switch.handle_engine();
    assert_eq!(bench.switch.recovery.len(), 0);
    bench.pump();
    for who in [ALICE, BOB] {
        let (tx, dialog, bye) = bench.phones[who].request(Method::Bye);
        assert!(dialog.is_some(), "in the dialog that the phone knows");
        assert!(bye.reasons().next().is_some());
        bench.respond(who, tx, Reply::new(200));
    }
    let record = bench.only_record();
    assert!(record.recovered);
    assert_eq!(record.cause.text, "tandem restarted");
    assert!(record.duration_ms.unwrap() >= 35_000, "{record:?}");
}

#[test]
fn a_call_that_no_engine_knows_gets_a_record_without_a_guess() {
    let mut bench = Bench::new();
    let _ = bench.established();
    bench.restart();
    bench.advance(Duration::from_secs(9));
    assert_eq!(bench.switch.recovery.len(), 1);
    bench.advance(Duration::from_secs(2));
    let record = bench.only_record();
    assert_eq!((record.recovered, record.duration_ms), (true, None));
    assert!(record.answered_at.is_some());
}

#[test]
fn a_call_of_whose_end_the_engine_says_nothing_gets_its_record_after_its_lease() {
    let mut bench = Bench::new();
    let _ = bench.established();
    let (handle, context) = {
        let state = bench.link.state();
        let (handle, spec) = state.put.iter().next().unwrap();
        (*handle, spec.context)
    };
    bench.restart();
    let (local_rtp, latched_rtp, latched_rtcp) = (SockAddr::NONE, SockAddr::NONE, SockAddr::NONE);
    bench.link.state().events.push_back(LinkEvent::Attached {
        info: EngineInfo::default(),
        reinstalled: 0,
        found: vec![Installed { handle, context, local_rtp, latched_rtp, latched_rtcp }],
        outage: Duration::ZERO,
    });
    bench.switch.handle_engine();
    let lease = Duration::from_millis(bench.config.media.lease_ms.into());
    bench.advance(lease + Duration::from_secs(9));
    assert_eq!(bench.switch.recovery.len(), 1);
    bench.advance(Duration::from_secs(2));
    assert!(bench.switch.recovery.is_empty());
    assert!(bench.only_record().recovered);
    assert!(bench.link.state().subtracted.contains(&handle));
}

#[test]
fn a_call_that_ended_before_the_restart_keeps_its_figures() {
    let mut bench = Bench::new();
    let _ = bench.established();
    {
        let mut state = bench.link.state();
        let put = std::mem::take(&mut state.put);
        state.counters = put
            .into_iter()
            .map(|(handle, spec)| {
                let rx = Measurement { packets: 7, expected: 7, ..Measurement::default() };
                let (leg, context) = (spec.leg, spec.context);
                (handle, TerminationCounters { handle, leg, context, rx, ..Default::default() })
            })
            .collect();
    }
    bench.restart();
    bench.link.state().events.push_back(LinkEvent::Attached {
        info: EngineInfo::default(),
        reinstalled: 0,
        found: Vec::new(),
        outage: Duration::ZERO,
    });
    bench.switch.handle_engine();
    assert!(bench.switch.recovery.is_empty());
    let record = bench.only_record();
    assert_eq!((record.recovered, record.duration_ms), (true, None), "nobody saw its end");
    let legs: Vec<_> = record.legs.iter().map(|it| (it.leg.as_str(), it.rx_packets)).collect();
    assert_eq!(legs, [("caller", 7), ("callee", 7)]);
}

#[test]
fn a_call_that_rang_gets_a_record_too() {
    let mut bench = Bench::new();
    bench.register(BOB);
    bench.invite(ALICE, "bob");
    bench.restart();
    bench.advance(Duration::from_secs(11));
    let record = bench.only_record();
    assert_eq!((record.recovered, record.answered_at), (true, None));
    assert_eq!(record.cause.sip_status, 500);
}

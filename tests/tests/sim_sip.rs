//! SIP stacks on a network that loses, doubles, delays and reorders, in virtual time.
//!
//! Each scenario runs for many seeds, over UDP with faults and over TCP with delays. Whatever
//! happens on the way: both ends agree at the end, and no transaction, dialog or timer is left.
//! `TANDEM_SEED=n` runs one seed alone, `TANDEM_SEEDS=n` that many of them.

#[path = "sim_sip/party.rs"]
mod party;
#[path = "sim_sip/world.rs"]
mod world;

use party::{Do, Habits};
use tandem_signalling::stack::{DialogEnd, DialogState, Transport};
use world::{Faults, World, address};

const CALLER: usize = 0;
const CALLEE: usize = 1;

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("TANDEM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TANDEM_SEEDS").unwrap_or(150),
    }
}

/// Runs a scenario for every seed over both transports, then hangs up what is left, and checks
/// that nothing remains.
fn explore(parties: usize, faults: Faults, scenario: impl Fn(&mut World)) {
    for seed in seeds() {
        for transport in [Transport::Udp, Transport::Tcp] {
            let mut world = World::new(seed, transport, faults, parties);
            scenario(&mut world);
            finish(&mut world);
        }
    }
}

fn finish(world: &mut World) {
    for party in 0..world.parties.len() {
        world.plan(party, 0, Do::HangUp);
    }
    world.run_for(1_000);
    for (number, party) in world.parties.iter().enumerate() {
        assert!(party.dialogs.is_empty(), "{number} still has a dialog: {:?}", party.seen);
        assert!(party.stack.is_idle(), "{number} is not idle: {:?}", party.stack.counters());
    }
}

/// The callee rings after `ring_ms` and answers with `status` so much later.
fn answers(world: &mut World, callee: usize, ring_ms: u64, answer_ms: u64, status: u16) {
    world.parties[callee].habits.responses = vec![(ring_ms, 180), (ring_ms + answer_ms, status)];
}

fn call(world: &mut World) {
    world.plan(CALLER, 0, Do::Call(address(CALLEE)));
}

/// A call that is up at both ends.
fn call_is_up(world: &mut World) {
    answers(world, CALLEE, 100, 500, 200);
    call(world);
    world.run_for(40);
    assert_eq!(world.parties[CALLER].seen.status, Some(200));
    assert_eq!(world.parties[CALLEE].seen.acknowledged, 1);
}

fn assert_same_session(world: &World) {
    let [caller, callee] = &world.parties[..] else { panic!("two parties") };
    assert_eq!(caller.session, callee.session);
    for party in [caller, callee] {
        assert_eq!(party.dialogs.len(), 1);
        let dialog = party.stack.dialog(party.dialogs[0]).unwrap();
        assert_eq!(dialog.state(), DialogState::Confirmed);
        assert!(!dialog.invite_in_progress());
    }
}

#[test]
fn a_call_is_set_up_and_the_caller_hangs_up() {
    explore(2, Faults::HARSH, |world| {
        let (ring, answer) = (world.rng.between(0, 3_000), world.rng.between(0, 5_000));
        answers(world, CALLEE, ring, answer, 200);
        // The BYE may come before the ACK (RFC 5407 §3.1.6).
        world.parties[CALLER].habits.hang_up_after_ms = Some(world.rng.between(0, 5_000));
        call(world);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.status, caller.seen.answered), (Some(200), 1));
        assert_eq!(caller.seen.ends, [DialogEnd::ByeSent]);
        assert_eq!((callee.seen.invites, callee.seen.byes_in), (1, 1));
        assert_eq!(callee.seen.ends, [DialogEnd::ByeReceived]);
        assert_eq!((caller.seen.timed_out, callee.seen.ack_timeouts), (0, 0));
    });
}

#[test]
fn reliable_provisional_responses_come_once_in_order_and_before_the_200() {
    explore(2, Faults::HARSH, |world| {
        let habits = &mut world.parties[CALLEE].habits;
        habits.reliable = true;
        let mut at = 0;
        for status in [180, 183, 182, 200] {
            habits.responses.push((at, status));
            at += world.rng.between(0, 2_000);
        }
        call(world);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.status, callee.seen.acknowledged), (Some(200), 1));
        assert_eq!((caller.seen.timed_out, callee.seen.prack_timeouts), (0, 0));
        assert_eq!(caller.seen.provisional, [180, 183, 182]);
        assert_eq!(callee.seen.pracks_in, 3);
        assert_same_session(world);
    });
}

#[test]
fn a_cancel_crosses_reliable_provisional_responses() {
    explore(2, Faults::HARSH, |world| {
        world.parties[CALLEE].habits.reliable = true;
        answers(world, CALLEE, 100, 1_900, 200);
        let cancel = world.rng.between(0, 2_500);
        call(world);
        world.plan(CALLER, cancel, Do::Cancel);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert!(matches!(caller.seen.status, Some(487 | 200)), "{:?}", caller.seen);
        assert_eq!(callee.seen.prack_timeouts, 0);
    });
}

#[test]
fn the_callee_hangs_up() {
    explore(2, Faults::HARSH, |world| {
        answers(world, CALLEE, 50, 200, 200);
        world.parties[CALLEE].habits.hang_up_after_ms = Some(world.rng.between(0, 5_000));
        call(world);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((callee.seen.acknowledged, caller.seen.byes_in), (1, 1));
        assert_eq!(caller.seen.ends, [DialogEnd::ByeReceived]);
        assert_eq!(callee.seen.ends, [DialogEnd::ByeSent]);
    });
}

#[test]
fn a_bye_of_the_callee_waits_for_the_ack_of_its_2xx() {
    explore(2, Faults::HARSH, |world| {
        world.parties[CALLEE].habits.responses = vec![(100, 200)];
        call(world);
        world.run_for(1);
        let at = world.rng.between(0, 1_000);
        world.plan(CALLEE, at, Do::HangUp);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.status, callee.seen.ack_timeouts), (Some(200), 0));
        if callee.seen.ends == [DialogEnd::ByeSent] {
            assert_eq!(callee.seen.acknowledged, 1);
            assert_eq!(caller.seen.ends, [DialogEnd::ByeReceived]);
        }
    });
}

#[test]
fn a_busy_callee_ends_the_attempt_at_both_ends() {
    explore(2, Faults::HARSH, |world| {
        let (ring, answer) = (world.rng.between(0, 1_000), world.rng.between(0, 2_000));
        answers(world, CALLEE, ring, answer, 486);
        call(world);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!(caller.seen.status, Some(486));
        assert_eq!((callee.seen.invites, callee.seen.response_failures), (1, 0));
        assert_eq!(callee.seen.ends, [DialogEnd::InviteFailed]);
    });
}

#[test]
fn cancel_and_200_cross() {
    explore(2, Faults::HARSH, |world| {
        answers(world, CALLEE, 100, 1_900, 200);
        let cancel = world.rng.between(1_500, 2_500);
        call(world);
        world.plan(CALLER, cancel, Do::Cancel);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        // Both ends agree on whether there was a call.
        match caller.seen.status {
            Some(487) => assert_eq!((callee.seen.cancelled, &callee.session), (1, &None)),
            Some(200) => {
                assert_eq!(callee.session.as_deref(), Some("first"));
                assert_eq!(caller.seen.ends, [DialogEnd::ByeSent]);
                assert_eq!(callee.seen.ends, [DialogEnd::ByeReceived]);
            }
            other => panic!("neither cancelled nor answered: {other:?}"),
        }
    });
}

#[test]
fn a_cancel_waits_for_the_first_provisional_response() {
    explore(2, Faults::HARSH, |world| {
        // Nothing but the stack's own 100 Trying comes back.
        call(world);
        world.plan(CALLER, 0, Do::Cancel);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.status, callee.seen.cancelled), (Some(487), 1));
        assert!(caller.seen.ends.is_empty() && callee.seen.ends.is_empty());
    });
}

#[test]
fn both_ends_hang_up_at_once() {
    explore(2, Faults::HARSH, |world| {
        call_is_up(world);
        for party in [CALLER, CALLEE] {
            let at = world.rng.between(0, 300);
            world.plan(party, at, Do::HangUp);
        }
        world.run_for(200);
        for party in &world.parties {
            assert_eq!(party.seen.ends.len(), 1);
            assert_eq!(party.seen.timed_out, 0);
        }
    });
}

#[test]
fn a_bye_in_an_early_dialog_crosses_the_200() {
    explore(2, Faults::HARSH, |world| {
        answers(world, CALLEE, 0, 3_000, 200);
        call(world);
        let at = world.rng.between(2_000, 4_000);
        world.plan(CALLER, at, Do::HangUp);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.timed_out, callee.seen.ack_timeouts), (0, 0));
        assert_eq!(callee.seen.response_failures, 0);
        if caller.seen.ends == [DialogEnd::ByeSent] {
            assert_eq!(callee.seen.ends, [DialogEnd::ByeReceived]);
        }
    });
}

#[test]
fn re_invites_of_both_ends_cross() {
    explore(2, Faults::HARSH, |world| {
        call_is_up(world);
        for party in [CALLER, CALLEE] {
            let at = world.rng.between(0, 600);
            world.plan(party, at, Do::Reinvite(format!("by {party}")));
        }
        world.run_for(300);
        for party in &world.parties {
            assert_eq!(party.seen.reinvites_done, 1, "each offer is taken in the end");
        }
        assert_same_session(world);
    });
}

#[test]
fn crossing_re_invites_do_meet() {
    // Without faults and at the same moment, both get 491 and try again at different times.
    let mut world = World::new(1, Transport::Udp, Faults::NONE, 2);
    call_is_up(&mut world);
    world.plan(CALLER, 0, Do::Reinvite("by caller".to_owned()));
    world.plan(CALLEE, 0, Do::Reinvite("by callee".to_owned()));
    world.run_for(30);
    for party in &world.parties {
        assert_eq!((party.seen.glares, party.seen.reinvites_done), (1, 1));
    }
    // The owner of the Call-ID waits longer, so its offer comes last.
    assert_eq!(world.parties[CALLEE].session.as_deref(), Some("by caller"));
    assert_same_session(&world);
    finish(&mut world);
}

#[test]
fn a_re_invite_overtakes_a_lost_ack() {
    explore(2, Faults::HARSH, |world| {
        let mut lost = 0;
        world.censor = Some(Box::new(move |bytes| {
            lost += u32::from(bytes.starts_with(b"ACK"));
            bytes.starts_with(b"ACK") && lost <= 3
        }));
        answers(world, CALLEE, 0, 500, 200);
        world.parties[CALLER].habits.reinvite_after_ms = Some(world.rng.between(0, 1_000));
        call(world);
        world.run_for(200);
        assert_eq!(world.parties[CALLER].seen.reinvites_done, 1);
        assert_eq!(world.parties[CALLEE].seen.ack_timeouts, 0);
        assert_same_session(world);
    });
}

#[test]
fn a_2xx_that_is_never_acknowledged_ends_in_a_bye() {
    explore(2, Faults::HARSH, |world| {
        world.censor = Some(Box::new(|bytes| bytes.starts_with(b"ACK")));
        answers(world, CALLEE, 0, 500, 200);
        call(world);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((callee.seen.ack_timeouts, callee.seen.acknowledged), (1, 0));
        assert_eq!(caller.seen.byes_in, 1);
        assert_eq!(caller.seen.ends, [DialogEnd::ByeReceived]);
        assert_eq!(callee.seen.ends, [DialogEnd::ByeSent]);
    });
}

#[test]
fn a_re_invite_crosses_a_bye() {
    explore(2, Faults::HARSH, |world| {
        call_is_up(world);
        let (bye, offer) = (world.rng.between(0, 500), world.rng.between(0, 500));
        world.plan(CALLER, bye, Do::HangUp);
        world.plan(CALLEE, offer, Do::Reinvite("late".to_owned()));
        world.run_for(200);
        for party in &world.parties {
            assert_eq!((party.seen.ends.len(), party.seen.timed_out), (1, 0));
            assert_eq!(party.seen.ack_timeouts, 0);
        }
    });
}

#[test]
fn a_200_to_a_re_invite_crosses_a_bye_of_its_receiver() {
    explore(2, Faults::HARSH, |world| {
        call_is_up(world);
        // The one who offered hangs up while the 200 is on its way; it still gets its ACK.
        let at = world.rng.between(0, 900);
        world.plan(CALLER, 0, Do::Reinvite("second".to_owned()));
        world.plan(CALLER, at, Do::HangUp);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!(caller.seen.ends, [DialogEnd::ByeSent]);
        assert_eq!(callee.seen.ends, [DialogEnd::ByeReceived]);
        assert_eq!(callee.seen.ack_timeouts, 0);
    });
}

#[test]
fn a_request_in_the_dialog_crosses_a_bye() {
    explore(2, Faults::HARSH, |world| {
        call_is_up(world);
        let (bye, info) = (world.rng.between(0, 600), world.rng.between(0, 600));
        world.plan(CALLER, bye, Do::HangUp);
        world.plan(CALLEE, info, Do::Info);
        world.run_for(200);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.ends.len(), callee.seen.ends.len()), (1, 1));
        // None: the BYE was there first.
        assert!(matches!(callee.seen.info_status, None | Some(200 | 481)), "{:?}", callee.seen);
    });
}

/// Two callees behind an address that forks.
fn fork(world: &mut World) {
    let proxy = address(9);
    world.fork = Some((proxy, vec![1, 2]));
    world.plan(CALLER, 0, Do::Call(proxy));
}

#[test]
fn two_forks_answer_and_one_of_them_is_hung_up() {
    explore(3, Faults::HARSH, |world| {
        for callee in [1, 2] {
            let (ring, answer) = (world.rng.between(0, 1_000), world.rng.between(0, 1_000));
            answers(world, callee, ring, answer, 200);
        }
        fork(world);
        world.run_for(60);
        let [caller, callees @ ..] = &world.parties[..] else { panic!("three parties") };
        assert_eq!((caller.seen.answered, caller.seen.ends.len()), (2, 1));
        assert_eq!(caller.dialogs.len(), 1);
        let up: Vec<_> = callees.iter().filter(|callee| callee.dialogs.len() == 1).collect();
        assert_eq!(up.len(), 1, "one fork is up, the other was hung up");
        let ours = caller.stack.dialog(caller.dialogs[0]).unwrap();
        let theirs = up[0].stack.dialog(up[0].dialogs[0]).unwrap();
        assert_eq!(ours.remote_tag(), theirs.local_tag());
    });
}

#[test]
fn a_cancelled_fork_ends_everywhere() {
    explore(3, Faults::HARSH, |world| {
        for callee in [1, 2] {
            world.parties[callee].habits.responses = vec![(world.rng.between(0, 500), 180)];
        }
        fork(world);
        let at = world.rng.between(0, 3_000);
        world.plan(CALLER, at, Do::Cancel);
        // A CANCEL that the forking element does not keep may find only one of the callees; the
        // other is told when the caller's INVITE is known to be over.
        world.run_for(60);
        for callee in [1, 2] {
            if world.parties[callee].seen.cancelled == 0 {
                world.plan(callee, 0, Do::Respond(487));
            }
        }
        world.run_for(200);
        assert_eq!(world.parties[CALLER].seen.status, Some(487));
    });
}

#[test]
fn ringing_for_long_is_kept_alive_by_repeated_provisional_responses() {
    explore(2, Faults { most_losses: 1, ..Faults::HARSH }, |world| {
        answers(world, CALLEE, 0, 600_000, 200);
        call(world);
        world.run_for(700);
        assert_eq!(world.parties[CALLER].seen.status, Some(200));
    });
}

#[test]
fn ringing_without_news_is_cancelled_by_timer_c() {
    explore(2, Faults { most_losses: 1, ..Faults::HARSH }, |world| {
        answers(world, CALLEE, 0, 600_000, 200);
        call(world);
        world.run_for(30);
        world.censor = Some(Box::new(|bytes| bytes.starts_with(b"SIP/2.0 180")));
        world.run_for(400);
        let [caller, callee] = &world.parties[..] else { panic!("two parties") };
        assert_eq!((caller.seen.status, callee.seen.cancelled), (Some(487), 1));
    });
}

#[test]
fn nothing_is_left_where_hardly_anything_arrives() {
    explore(2, Faults::HOPELESS, |world| {
        answers(world, CALLEE, 500, 2_000, 200);
        let habits = Habits {
            hang_up_after_ms: Some(world.rng.between(0, 60_000)),
            reinvite_after_ms: Some(world.rng.between(0, 30_000)),
            ..Habits::default()
        };
        world.parties[CALLER].habits = habits;
        world.parties[CALLEE].habits.reinvite_after_ms = Some(world.rng.between(0, 30_000));
        call(world);
        if world.rng.percent(30) {
            let at = world.rng.between(0, 40_000);
            world.plan(CALLER, at, Do::Cancel);
        }
        world.run_for(500);
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut world = World::new(7, Transport::Udp, Faults::HARSH, 2);
        answers(&mut world, CALLEE, 100, 900, 200);
        world.parties[CALLER].habits.hang_up_after_ms = Some(2_000);
        call(&mut world);
        world.run_for(100);
        finish(&mut world);
        world.trace.clone()
    };
    assert_eq!(run(), run());
}

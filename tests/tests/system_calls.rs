//! sipp's calls through the real binaries: every way a basic call can go, and its record.

use tandem_tests::appliance::Script;
use tandem_tests::stage::Stage;

#[test]
fn a_call_is_answered_and_hung_up() {
    let Some(stage) = Stage::set("a_call_is_answered_and_hung_up", &[], "") else { return };
    stage.register_bob(&[]);
    let record = stage.call("uac_call", "uas_answer", &[]);
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
    assert_eq!(record["cause"]["by"], "caller");
    let duration = record["duration_ms"].as_u64().unwrap();
    assert!((1900..2400).contains(&duration), "{record}");
    let ring = record["ring_ms"].as_u64().unwrap();
    assert!((250..900).contains(&ring), "{record}");
    assert!(record["from"].as_str().unwrap().contains("alice"));
    assert!(record["to"].as_str().unwrap().contains("bob"));
    stage.no_call_is_left();
}

#[test]
fn the_same_over_tcp() {
    let Some(stage) = Stage::set("the_same_over_tcp", &[], "") else { return };
    stage.register_bob(&["-t", "t1"]);
    let record = stage.call("uac_call", "uas_answer", &["-t", "t1"]);
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
}

#[test]
fn a_busy_phone_gives_486() {
    let Some(stage) = Stage::set("a_busy_phone_gives_486", &[], "") else { return };
    stage.register_bob(&[]);
    let record = stage.call("uac_busy", "uas_busy", &[]);
    assert_eq!(record["cause"]["sip_status"], 486, "{record}");
    assert!(record["duration_ms"].is_null());
    stage.no_call_is_left();
}

#[test]
fn a_cancelled_call_stops_ringing() {
    let Some(stage) = Stage::set("a_cancelled_call_stops_ringing", &[], "") else { return };
    stage.register_bob(&[]);
    let record = stage.call("uac_cancel", "uas_ring", &[]);
    assert_eq!(record["cause"]["sip_status"], 487, "{record}");
    assert_eq!(record["cause"]["by"], "caller");
    stage.no_call_is_left();
}

#[test]
fn an_unanswered_call_ends_with_480() {
    let config = "[call]\nno_answer_s = 3\n";
    let Some(stage) = Stage::set("an_unanswered_call_ends_with_480", &[], config) else { return };
    stage.register_bob(&[]);
    let record = stage.call("uac_unavailable", "uas_ring", &[]);
    assert_eq!(record["cause"]["sip_status"], 480, "{record}");
    assert_eq!(record["cause"]["by"], "tandem");
    stage.no_call_is_left();
}

#[test]
fn hold_and_resume_pass_through() {
    let Some(stage) = Stage::set("hold_and_resume_pass_through", &[], "") else { return };
    stage.register_bob(&[]);
    let record = stage.call("uac_reinvite", "uas_reinvite", &[]);
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
    stage.no_call_is_left();
}

#[test]
fn an_unregistered_phone_is_not_reached() {
    let Some(stage) = Stage::set("an_unregistered_phone_is_not_reached", &[], "") else { return };
    stage.register_bob(&[]);
    assert_eq!(stage.registrations().len(), 1);
    stage.bob("unregister", &[]).finish().unwrap();
    assert!(stage.registrations().is_empty());
    stage.alice("uac_unavailable", &[]).finish().unwrap();
}

#[test]
fn a_number_that_nobody_has_gives_404() {
    let Some(stage) = Stage::set("a_number_that_nobody_has_gives_404", &[], "") else { return };
    stage.sipp(1, "uac_not_found", "alice", "nobody", &[]).finish().unwrap();
}

#[test]
fn a_wrong_password_never_registers() {
    let Some(stage) = Stage::set("a_wrong_password_never_registers", &[], "") else { return };
    stage.bob("register_refused", &["-ap", "wrong"]).finish().unwrap();
    assert!(stage.registrations().is_empty());
}

#[test]
fn an_offer_without_an_allowed_codec_gives_488() {
    let config = "[media]\ncodecs = [\"opus\"]\n";
    let name = "an_offer_without_an_allowed_codec_gives_488";
    let Some(stage) = Stage::set(name, &[], config) else { return };
    stage.register_bob(&[]);
    let calling = stage.run(Script {
        client: 1,
        scenario: "uac_not_found",
        me: "alice",
        to: "bob",
        edits: &[("response=\"404\"", "response=\"488\"")],
        ..Script::default()
    });
    calling.finish().unwrap_or_else(|error| panic!("{error}\n{}", stage.appliance.log()));
    assert_eq!(stage.record()["cause"]["sip_status"], 488);
}

//! sipp with 100rel, UPDATE and session timers through the real binaries, and a phone that is gone.

use tandem_tests::stage::Stage;

/// Sessions of seconds, so that a test sees several refreshes.
const SHORT: &str = "t1_ms = 100\n[call]\nsession_expires_s = 4\nmin_se_s = 4\n";

fn config() -> String {
    // Timer T1 belongs to the section that the common configuration begins with.
    let common = tandem_tests::appliance::Appliance::config("");
    let (t1, call) = SHORT.split_once('\n').unwrap();
    common.replace("[engine]", &format!("{t1}\n[engine]")) + call
}

#[test]
fn early_media_is_acknowledged_and_sessions_are_refreshed_on_both_legs() {
    let test = "early_media_is_acknowledged_and_sessions_are_refreshed_on_both_legs";
    let Some(stage) = Stage::set_config(test, &[], &config()) else { return };
    stage.register_bob(&[]);
    let record = stage.call("uac_extensions", "uas_extensions", &[]);
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
    assert_eq!(record["cause"]["by"], "caller");
    let duration = record["duration_ms"].as_u64().unwrap();
    assert!((6_000..7_500).contains(&duration), "{record}");
    stage.no_call_is_left();
}

#[test]
fn a_phone_that_is_gone_is_found_out() {
    let Some(stage) = Stage::set_config("a_phone_that_is_gone_is_found_out", &[], &config()) else {
        return;
    };
    stage.register_bob(&[]);
    let called = stage.bob("uas_vanish", &[]);
    // Neither keeps session timers: OPTIONS asks for a sign of life, which Alice's side gives.
    let calling = stage.alice("uac_left", &["-aa"]);
    let record = stage.finish(called, calling);
    let text = record["cause"]["text"].as_str().unwrap();
    assert_eq!(text, "the callee does not answer any more", "{record}");
    let duration = record["duration_ms"].as_u64().unwrap();
    assert!((1_900..10_000).contains(&duration), "{record}");
    stage.no_call_is_left();
}

//! What signals do to the running daemon: SIGHUP reads the configuration again, SIGTERM drains.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use tandem_tests::appliance::{Appliance, Script};
use tandem_tests::process::wait_for;
use tandem_tests::stage::Stage;

fn file(stage: &Stage) -> PathBuf {
    stage.path().join("tandem.toml")
}

/// Writes the configuration anew, asks for it to be read, and waits until the log says `told`.
fn reload(stage: &mut Stage, config: &str, told: &str) {
    std::fs::write(file(stage), config).unwrap();
    stage.appliance.process().signal("HUP");
    let said = || stage.appliance.log().contains(told).then_some(());
    wait_for(Duration::from_secs(5), said)
        .unwrap_or_else(|| panic!("no {told:?} in\n{}", stage.appliance.log()));
}

#[test]
fn sighup_takes_what_can_change_and_names_the_rest() {
    let name = "sighup_takes_what_can_change_and_names_the_rest";
    let Some(mut stage) = Stage::set(name, &[], "") else { return };
    stage.register_bob(&[]);
    reload(&mut stage, "[call]\nauthenticate = 3\n", "tandem.toml:2:16: call.authenticate");
    // What is not challenged any more needs no credentials.
    let open = Appliance::config("[call]\nauthenticate = false\n[media]\nport_max = 31999\n");
    reload(&mut stage, &open, "until tandem is started again");
    let log = stage.appliance.log();
    assert!(log.contains("changed=\"call.authenticate\""), "{log}");
    assert!(log.contains("keys=\"media.port_max\""), "{log}");
    let record = stage.call("uac_hung_up", "uas_hangup", &[]);
    assert_eq!(record["cause"]["by"], "callee", "{record}");
}

/// A caller who is told that no calls are taken.
const REFUSED: &[(&str, &str)] = &[
    ("<recv response=\"407\" auth=\"true\"/>", "<recv response=\"503\"/>"),
    ("<recv response=\"480\"/>", "<recv response=\"503\"/>"),
    ("[authentication]\n", ""),
];

/// Sends SIGTERM while a call of this scenario is up.
fn terminate(stage: &mut Stage, scenario: &str) -> (tandem_tests::appliance::Sipp, Instant) {
    let bob = stage.bob("uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(300));
    let alice = stage.alice(scenario, &[]);
    let answered = || {
        let frame = stage.appliance.json(&["top", "--once"]).ok()?;
        (frame["calls_answered"] == 1).then_some(())
    };
    wait_for(Duration::from_secs(5), answered).expect("a call that is up");
    stage.appliance.process().signal("TERM");
    let since = Instant::now();
    let more = Script {
        client: 1,
        scenario: "uac_unavailable",
        me: "alice",
        to: "bob",
        edits: REFUSED,
        options: &["-p", "5077"],
        ..Script::default()
    };
    if scenario == "uac_call" {
        stage.run(more).finish().unwrap_or_else(|error| panic!("{error}"));
        assert!(stage.appliance.process().is_running(), "the call goes on");
    }
    alice.finish().unwrap_or_else(|error| panic!("{error}\n{}", stage.appliance.log()));
    (bob, since)
}

#[test]
fn sigterm_lets_calls_end_and_takes_no_new_ones() {
    let name = "sigterm_lets_calls_end_and_takes_no_new_ones";
    let Some(mut stage) = Stage::set(name, &[], "[call]\ndrain_s = 20\n") else { return };
    stage.register_bob(&[]);
    let (bob, since) = terminate(&mut stage, "uac_call");
    bob.finish().unwrap_or_else(|error| panic!("{error}"));
    stage.appliance.process().wait(Duration::from_secs(3)).unwrap();
    assert!(since.elapsed() < Duration::from_secs(8), "nobody waited for the whole time");
    let record = stage.record();
    assert_eq!(record["cause"]["by"], "caller", "{record}");
    assert!(record["duration_ms"].as_u64().is_some_and(|ms| ms >= 1_900), "{record}");
}

#[test]
fn sigterm_ends_calls_that_had_their_time() {
    let name = "sigterm_ends_calls_that_had_their_time";
    for (drain_s, again) in [(1, false), (60, true)] {
        let config = format!("[call]\ndrain_s = {drain_s}\n");
        let Some(mut stage) = Stage::set(name, &[], &config) else { return };
        stage.register_bob(&[]);
        let pid = stage.appliance.process().id();
        let second = std::thread::spawn(move || {
            if again {
                std::thread::sleep(Duration::from_secs(3));
                tandem_tests::process::signal(pid, "TERM");
            }
        });
        let (bob, since) = terminate(&mut stage, "uac_long");
        bob.finish().unwrap_or_else(|error| panic!("{error}"));
        second.join().unwrap();
        let status = stage.appliance.process().wait(Duration::from_secs(4)).unwrap();
        assert!(status.success() && since.elapsed() < Duration::from_secs(8), "{status}");
        let record = stage.record();
        assert_eq!(record["cause"]["text"], "Tandem stops", "{record}");
        assert!(record["duration_ms"].as_u64().is_some_and(|ms| ms >= 900), "{record}");
    }
}

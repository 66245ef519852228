//! Calls over trunks between real daemons: the provider is a Tandem of its own on another host, where
//! we register, and the outside phone is sipp.

use serde_json::Value;
use std::time::Duration;
use tandem_tests::appliance::{Appliance, PASSWORD, Script, Sipp, listing};
use tandem_tests::netns::Net;
use tandem_tests::process::wait_for;
use tandem_tests::rtp_stream::{Impairment, write_pcap};
use tandem_tests::stage::{CLIENT_PORT, Stage};

/// Host of the provider and of the phone out there.
const PROVIDER: usize = 3;
/// Our number at the provider, which is the name of our account too.
const LINE: &str = "+4930301";
/// Number and account of the phone out there.
const OUTSIDE: &str = "+441632960000";
/// How alice dials it.
const DIALLED: &str = "00441632960000";

/// Two daemons.
struct World {
    // Fields end in this order: the provider before the hosts.
    provider: Appliance,
    stage: Stage,
    _folder: tempfile::TempDir,
}

/// What both daemons say of a call.
struct Records {
    ours: Value,
    theirs: Value,
}

impl World {
    /// Both daemons, we registered at the provider, with `trunks` that are tried before it.
    fn set(test: &str, trunks: &str) -> Option<Self> {
        let net = Stage::hosts(test, &[], PROVIDER)?;
        let folder = tempfile::tempdir().unwrap();
        let config = Appliance::config_on(&[&address()], "");
        let provider = Appliance::start(&net.client(PROVIDER), folder.path(), &config)
            .unwrap_or_else(|error| panic!("{error}"));
        provider.add_users(&[LINE, OUTSIDE]).unwrap();
        let config = format!(
            "[numbers]\ncountry_code = \"49\"\n{trunks}\
             [[trunk]]\nname = \"provider\"\npeer = \"sip:{}\"\nregister = true\n\
             username = \"{LINE}\"\npassword = \"{PASSWORD}\"\ncaller_id = \"replace\"\n\
             [[route]]\nprefix = \"+\"\ntrunk = \"provider\"\n",
            address()
        );
        let stage = Stage::on(net, &Appliance::config(&config));
        let world = Self { provider, stage, _folder: folder };
        let done = world.outside("register", OUTSIDE, &[]).finish();
        assert!(done.is_ok(), "{done:?}\n{}", world.provider.log());
        let up = || (world.trunk("provider")["state"] == "up").then_some(());
        wait_for(Duration::from_secs(10), up)
            .unwrap_or_else(|| panic!("{}\n{}", world.trunk("provider"), world.logs()));
        Some(world)
    }

    fn logs(&self) -> String {
        format!("ours:\n{}\nthe provider's:\n{}", self.stage.appliance.log(), self.provider.log())
    }

    fn ask(&self, arguments: &[&str]) -> Value {
        self.stage.appliance.json(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    fn trunk(&self, name: &str) -> Value {
        let trunks = listing(&self.ask(&["trunks"]), "trunks").unwrap();
        trunks.into_iter().find(|trunk| trunk["name"] == name).unwrap()
    }

    /// The trunks that a call of alice is tried over, in order, and what led to it.
    fn route(&self) -> (Vec<String>, Value) {
        let view = self.ask(&["route", DIALLED, "--from", "alice"]);
        let name = |candidate: &Value| candidate["trunk"].as_str().unwrap().to_owned();
        (view["candidates"].as_array().unwrap().iter().map(name).collect(), view)
    }

    /// A scenario of the phone out there.
    fn outside(&self, scenario: &str, to: &str, edits: &[(&str, &str)]) -> Sipp {
        self.stage.run(Script {
            client: PROVIDER,
            scenario,
            me: OUTSIDE,
            to,
            server: Some(&address()),
            edits,
            ..Script::default()
        })
    }

    /// Alice calls the phone out there, which answers; it is the `count`th call of both daemons.
    fn call_out(&self, count: usize) -> Records {
        let called = self.outside("uas_answer", OUTSIDE, &[]);
        std::thread::sleep(Duration::from_millis(300));
        let calling = self.stage.run(Script {
            client: 1,
            scenario: "uac_call",
            me: "alice",
            to: DIALLED,
            edits: &[("<pause milliseconds=\"2000\" />", "<pause milliseconds=\"500\" />")],
            ..Script::default()
        });
        self.finish(called, calling, count)
    }

    fn finish(&self, called: Sipp, calling: Sipp, count: usize) -> Records {
        let (calling, called) = (calling.finish(), called.finish());
        assert!(calling.is_ok() && called.is_ok(), "{calling:?} {called:?}\n{}", self.logs());
        let last = |of: &Appliance| {
            let mut records = of.records(count).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(records.len(), count, "{records:?}");
            records.remove(count - 1)
        };
        Records { ours: last(&self.stage.appliance), theirs: last(&self.provider) }
    }
}

impl Records {
    /// Checks the parties on both sides, and that the call was answered and the caller hung up.
    fn are(&self, ours: [&str; 2], theirs: [&str; 2]) {
        for (record, parties) in [(&self.ours, ours), (&self.theirs, theirs)] {
            assert_eq!([&record["from"], &record["to"]], parties, "{record}");
            let cause = &record["cause"];
            assert_eq!((&cause["sip_status"], &cause["by"]), (&200.into(), &"caller".into()));
        }
        let lasted = |record: &Value| record["duration_ms"].as_u64().unwrap();
        let (ours, theirs) = (lasted(&self.ours), lasted(&self.theirs));
        assert!(ours >= 400 && ours.abs_diff(theirs) < 200, "{ours} and {theirs} ms");
    }
}

fn address() -> String {
    format!("{}:5060", Net::client_ip(PROVIDER))
}

fn aor(number: &str) -> String {
    format!("sip:{number}@tandem")
}

/// Checks that every packet of the caller came in and went out.
fn is_relayed(record: &Value, sent: u64) {
    let legs = record["legs"].as_array().unwrap();
    let leg = |name| legs.iter().find(|leg| leg["leg"] == name).unwrap();
    assert_eq!(leg("caller")["rx_packets"], sent, "{record}");
    assert_eq!(leg("caller")["lost"], 0, "{record}");
    assert_eq!(leg("callee")["tx_packets"], sent, "{record}");
}

#[test]
fn a_registered_line_takes_calls_in_both_directions() {
    let name = "a_registered_line_takes_calls_in_both_directions";
    let Some(mut world) = World::set(name, "") else { return };
    let provider = world.trunk("provider");
    assert!((1..=600).contains(&provider["registered_for_s"].as_u64().unwrap()), "{provider}");
    // Out: the provider lets nobody call without a password, and not under another name.
    let out = world.call_out(1);
    out.are(["sip:alice@tandem", &aor(OUTSIDE)], [&aor(LINE), &aor(OUTSIDE)]);
    let ladder = world.stage.appliance.tandem(&["trace", out.ours["id"].as_str().unwrap()]);
    assert!(ladder.as_ref().is_ok_and(|it| it.matches("407").count() >= 2), "{ladder:?}");

    // In: the line's number is bob's, and nothing from outside goes out again.
    let add = ["user", "add", "bob", "--password", PASSWORD, "--number", LINE];
    world.stage.appliance.tandem(&add).unwrap();
    world.stage.register_bob(&[]);
    let view = world.ask(&["route", LINE, "--from", "trunk:provider"]);
    assert_eq!((&view["outcome"], &view["user"]), (&"user".into(), &"bob".into()), "{view}");
    let view = world.ask(&["route", OUTSIDE, "--from", "trunk:provider"]);
    assert_eq!((&view["outcome"], &view["status"]), (&"nobody".into(), &404.into()), "{view}");
    let stream =
        Impairment { seed: 3, packets: 50, loss_permille: 0, reorder_permille: 0, jitter_us: 0 };
    let sent = write_pcap(&world.stage.path().join("stream.pcap"), stream).unwrap().sent;
    let bob = world.stage.bob("uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(300));
    let shorter = ("<pause milliseconds=\"14000\"/>", "<pause milliseconds=\"2000\"/>");
    let calling = world.outside("uac_play", LINE, &[shorter]);
    let into = world.finish(bob, calling, 2);
    into.are([&aor(OUTSIDE), "sip:bob@tandem"], [&aor(OUTSIDE), &aor(LINE)]);
    is_relayed(&into.theirs, sent);
    is_relayed(&into.ours, sent);

    let provider = world.trunk("provider");
    let counted = ["calls", "calls_out", "answered_out", "calls_in", "failed_over"];
    assert_eq!(counted.map(|key| provider[key].as_u64().unwrap()), [0, 1, 1, 1, 0], "{provider}");
    world.stage.no_call_is_left();
    // Who stops takes his registration back; that of the phone out there stays.
    world.stage.appliance.process().signal("TERM");
    let left = || listing(&world.provider.json(&["registrations"]).ok()?, "registrations");
    wait_for(Duration::from_secs(5), || left().filter(|it| it.len() == 1))
        .unwrap_or_else(|| panic!("{:?}\n{}", left(), world.logs()));
}

#[test]
fn a_dead_trunk_and_one_that_answers_503_are_passed_over() {
    let name = "a_dead_trunk_and_one_that_answers_503_are_passed_over";
    // Nobody is at the first address; a phone that serves nobody is at the second.
    let peers = [("dead", "10.77.2.9".into()), ("sick", Net::client_ip(2))];
    let trunks: String = { peers.iter().enumerate() }
        .map(|(at, (name, ip))| {
            format!(
                "[[trunk]]\nname = \"{name}\"\npeer = \"sip:{ip}:{CLIENT_PORT}\"\nanswer_within_s = 1\n\
                 [[route]]\nprefix = \"+\"\ntrunk = \"{name}\"\npriority = {}\n",
                at + 1
            )
        })
        .collect();
    let Some(world) = World::set(name, &trunks) else { return };
    assert_eq!(world.route().0, ["dead", "sick", "provider"]);
    let sick = world.stage.run(Script {
        client: 2,
        scenario: "uas_busy",
        me: "sick",
        edits: &[("486 Busy Here", "503 Service Unavailable")],
        ..Script::default()
    });
    let first = world.call_out(1);
    sick.finish().unwrap_or_else(|error| panic!("{error}\n{}", world.logs()));
    let (ours, theirs) = (["sip:alice@tandem", &aor(OUTSIDE)], [&*aor(LINE), &aor(OUTSIDE)]);
    first.are(ours, theirs);
    let setup = first.ours["setup_ms"].as_u64().unwrap();
    assert!((1_000..2_000).contains(&setup), "{}", first.ours);

    let (order, view) = world.route();
    assert_eq!(order, ["provider", "dead", "sick"], "{view}");
    assert_eq!(view["excluded"].as_array().map(Vec::len), Some(0), "{view}");
    for (name, why) in [("dead", "it did not answer"), ("sick", "it answered 503")] {
        let said = format!("trunk {name} comes last: {why}; it comes last for ");
        let steps = view["steps"].as_array().unwrap();
        assert!(steps.iter().any(|it| it.as_str().unwrap().starts_with(&said)), "{view}");
        let trunk = world.trunk(name);
        assert_eq!(trunk["state"], "failing", "{trunk}");
        assert!(trunk["why"].as_str().unwrap().starts_with(why), "{trunk}");
        let counted = ["calls_out", "answered_out", "failed_over"];
        assert_eq!(counted.map(|key| trunk[key].as_u64().unwrap()), [1, 0, 1], "{trunk}");
    }
    // They are not even tried now.
    let second = world.call_out(2);
    second.are(ours, theirs);
    assert!(second.ours["setup_ms"].as_u64().unwrap() < 500, "{}", second.ours);
    assert_eq!(world.trunk("dead")["calls_out"], 1);
    assert_eq!(world.trunk("provider")["answered_out"], 2);
    // The dead one may yet answer its INVITE, for timer B (RFC 3261 §17.1.1.2): the first call waits
    // for that, and the second one has nothing to wait for.
    let calls = || listing(&world.ask(&["calls"]), "calls").unwrap();
    wait_for(Duration::from_secs(5), || (calls().len() < 2).then_some(()))
        .unwrap_or_else(|| panic!("{:?}", calls()));
    for call in calls() {
        assert_eq!((&call["id"], &call["state"]), (&first.ours["id"], &"ending".into()), "{call}");
    }
}

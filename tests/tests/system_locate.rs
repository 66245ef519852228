//! Calls to another domain with a real DNS server: NAPTR, SRV and addresses, a server that is dead,
//! and names whose DNS never answers.

use std::path::Path;
use std::time::{Duration, Instant};
use tandem_tests::appliance::Script;
use tandem_tests::netns::{Host, Net};
use tandem_tests::process::{Process, wait_for};
use tandem_tests::stage::{CLIENT_PORT, Stage};

const CONFIG: &str = "[call]\nforeign_domains = true\n\
    [dns]\nservers = [\"127.0.0.1:5353\"]\ntimeout_ms = 1500\nretries = 1\nnext_hop_ms = 500\n";

/// A DNS server beside the appliance: `example.test` has two SIP servers, the first one at an
/// address where nobody is; questions about `silent.test` go to such an address too.
fn dns(host: &Host, folder: &Path) -> Process {
    let (dead, live) = ("10.77.2.9", Net::client_ip(2));
    let mut command = host.command("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]);
    command.args(["--port=5353", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file="]);
    command.args(["--user=root", "--log-facility=-", "--log-queries", "--local=/example.test/"]);
    command.arg("--naptr-record=example.test,10,10,S,SIP+D2U,,_sip._udp.example.test");
    for (name, ip, priority) in [("dead", dead, 1), ("live", live.as_str(), 2)] {
        command.arg(format!(
            "--srv-host=_sip._udp.example.test,{name}.example.test,{CLIENT_PORT},{priority}"
        ));
        command.arg(format!("--host-record={name}.example.test,{ip}"));
    }
    command.arg(format!("--server=/silent.test/{dead}"));
    let log = folder.join("dns.log");
    let process = Process::start("dnsmasq", &mut command, &log).expect("dnsmasq starts");
    let ready = || std::fs::read_to_string(&log).ok()?.contains("started").then_some(());
    wait_for(Duration::from_secs(5), ready).expect("dnsmasq is ready");
    process
}

#[test]
fn a_call_arrives_at_the_second_server_and_waits_for_no_other_dns() {
    let name = "a_call_arrives_at_the_second_server_and_waits_for_no_other_dns";
    let Some(stage) = Stage::set(name, &["dnsmasq"], CONFIG) else { return };
    let _dns = dns(&stage.net.server(), stage.path());
    let to = |domain| format!("INVITE sip:[service]@{domain} SIP/2.0");
    let (silent, example) = (to("silent.test"), to("example.test"));
    let ours = "INVITE sip:[service]@[remote_ip]:[remote_port] SIP/2.0";
    let began = Instant::now();
    // DNS never answers for this one; it is bob who calls, from another port of client 1.
    let stuck = stage.run(Script {
        client: 1,
        scenario: "uac_not_found",
        me: "bob",
        to: "x",
        edits: &[(ours, &silent), ("response=\"404\"", "response=\"504\"")],
        options: &["-p", "5090"],
        ..Script::default()
    });
    std::thread::sleep(Duration::from_millis(300));
    let call = || {
        let called = stage.bob("uas_answer", &[]);
        std::thread::sleep(Duration::from_millis(300));
        let calling = stage.run(Script {
            client: 1,
            scenario: "uac_call",
            me: "alice",
            to: "bob",
            edits: &[(ours, &example)],
            ..Script::default()
        });
        let (calling, called) = (calling.finish(), called.finish());
        assert!(
            calling.is_ok() && called.is_ok(),
            "{calling:?} {called:?}\n{}",
            stage.appliance.log()
        );
    };
    call();
    stuck.finish().unwrap_or_else(|error| panic!("{error}\n{}", stage.appliance.log()));
    assert!(began.elapsed() >= Duration::from_secs(3), "504 came before DNS had its time");
    call();
    let records = stage.appliance.records(3).unwrap_or_else(|error| panic!("{error}"));
    let answered: Vec<_> = records.iter().filter(|it| it["cause"]["sip_status"] == 200).collect();
    assert_eq!(answered.len(), 2, "{records:?}");
    assert_eq!(answered[0]["to"], "sip:bob@example.test");
    // Half a second for the dead server; then it is in the penalty box, and is not even tried.
    let setup = |at: usize| answered[at]["setup_ms"].as_u64().unwrap();
    assert!((500..1_800).contains(&setup(0)), "{:?}", answered[0]);
    assert!(setup(1) < 450, "{:?}", answered[1]);
    assert!(stage.appliance.log().contains("a server failed"), "{}", stage.appliance.log());
    stage.no_call_is_left();
}

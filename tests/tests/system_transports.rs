//! Secure transports and WebSocket with clients of others: baresip and linphone over TLS, a phone on
//! Python's websockets, and openssl.

use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tandem_tests::appliance::PASSWORD;
use tandem_tests::baresip::Baresip;
use tandem_tests::certificates::Certificates;
use tandem_tests::netns::Net;
use tandem_tests::process::{Process, wait_for};
use tandem_tests::skip::skip;
use tandem_tests::stage::Stage;

/// Debian's own, which has Debian's python3-websockets.
const PYTHON: &str = "/usr/bin/python3";

fn has_websockets(test: &str) -> bool {
    let asked = std::process::Command::new(PYTHON).args(["-c", "import websockets"]).output();
    let has = asked.is_ok_and(|it| it.status.success());
    if !has {
        skip(test, "python3-websockets is not installed");
    }
    has
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

/// A phone over WebSocket on a client host; it calls `calls`, or answers.
struct WebPhone {
    process: Process,
    log: std::path::PathBuf,
}

impl WebPhone {
    fn start(stage: &Stage, client: usize, user: &str, ca: Option<&Path>, more: &[&str]) -> Self {
        let server = Net::server_ip(1);
        let url = match ca {
            Some(_) => format!("wss://{server}:8443/"),
            None => format!("ws://{server}:8088/"),
        };
        let mut command = stage.net.client(client).command(PYTHON);
        command.arg(script("ws_phone.py")).args(["--url", &url, "--domain", &server]);
        command.args(["--user", user, "--password", PASSWORD]);
        command.args(["--media", &Net::client_ip(client)]).args(more);
        if let Some(ca) = ca {
            command.arg("--ca").arg(ca);
        }
        let log = stage.path().join(format!("ws-{user}.log"));
        let process = Process::start("ws_phone", &mut command, &log).unwrap();
        Self { process, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_until_registered(&self, stage: &Stage) {
        let there = || self.said().contains("registered").then_some(());
        let told = || format!("{}\n{}", self.said(), stage.appliance.log());
        wait_for(Duration::from_secs(10), there).unwrap_or_else(|| panic!("{}", told()));
    }

    /// Its report.
    fn finish(&mut self, stage: &Stage) -> Value {
        let ended = self.process.wait(Duration::from_secs(30));
        let said = self.said();
        assert!(ended.is_ok_and(|it| it.success()), "{said}\n{}", stage.appliance.log());
        serde_json::from_str(said.lines().last().unwrap()).unwrap()
    }
}

#[test]
fn a_baresip_over_tls_calls_a_phone_over_secure_websocket() {
    let name = "a_baresip_over_tls_calls_a_phone_over_secure_websocket";
    if !has_websockets(name) {
        return;
    }
    let certificates = Certificates::new();
    let Some(stage) = Stage::set_config(name, &["baresip"], &certificates.config()) else { return };
    let ca = certificates.ca();
    let mut bob = WebPhone::start(&stage, 2, "bob", Some(&ca), &["--seconds", "20"]);
    bob.wait_until_registered(&stage);
    let mut alice =
        Baresip::start_tls(&stage.net, 1, ("alice", 440), Some("bob"), 7, stage.path(), &ca)
            .unwrap();
    let registered = || {
        let all = stage.registrations();
        let over = |name| all.iter().any(|it| it["transport"] == name);
        (over("tls") && over("wss")).then_some(())
    };
    wait_for(Duration::from_secs(5), registered)
        .unwrap_or_else(|| panic!("{:?}\n{}", stage.registrations(), alice.log()));
    alice.process().wait(Duration::from_secs(20)).unwrap();
    let report = bob.finish(&stage);
    let record = stage.record();
    println!("{record}\n{report}\n{}", alice.log());
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
    assert_eq!((&report["registered"], &report["status"]), (&true.into(), &200.into()));
    // RFC 5626: the phone was told how often to show a sign of life, and its ping was answered.
    assert_eq!((&report["flow_timer"], &report["pongs"]), (&"120".into(), &1.into()));
    assert!(report["received"].as_u64().unwrap() > 100, "{report}");
    assert!(alice.call_seconds().is_some_and(|it| it >= 3), "{}", alice.log());
}

#[test]
fn a_phone_over_websocket_calls_one_over_udp() {
    let name = "a_phone_over_websocket_calls_one_over_udp";
    if !has_websockets(name) {
        return;
    }
    let certificates = Certificates::new();
    let Some(stage) = Stage::set_config(name, &[], &certificates.config()) else { return };
    stage.register_bob(&[]);
    let bob = stage.bob("uas_answer", &[]);
    std::thread::sleep(Duration::from_millis(300));
    let mut alice = WebPhone::start(&stage, 1, "alice", None, &["--call", "bob"]);
    let report = alice.finish(&stage);
    let bob = bob.finish();
    assert!(bob.is_ok(), "{bob:?}\n{}", stage.appliance.log());
    let record = stage.record();
    assert_eq!((&report["status"], &report["bye"]), (&200.into(), &200.into()), "{report}");
    assert_eq!(record["cause"]["by"], "caller", "{record}");
    assert!(record["duration_ms"].as_u64().is_some_and(|it| (2_500..4_500).contains(&it)));
}

/// Linphone's configuration. Its TLS library compares names alone, and the server has an address.
fn linphone_config(ca: &Path) -> String {
    let (server, ca) = (Net::server_ip(1), ca.display());
    format!(
        "[sip]\nsip_port=-2\nsip_tcp_port=-2\nsip_tls_port=-2\nroot_ca={ca}\n\
         verify_server_certs=1\nverify_server_cn=0\ndefault_proxy=0\n\
         [proxy_0]\nreg_proxy=<sip:{server}:5061;transport=tls>\n\
         reg_identity=sip:bob@{server}\nreg_expires=600\nreg_sendregister=1\n\
         [auth_info_0]\nusername=bob\npasswd={PASSWORD}\nrealm=tandem\n\
         [video]\nenabled=0\ncapture=0\ndisplay=0\n"
    )
}

#[test]
fn a_linphone_over_tls_is_called() {
    let name = "a_linphone_over_tls_is_called";
    let certificates = Certificates::new();
    let config = certificates.config();
    let Some(stage) = Stage::set_config(name, &["linphonec"], &config) else { return };
    let home = stage.path().join("linphone");
    std::fs::create_dir_all(home.join(".local/share/linphone")).unwrap();
    let file = home.join("rc");
    std::fs::write(&file, linphone_config(&certificates.ca())).unwrap();
    let mut command = stage.net.client(2).command("linphonec");
    command.env("HOME", &home).arg("-a").arg("-c").arg(&file);
    let log = home.join("log");
    let mut bob = Process::start("linphonec", &mut command, &log).unwrap();
    let registered =
        || stage.registrations().iter().any(|it| it["transport"] == "tls").then_some(());
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_for(Duration::from_secs(10), registered)
        .unwrap_or_else(|| panic!("{}\n{}", said(), stage.appliance.log()));
    let alice = stage.alice("uac_call", &[]).finish();
    assert!(alice.is_ok(), "{alice:?}\n{}\n{}", said(), stage.appliance.log());
    let record = stage.record();
    writeln!(bob.stdin().unwrap(), "quit").unwrap();
    assert_eq!(record["cause"]["sip_status"], 200, "{record}");
    assert_eq!(record["cause"]["by"], "caller", "{record}");
    assert!(said().contains("connected"), "{}", said());
}

/// The certificate that the server shows, as text.
fn shown(stage: &Stage, certificates: &Certificates) -> String {
    let at = format!("{}:5061", Net::server_ip(1));
    let mut command = stage.net.client(1).command("openssl");
    command.args(["s_client", "-connect", &at, "-verify_return_error", "-CAfile"]);
    command.arg(certificates.ca()).stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Verify return code: 0 (ok)"), "{text}");
    let from = text.find("-----BEGIN CERTIFICATE").unwrap();
    text[from..text.find("-----END CERTIFICATE").unwrap()].to_owned()
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let name = "a_renewed_certificate_is_shown_without_a_restart";
    let certificates = Certificates::new();
    let Some(stage) = Stage::set_config(name, &["openssl"], &certificates.config()) else { return };
    let first = shown(&stage, &certificates);
    certificates.renew();
    let renewed = || (shown(&stage, &certificates) != first).then_some(());
    let log = || stage.appliance.log();
    wait_for(Duration::from_secs(10), renewed).unwrap_or_else(|| panic!("{}", log()));
    assert!(log().contains("certificates were read again"), "{}", log());
}

/// Resident memory, octets.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn an_idle_tls_connection_takes_less_than_25_kib() {
    let name = "an_idle_tls_connection_takes_less_than_25_kib";
    let certificates = Certificates::new();
    let Some(mut stage) = Stage::set_config(name, &[PYTHON], &certificates.config()) else {
        return;
    };
    let mut command = stage.net.client(1).command(PYTHON);
    command.arg(script("tls_idle.py")).args([&Net::server_ip(1), "5061"]).arg(certificates.ca());
    let log = stage.path().join("idle.log");
    let mut idle = Process::start("tls_idle", &mut command, &log).unwrap();
    let mut with = |count: u64| {
        writeln!(idle.stdin().unwrap(), "{count}").unwrap();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let there = || said().lines().any(|line| line == count.to_string()).then_some(());
        wait_for(Duration::from_secs(30), there).unwrap_or_else(|| panic!("{}", said()));
        // Their transactions end, too.
        std::thread::sleep(Duration::from_millis(1_500));
        resident(stage.appliance.process().id())
    };
    let (few, many) = (100, 1_000);
    let each = (with(many.min(few)), with(many));
    let each = each.1.saturating_sub(each.0) / (many - few);
    println!("resident memory of an idle TLS connection: {each} octets");
    assert!(each < 25 * 1024, "{each} octets");
}

//! What goes wrong at the start gets one clear message that names the remedy, and exit status.

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tandem_tests::process::{binary, wait_for};

/// Runs `tandem run` with `config` until it ends by itself.
fn refused(config: &str, data: &Path) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tandem.toml");
    std::fs::write(&file, config).unwrap();
    let mut child = Command::new(binary("tandem"))
        .args(["run", "--config"])
        .arg(&file)
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let ended = wait_for(Duration::from_secs(10), || child.try_wait().unwrap());
    if ended.is_none() {
        child.kill().unwrap();
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(ended.is_some(), "it went on with:\n{config}\n{said}");
    assert!(!status.success(), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn an_unknown_key_is_refused_with_place_and_nearest_name() {
    let data = tempfile::tempdir().unwrap();
    let said = refused("[media]\nport_mim = 4000\n", data.path());
    says(&said, &["tandem.toml:2:1", "port_mim", "port_min"]);
}

#[test]
fn a_wrong_value_is_refused_with_its_place() {
    let data = tempfile::tempdir().unwrap();
    says(&refused("[sip]\nt1_ms = \"soon\"\n", data.path()), &["tandem.toml:2:", "t1_ms"]);
    says(&refused("[media]\ndscp = 64\n", data.path()), &["tandem.toml:2:", "dscp", "63"]);
}

#[test]
fn a_port_range_that_is_too_small_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let said = refused("[media]\nport_min = 40000\nport_max = 40001\n", data.path());
    says(&said, &["port_m"]);
}

#[test]
fn a_busy_sip_port_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = format!("[sip]\nlisten = [\"{address}\"]\n[http]\nlisten = \"127.0.0.1:0\"\n");
    says(&refused(&config, data.path()), &[&address.to_string(), "sip.listen"]);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    says(&refused("", &file.join("data")), &["file/data", "--data"]);
}

#[test]
fn media_that_could_never_flow_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let listen = "[sip]\nlisten = [\"127.0.0.1:0\"]\n[http]\nlisten = \"127.0.0.1:0\"\n";
    let foreign = format!("{listen}[media]\naddresses = [\"192.0.2.7\"]\n");
    says(&refused(&foreign, &data), &["192.0.2.7", "media.addresses"]);
    let engine = format!("{listen}[engine]\nprogram = \"/nowhere/tandem-engine\"\n");
    says(&refused(&engine, &data), &["/nowhere/tandem-engine", "engine.program"]);
    assert!(!data.exists());
}

//! Scanners find nothing, who guesses passwords is banned, a flood takes no memory; and the phones
//! go on calling.

use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tandem_tests::appliance::{Appliance, Script, Sipp, listing};
use tandem_tests::netns::Net;
use tandem_tests::process::wait_for;
use tandem_tests::skip::{missing, skip};

/// An appliance with alice on client 1 and bob on client 2, both registered or calling as usual, and
/// somebody else on client 3.
struct Besieged {
    // Fields end in this order: the appliance before its hosts.
    appliance: Appliance,
    net: Net,
    folder: tempfile::TempDir,
}

impl Besieged {
    fn set(test: &str, programs: &[&str], config: &str) -> Option<Self> {
        if let Some(why) = missing(&[&["ip", "ethtool", "sipp"], programs].concat()) {
            skip(test, &why);
            return None;
        }
        let net = Net::new(3).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = Appliance::config(config);
        let appliance = Appliance::start(&net.server(), folder.path(), &config)
            .unwrap_or_else(|error| panic!("{error}"));
        appliance.add_users(&["alice", "bob", "100"]).unwrap();
        Some(Self { appliance, net, folder })
    }

    fn sipp(&self, client: usize, scenario: &str, me: &str, options: &[&str]) -> Sipp {
        let script = Script { client, scenario, me, to: "bob", options, ..Script::default() };
        Sipp::start(&self.net, self.folder.path(), &script)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Alice calls bob, and they are hung up in order.
    fn call(&self) {
        self.sipp(2, "register", "bob", &[]).finish().unwrap();
        let bob = self.sipp(2, "uas_answer", "bob", &[]);
        std::thread::sleep(Duration::from_millis(300));
        let alice = self.sipp(1, "uac_call", "alice", &[]).finish();
        assert!(alice.is_ok(), "{alice:?}\n{}", self.appliance.log());
        bob.finish().unwrap();
    }

    /// What a command on client 3 says, however it ends.
    fn attack(&self, program: &str, arguments: &[&str]) -> String {
        let mut command: Command = self.net.client(3).command("timeout");
        command.args(["-s", "INT", "12", program]).args(arguments).current_dir(self.folder.path());
        // What the tools save of their finds.
        command.env("HOME", self.folder.path());
        let output = command.output().unwrap();
        let both = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&both).into_owned()
    }

    fn bans(&self) -> Vec<Value> {
        listing(&self.appliance.json(&["bans", "list"]).unwrap(), "bans").unwrap()
    }
}

#[test]
fn sipvicious_finds_nothing_and_is_banned_while_phones_call() {
    let test = "sipvicious_finds_nothing_and_is_banned_while_phones_call";
    let tools = ["svmap", "svwar", "svcrack"];
    let Some(it) = Besieged::set(test, &tools, "") else { return };
    let target = Net::server_ip(1);
    let udp = format!("udp://{target}:5060");
    std::thread::scope(|scope| {
        let map = scope.spawn(|| it.attack("svmap", &[&target]));
        let war =
            scope.spawn(|| it.attack("svwar", &["-P", "5160", "-e", "90-110", "--force", &udp]));
        let crack =
            scope.spawn(|| it.attack("svcrack", &["-P", "5260", "-u", "100", "-r", "1-300", &udp]));
        it.call();
        for (name, found) in [("svmap", map), ("svwar", war), ("svcrack", crack)] {
            let said = found.join().unwrap();
            assert!(!said.contains("Tandem") && !said.contains("reqauth"), "{name}: {said}");
            assert!(!said.contains("| "), "{name} found something:\n{said}");
        }
    });
    let bans = it.bans();
    assert_eq!(bans.len(), 1, "{bans:?}");
    assert_eq!(bans[0]["source"], Net::client_ip(3));
    assert_eq!(bans[0]["reason"], "scanner");
    let log = it.appliance.log();
    assert_eq!(log.matches(" banned ").count(), 1, "one line for a ban:\n{log}");
}

#[test]
fn guessing_passwords_is_banned_and_the_operator_forgives() {
    let test = "guessing_passwords_is_banned_and_the_operator_forgives";
    let Some(it) = Besieged::set(test, &[], "[guard]\nfailures = 5\n") else { return };
    // The last of -ap counts; six wrong ones, each answered by another challenge.
    let guess = ["-ap", "guess", "-m", "6", "-r", "20"];
    it.sipp(3, "register_refused", "100", &guess).finish().unwrap();
    let bans = it.bans();
    assert_eq!((&bans[0]["reason"], &bans[0]["proven"]), (&"passwords".into(), &true.into()));
    let short = ["-timeout", "2", "-p", "5099"];
    assert!(it.sipp(3, "register", "100", &short).finish().is_err(), "it is not listened to");
    it.call();
    it.appliance.tandem(&["bans", "remove", &Net::client_ip(3)]).unwrap();
    assert!(it.bans().is_empty());
    it.sipp(3, "register", "100", &["-p", "5098"]).finish().unwrap();
    let again = it.appliance.tandem(&["bans", "remove", &Net::client_ip(3)]);
    assert!(again.unwrap_err().contains("not banned"));
    it.appliance.tandem(&["bans", "add", "198.51.100.7", "--seconds", "30"]).unwrap();
    assert_eq!(it.bans()[0]["reason"], "operator");
}

/// Resident memory of a process, KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_flood_of_invites_takes_no_memory() {
    let test = "a_flood_of_invites_takes_no_memory";
    let Some(mut it) =
        Besieged::set(test, &[], "[guard]\nsource_rate = 0\n[trace]\nmemory_mib = 0\n")
    else {
        return;
    };
    it.call();
    let pid = it.appliance.process().id();
    let flood = |calls: &str| {
        let options = ["-m", calls, "-r", "1500", "-l", "3000", "-recv_timeout", "4000"];
        it.sipp(3, "uac_flood", "eve", &options)
            .finish()
            .map_err(|said| said.lines().next().map(str::to_owned))
    };
    // Buffers and tables get their size.
    let _ = flood("1000");
    let before = resident_kib(pid);
    let flooded = flood("12000");
    let after = resident_kib(pid);
    assert!(flooded.is_ok(), "{flooded:?}");
    // Half a KiB for each of them would be 6 MiB.
    assert!(after < before + 3_000, "{before} KiB before, {after} KiB after");
    it.call();
    let empty = || {
        let calls = listing(&it.appliance.json(&["calls"]).ok()?, "calls")?;
        calls.is_empty().then_some(())
    };
    wait_for(Duration::from_secs(5), empty).expect("calls are left over");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
}

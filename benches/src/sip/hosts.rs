//! Two hosts joined by one link: the server's, and that of the load.

use std::process::{Command, Output};

/// Address of the server under test.
pub(super) const SERVER: &str = "10.88.0.1";
/// Address of the load.
pub(super) const CLIENT: &str = "10.88.0.2";

/// The two network namespaces, gone when dropped.
#[derive(Debug)]
pub(super) struct Hosts {
    /// Where a contender runs.
    pub(super) server: Host,
    /// Where the load runs.
    pub(super) client: Host,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Host {
    namespace: String,
    /// Processor cores of its programs, as `taskset` reads them.
    cores: String,
}

impl Hosts {
    /// Makes both, the server on the first core and the load on all others.
    pub(super) fn new() -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let load = match cores {
            1 => "0".to_owned(),
            2 => "1".to_owned(),
            more => format!("1-{}", more - 1),
        };
        let name = |end: &str| format!("tdb{}{end}", std::process::id());
        let server = Host { namespace: name("s"), cores: "0".to_owned() };
        let client = Host { namespace: name("c"), cores: load };
        run("ip", &["netns", "add", &server.namespace])?;
        let hosts = Self { server, client };
        run("ip", &["netns", "add", &hosts.client.namespace])?;
        hosts.join()?;
        Ok(hosts)
    }

    fn join(&self) -> Result<(), String> {
        let (server, client) = (&self.server, &self.client);
        let peer = ["netns", &client.namespace];
        let link = ["link", "add", "eth0", "type", "veth", "peer", "name", "eth0"];
        server.run("ip", &[&link[..], &peer[..]].concat())?;
        for (host, address) in [(server, SERVER), (client, CLIENT)] {
            host.run("ip", &["link", "set", "lo", "up"])?;
            host.run("ip", &["address", "add", &format!("{address}/24"), "dev", "eth0"])?;
            host.run("ip", &["link", "set", "eth0", "up"])?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.server, &self.client] {
            // What was started here and has not ended by itself would live on without a network.
            for pid in host.pids() {
                let _ = run("kill", &["-KILL", &pid.to_string()]);
            }
            if let Err(error) = run("ip", &["netns", "delete", &host.namespace]) {
                eprintln!("{error}");
            }
        }
    }
}

impl Host {
    /// A command that runs on this host, on its cores.
    pub(super) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.cores, "ip", "netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a command on this host to its end and gives its standard output.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String, String> {
        let exec = ["netns", "exec", &self.namespace, program];
        run("ip", &[&exec[..], arguments].concat())
    }

    /// All processes on this host.
    pub(super) fn pids(&self) -> Vec<u32> {
        let listed = run("ip", &["netns", "pids", &self.namespace]).unwrap_or_default();
        listed.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let told = |said: &dyn std::fmt::Display| format!("{program} {}: {said}", arguments.join(" "));
    let Output { status, stdout, stderr } =
        Command::new(program).args(arguments).output().map_err(|error| told(&error))?;
    if status.success() {
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    } else {
        Err(told(&String::from_utf8_lossy(&stderr).trim()))
    }
}

/// What this machine lacks for the benchmark, as one sentence with the remedy.
pub(super) fn missing() -> Result<(), String> {
    let needed = [
        ("ip", "iproute2"),
        ("taskset", "util-linux"),
        ("sipp", "sip-tester"),
        ("kamailio", "kamailio"),
        ("rtpengine", "rtpengine-daemon"),
    ];
    let absent: Vec<&str> =
        needed.iter().filter(|(program, _)| !is_on_path(program)).map(|(_, name)| *name).collect();
    if !absent.is_empty() {
        return Err(format!(
            "packages are missing; install them and run this again:\n    apt-get install --no-install-recommends {}",
            absent.join(" ")
        ));
    }
    match run("id", &["-u"])?.trim() {
        "0" => Ok(()),
        _ => Err("network namespaces need root: run it with sudo".to_owned()),
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([std::path::PathBuf::from("/usr/sbin")])
        .any(|folder| folder.join(program).is_file())
}

//! Hosts of a test: network namespaces joined by veth pairs, gone when dropped.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A server host and client hosts around it: host `i` is `10.77.i.2` (and `fd77:i::2`), the
/// server's side of that link is `10.77.i.1` (and `fd77:i::1`), with routes between all.
#[derive(Debug)]
pub struct Net {
    prefix: String,
    clients: usize,
}

/// One host of a [`Net`].
#[derive(Clone, Debug)]
pub struct Host {
    namespace: String,
}

impl Net {
    /// Makes a server and `clients` client hosts.
    ///
    /// # Errors
    /// The command that failed and what it said.
    pub fn new(clients: usize) -> Result<Self, String> {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let net = Self { prefix: format!("tdm{}x{number}", std::process::id()), clients };
        net.make_host("s")?;
        for index in 1..=clients {
            net.make_host(&index.to_string())?;
            net.join(index)?;
        }
        Ok(net)
    }

    /// The host in the middle.
    #[must_use]
    pub fn server(&self) -> Host {
        self.host("s")
    }

    /// Client `index`, from 1.
    #[must_use]
    pub fn client(&self, index: usize) -> Host {
        self.host(&index.to_string())
    }

    /// IPv4 address of client `index`.
    #[must_use]
    pub fn client_ip(index: usize) -> String {
        format!("10.77.{index}.2")
    }

    /// IPv4 address of the server towards client `index`.
    #[must_use]
    pub fn server_ip(index: usize) -> String {
        format!("10.77.{index}.1")
    }

    /// IPv6 address of client `index`.
    #[must_use]
    pub fn client_ip6(index: usize) -> String {
        format!("fd77:{index}::2")
    }

    /// IPv6 address of the server towards client `index`.
    #[must_use]
    pub fn server_ip6(index: usize) -> String {
        format!("fd77:{index}::1")
    }

    /// Name of the server's interface towards client `index`.
    #[must_use]
    pub fn server_interface(index: usize) -> String {
        format!("to{index}")
    }

    fn host(&self, name: &str) -> Host {
        Host { namespace: format!("{}{name}", self.prefix) }
    }

    fn make_host(&self, name: &str) -> Result<(), String> {
        let host = self.host(name);
        run("ip", &["netns", "add", &host.namespace])?;
        host.run("ip", &["link", "set", "lo", "up"])?;
        for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            host.run("sysctl", &["-qw", key])?;
        }
        Ok(())
    }

    fn join(&self, index: usize) -> Result<(), String> {
        let (server, client) = (self.server(), self.client(index));
        let near = Self::server_interface(index);
        let ns = ["netns", client.namespace.as_str()];
        server.run(
            "ip",
            &["link", "add", &near, "type", "veth", "peer", "name", "eth0", ns[0], ns[1]],
        )?;
        for (host, device, ip, ip6) in [
            (&server, near.as_str(), Self::server_ip(index), Self::server_ip6(index)),
            (&client, "eth0", Self::client_ip(index), Self::client_ip6(index)),
        ] {
            host.run("ip", &["address", "add", &format!("{ip}/24"), "dev", device])?;
            host.run(
                "ip",
                &["-6", "address", "add", &format!("{ip6}/64"), "dev", device, "nodad"],
            )?;
            host.run("ip", &["link", "set", device, "up"])?;
            // Partial checksums of local senders would show as bad ones in captures.
            host.run("ethtool", &["-K", device, "tx", "off"])?;
        }
        client.run("ip", &["route", "add", "default", "via", &Self::server_ip(index)])?;
        client.run("ip", &["-6", "route", "add", "default", "via", &Self::server_ip6(index)])
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let names = (1..=self.clients).map(|index| index.to_string()).chain(["s".into()]);
        for name in names {
            if let Err(error) = run("ip", &["netns", "delete", &self.host(&name).namespace]) {
                eprintln!("{error}");
            }
        }
    }
}

impl Host {
    /// A command that runs on this host.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs a command on this host to its end.
    ///
    /// # Errors
    /// The command and what it said, if it failed.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        let mut all = vec!["netns", "exec", &self.namespace, program];
        all.extend(arguments);
        run("ip", &all)
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
}

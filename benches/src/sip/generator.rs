//! The load generator as seen from the benchmark: a process of this program on the client host,
//! told what to do line by line.

use super::hosts::{CLIENT, Host, SERVER};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

/// What the generator says when a command is done.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// What was asked for, so often.
    pub(super) completed: u64,
    /// What did not come about.
    pub(super) failed: u64,
    /// Messages that were sent again.
    pub(super) retransmissions: u64,
    /// Post-dial delay of each call (INVITE to its 200), ns.
    pub(super) delays_ns: Vec<u64>,
}

/// A running generator with a port of its own.
#[derive(Debug)]
pub(super) struct Generator {
    child: Child,
    commands: Option<ChildStdin>,
    replies: BufReader<ChildStdout>,
}

impl Generator {
    /// Starts one.
    pub(super) fn start(client: &Host, port: u16) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        // Ahead of the other load on these cores: it measures delays.
        let mut command = client.command("nice");
        command.args(["-n", "-15"]).arg(own).args(["sip-load", "--server"]);
        command.arg(format!("{SERVER}:5060")).arg("--local").arg(format!("{CLIENT}:{port}"));
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("the load generator: {error}"))?;
        let commands = child.stdin.take();
        let replies = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, commands, replies })
    }

    /// Registers users, first to first + count.
    pub(super) fn register(&mut self, first: u64, count: u64) -> Result<Done, String> {
        self.say(&format!("register {first} {count}"))?;
        self.done()
    }

    /// Sets calls up and keeps them.
    pub(super) fn hold(&mut self, user: u64, count: u64, rate: u32) -> Result<Done, String> {
        self.say(&format!("hold {user} {count} {rate}"))?;
        self.done()
    }

    /// Hangs all up.
    pub(super) fn release(&mut self, rate: u32) -> Result<Done, String> {
        self.say(&format!("release {rate}"))?;
        self.done()
    }

    /// Begins with calls that are hung up at once; [`Generator::done`] waits for them.
    pub(super) fn begin_calls(&mut self, user: u64, count: u64, rate: u32) -> Result<(), String> {
        self.say(&format!("calls {user} {count} {rate}"))
    }

    fn say(&mut self, line: &str) -> Result<(), String> {
        let pipe = self.commands.as_mut().ok_or("the load generator has no pipe")?;
        writeln!(pipe, "{line}").map_err(|error| format!("the load generator: {error}"))
    }

    /// Waits for the end of what was begun.
    pub(super) fn done(&mut self) -> Result<Done, String> {
        let mut line = String::new();
        self.replies.read_line(&mut line).map_err(|error| error.to_string())?;
        serde_json::from_str(&line)
            .map_err(|error| format!("the load generator ended or said nonsense: {error}: {line}"))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It ends when nobody can tell it anything more.
        self.commands = None;
        if self.child.wait().is_err() {
            let _ = self.child.kill();
        }
    }
}

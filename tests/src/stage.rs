//! The usual stage of a system test: an appliance, alice on client 1 and bob on client 2.

use crate::appliance::{Appliance, Script, Sipp, listing};
use crate::netns::Net;
use crate::process::wait_for;
use crate::skip::{missing, skip};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// SIP port of both clients.
pub const CLIENT_PORT: u16 = 5070;

/// An appliance that knows alice and bob, and their hosts.
#[derive(Debug)]
pub struct Stage {
    // Fields end in this order: the appliance before its hosts.
    /// The appliance.
    pub appliance: Appliance,
    /// The hosts.
    pub net: Net,
    folder: tempfile::TempDir,
}

impl Stage {
    /// Sets it up; `None`, said as skipped, where the machine lacks namespaces or `programs`.
    ///
    /// # Panics
    /// If the set-up fails though the machine has all.
    #[must_use]
    pub fn set(test: &str, programs: &[&str], config: &str) -> Option<Self> {
        Self::set_config(test, programs, &Appliance::config(config))
    }

    /// The same with a whole configuration.
    ///
    /// # Panics
    /// If the set-up fails though the machine has all.
    #[must_use]
    pub fn set_config(test: &str, programs: &[&str], config: &str) -> Option<Self> {
        Some(Self::on(Self::hosts(test, programs, 2)?, config))
    }

    /// A server and `clients` clients for a test that starts more than one appliance; `None`, said
    /// as skipped, where the machine lacks namespaces or `programs`.
    ///
    /// # Panics
    /// If they cannot be made though the machine has all.
    #[must_use]
    pub fn hosts(test: &str, programs: &[&str], clients: usize) -> Option<Net> {
        if let Some(why) = missing(&[&["ip", "ethtool", "sipp"], programs].concat()) {
            skip(test, &why);
            return None;
        }
        Some(Net::new(clients).expect("hosts can be made"))
    }

    /// Sets it up on the server of these hosts.
    ///
    /// # Panics
    /// If that fails.
    #[must_use]
    pub fn on(net: Net, config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let appliance = Appliance::start(&net.server(), folder.path(), config)
            .unwrap_or_else(|error| panic!("{error}"));
        appliance.add_users(&["alice", "bob"]).unwrap_or_else(|error| panic!("{error}"));
        Self { appliance, net, folder }
    }

    /// The scratch folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a scenario of alice, who calls bob.
    ///
    /// # Panics
    /// If sipp can't be started.
    #[must_use]
    pub fn alice(&self, scenario: &str, more: &[&str]) -> Sipp {
        self.sipp(1, scenario, "alice", "bob", more)
    }

    /// Starts a scenario of bob.
    ///
    /// # Panics
    /// If sipp can't be started.
    #[must_use]
    pub fn bob(&self, scenario: &str, more: &[&str]) -> Sipp {
        self.sipp(2, scenario, "bob", "bob", more)
    }

    /// Starts a scenario.
    ///
    /// # Panics
    /// If sipp can't be started.
    #[must_use]
    pub fn sipp(&self, client: usize, name: &str, me: &str, to: &str, more: &[&str]) -> Sipp {
        self.run(Script { client, scenario: name, me, to, options: more, ..Script::default() })
    }

    /// Starts an edited scenario.
    ///
    /// # Panics
    /// If sipp can't be started.
    #[must_use]
    pub fn run(&self, script: Script<'_>) -> Sipp {
        Sipp::start(&self.net, self.path(), &script).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Lets a started called party and a calling one end well, and gives the call's record.
    ///
    /// # Panics
    /// If a scenario does not pass or no record comes.
    #[must_use]
    pub fn finish(&self, called: Sipp, calling: Sipp) -> Value {
        let calling = calling.finish();
        assert!(calling.is_ok(), "{calling:?}\n{}", self.appliance.log());
        let called = called.finish();
        assert!(called.is_ok(), "{called:?}\n{}", self.appliance.log());
        self.record()
    }

    /// Registers bob.
    ///
    /// # Panics
    /// If that fails.
    pub fn register_bob(&self, more: &[&str]) {
        let done = self.bob("register", more).finish();
        assert!(done.is_ok(), "{done:?}\n{}", self.appliance.log());
    }

    /// Runs a called and a calling scenario against each other and gives the call's record.
    ///
    /// # Panics
    /// If a scenario does not pass or no record comes.
    #[must_use]
    pub fn call(&self, calling: &str, called: &str, more: &[&str]) -> Value {
        let bob = self.bob(called, more);
        std::thread::sleep(Duration::from_millis(300));
        self.finish(bob, self.alice(calling, more))
    }

    /// The record of the last call.
    ///
    /// # Panics
    /// If none comes.
    #[must_use]
    pub fn record(&self) -> Value {
        let records = self.appliance.records(1).unwrap_or_else(|error| panic!("{error}"));
        records.last().cloned().expect("one at least")
    }

    /// Waits until no call is left.
    ///
    /// # Panics
    /// If one stays.
    pub fn no_call_is_left(&self) {
        let empty = || {
            let calls = listing(&self.appliance.json(&["calls"]).ok()?, "calls")?;
            calls.is_empty().then_some(())
        };
        wait_for(Duration::from_secs(5), empty).expect("calls are left over");
    }

    /// What is registered.
    ///
    /// # Panics
    /// If the appliance does not say.
    #[must_use]
    pub fn registrations(&self) -> Vec<Value> {
        let value = self.appliance.json(&["registrations"]).expect("registrations");
        listing(&value, "registrations").expect("a list")
    }
}

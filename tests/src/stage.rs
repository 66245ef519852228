//! The usual stage of a system test: an appliance, alice on client 1 and bob on client 2.

use crate::appliance::{Appliance, Sipp, listing};
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
        if let Some(why) = missing(&[&["ip", "ethtool", "sipp"], programs].concat()) {
            skip(test, &why);
            return None;
        }
        let net = Net::new(2).expect("hosts can be made");
        let folder = tempfile::tempdir().expect("a scratch folder");
        let config = Appliance::config(config);
        let appliance = Appliance::start(&net.server(), folder.path(), &config)
            .unwrap_or_else(|error| panic!("{error}"));
        appliance.add_users(&["alice", "bob"]).unwrap_or_else(|error| panic!("{error}"));
        Some(Self { appliance, net, folder })
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
        Sipp::start(&self.net, client, name, (me, to), self.path(), more)
            .unwrap_or_else(|error| panic!("{error}"))
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
        let alice = self.alice(calling, more).finish();
        assert!(alice.is_ok(), "{alice:?}\n{}", self.appliance.log());
        let bob = bob.finish();
        assert!(bob.is_ok(), "{bob:?}\n{}", self.appliance.log());
        self.record()
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

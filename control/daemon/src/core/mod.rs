//! The signalling thread: it owns the SIP stack, the registrar, the calls and the media plane, and
//! waits for nobody but the poller.
//!
//! ```text
//! net → stack → registrar | call → media → link → engine
//! ```
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`settings`] | the part of the configuration that calls and registrar read |
//! | `world` | what every call works with |
//! | [`switch`] | events of the stack to registrar and calls; no socket, no clock |
//! | `stats` | the published figures |
//! | `stop` | what the thread is asked to do from outside |
//! | `thread` | the loop over sockets, timers and questions |

pub mod settings;
mod stats;
mod stop;
pub mod switch;
mod thread;
mod world;

pub use settings::Settings;
pub use switch::{Parts, Switch};
pub use world::World;

use crate::config::Config;
use crate::journal::{Journal, Recovered};
use crate::locate::dns::DnsThread;
use crate::media::{MediaConfig, MediaPlane};
use crate::net::{Addresses, Net, NetError, TlsError, TlsWatch, Waker};
use crate::snapshot::{Query, Shared};
use crate::store::users::UserList;
use core::time::Duration;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use stop::{NewConfig, Stop};
use tandem_signalling::stack::Transport;
use tokio::sync::mpsc;

/// What the signalling thread is started with.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// The journal, opened.
    pub journal: Journal,
    /// What the journal knew of an earlier run.
    pub recovered: Recovered,
    /// The users in memory.
    pub users: UserList,
    /// The media plane on its link.
    pub media: MediaPlane,
    /// Where figures and events go.
    pub shared: Arc<Shared>,
    /// Questions of the API.
    pub queries: mpsc::Receiver<Query>,
}

/// Why the signalling thread could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The SIP sockets.
    #[error(transparent)]
    Net(#[from] NetError),
    /// Certificates and keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// A thread or a descriptor.
    #[error("the signalling thread cannot be started: {0}")]
    System(#[from] std::io::Error),
}

/// The running signalling thread.
#[derive(Debug)]
pub struct CoreHandle {
    addresses: Addresses,
    stop: Arc<Stop>,
    configs: Sender<NewConfig>,
    waker: Waker,
    tls: Option<TlsWatch>,
    thread: Option<JoinHandle<()>>,
}

impl CoreHandle {
    /// Where SIP listens, with the ports that were chosen.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Where SIP listens on UDP, with the ports that were chosen.
    #[must_use]
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        self.addresses.of(Transport::Udp)
    }

    /// Where SIP listens on TCP, with the ports that were chosen.
    #[must_use]
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        self.addresses.of(Transport::Tcp)
    }

    /// Whether the thread runs; it ends by itself only if it has failed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Reads certificates and keys again; without it that happens when their files change.
    pub fn reload_certificates(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// Asks the thread to stop, without waiting: no new calls (503), all calls are ended with BYE
    /// and their records journalled.
    pub fn request_stop(&self) {
        self.stop.stop();
        self.waker.wake();
    }

    /// Asks the thread to take no new calls (503), and to stop when none is left, or after `limit`.
    pub fn request_drain(&self, limit: Duration) {
        self.stop.drain(limit);
        self.waker.wake();
    }

    /// Lets the thread go on with other settings: those of
    /// [`reload`](crate::config::reload::reload).
    pub fn reconfigure(&self, config: Config, media: MediaConfig) {
        // A thread that has failed takes nothing any more, and says so by itself.
        let _ = self.configs.send(NewConfig { config, media });
        self.waker.wake();
    }

    /// Stops and waits until the thread has ended, which takes at most three seconds; false if it
    /// ended by a panic.
    pub fn stop(mut self) -> bool {
        self.join()
    }

    fn join(&mut self) -> bool {
        self.request_stop();
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Drop for CoreHandle {
    fn drop(&mut self) {
        self.join();
    }
}

/// Opens the SIP sockets and starts the signalling thread.
///
/// # Errors
/// [`StartError`]; for a busy or foreign address it names the remedy.
pub fn start(start: Start) -> Result<CoreHandle, StartError> {
    let sip = &start.config.sip;
    let options = sip.net_options()?;
    let tls = match &options.tls {
        Some(tls) if tls.files().paths().next().is_some() => Some(TlsWatch::start(tls.clone())?),
        _ => None,
    };
    let net = Net::open(options)?;
    let addresses = net.addresses();
    let mut seed = [0; 40];
    getrandom::fill(&mut seed).map_err(StartError::Random)?;
    let settings = Settings::new(&start.config, &addresses);
    let engine = start.media.wait_fd()?;
    let waker = net.waker();
    start.shared.wake_with({
        let waker = waker.clone();
        move || waker.wake()
    });
    let dns = DnsThread::start(settings::dns_config(&start.config), {
        let waker = waker.clone();
        move || waker.wake()
    })?;
    let switch = Switch::new(Parts {
        settings,
        boot: boot(),
        seed,
        now: tandem_hw::clock::Clock::new().now(),
        wall: jiff::Timestamp::now(),
        journal: start.journal,
        recovered: start.recovered,
        users: start.users,
        media: start.media,
        dns: Box::new(dns),
        shared: start.shared,
    });
    let stop = Arc::new(Stop::default());
    let (configs, new_configs) = std::sync::mpsc::channel();
    let asked = thread::Asked { stop: stop.clone(), queries: start.queries, configs: new_configs };
    let worker = thread::Worker::new(net, switch, engine, asked)?;
    let thread = std::thread::Builder::new().name("sip".into()).spawn(move || worker.run())?;
    Ok(CoreHandle { addresses, stop, configs, waker, tls, thread: Some(thread) })
}

/// Which start of the machine this is: a hash of the system's identifier, 0 if it has none.
fn boot() -> u64 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).unwrap_or(0)
}

#[cfg(test)]
mod tests;

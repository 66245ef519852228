//! The SIP side of the softphone: its addresses, requests and answers.

use crate::args::{Options, SipTransport};
use crate::auth::{self, Credentials};
use crate::clock::Clock;
use crate::error::UaError;
use crate::media::task::random_u32;
use crate::net::{self, Net};
use crate::pump::{Core, Events, Pump};
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{
    ClientTx, DialogId, Event, Fields, Flow, NewRequest, Reply, ServerTx, Stack, StackConfig,
    StackError,
};
use tandem_signalling::uri::{Host, Uri};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

/// Times that a request is repeated with credentials: once, and once more for a stale nonce.
const AUTH_ATTEMPTS: u32 = 2;

/// A softphone; clones are the same one.
#[derive(Clone, Debug)]
pub struct Phone {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    domain: String,
    server: Option<SocketAddr>,
    local: SocketAddr,
    clock: Clock,
    core: Arc<Mutex<Core>>,
    wake: Arc<Notify>,
    incoming: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    stop: watch::Sender<bool>,
    pump: JoinHandle<()>,
    /// UDP addresses where something listened when first asked.
    probed: Mutex<HashSet<SocketAddr>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Phone {
    /// Binds the sockets and starts.
    ///
    /// `towards` decides the local address when neither `--bind` nor `--server` does.
    ///
    /// # Errors
    /// The server's name is unknown, the local address cannot be bound, or the file of the password
    /// cannot be read.
    pub async fn start(mut options: Options, towards: Option<&str>) -> Result<Self, UaError> {
        if let Some(path) = &options.password_file {
            options.password = Some(read_password(path)?);
        }
        let server = match &options.server {
            Some(server) => Some(net::resolve(server).await?),
            None => None,
        };
        let bind = local_address(&options, server, towards).await?;
        let domain = domain(&options, server, bind);
        let (inputs, received) = mpsc::unbounded_channel();
        let net = Net::bind(bind, inputs).await?;
        let (incoming_events, incoming) = mpsc::unbounded_channel();
        let config = StackConfig { product: "Tandem-UA".into(), ..StackConfig::default() };
        let seed = u64::from(random_u32()) << 32 | u64::from(random_u32());
        let core = Arc::new(Mutex::new(Core::new(Stack::new(config, seed), incoming_events)));
        let (clock, wake, local) = (Clock::new(), Arc::new(Notify::new()), net.local());
        let pump =
            Pump { core: Arc::clone(&core), net, clock, wake: Arc::clone(&wake) }.run(received);
        Ok(Self {
            inner: Arc::new(Inner {
                options,
                domain,
                server,
                local,
                clock,
                core,
                wake,
                incoming: tokio::sync::Mutex::new(incoming),
                stop: watch::channel(false).0,
                pump: tokio::spawn(pump),
                probed: Mutex::default(),
            }),
        })
    }

    /// Options that it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Bound address, of UDP and TCP alike.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.inner.local
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.inner.clock
    }

    /// Own address of record.
    #[must_use]
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.inner.options.user, self.inner.domain)
    }

    /// URI of the registrar.
    #[must_use]
    pub fn registrar(&self) -> String {
        format!("sip:{}", self.inner.domain)
    }

    /// Contact value.
    #[must_use]
    pub fn contact(&self) -> String {
        let transport = match self.inner.options.transport {
            SipTransport::Udp => "",
            SipTransport::Tcp => ";transport=tcp",
        };
        format!("<sip:{}@{}{transport}>", self.inner.options.user, self.inner.local)
    }

    /// A target as a URI: `sip:` URIs as they are, anything else as a user of the own domain.
    #[must_use]
    pub fn target_uri(&self, target: &str) -> String {
        if target.starts_with("sip:") || target.starts_with("sips:") {
            target.into()
        } else if target.contains('@') {
            format!("sip:{target}")
        } else {
            format!("sip:{target}@{}", self.inner.domain)
        }
    }

    /// Where a request to `uri` is sent: the server if there is one, else the URI's host.
    ///
    /// # Errors
    /// The URI is broken, or its host unknown, or nothing listens there.
    pub async fn flow_to(&self, uri: &str) -> Result<Flow, UaError> {
        let remote = match self.inner.server {
            Some(server) => server,
            None => net::resolve(&host_of(uri)?).await?,
        };
        let tcp = self.inner.options.transport == SipTransport::Tcp
            || (self.inner.server.is_none() && uri.contains(";transport=tcp"));
        if tcp {
            return Ok(Flow::tcp(self.inner.local, remote, 0));
        }
        let probed = lock(&self.inner.probed).contains(&remote);
        if !probed && net::is_refused(remote).await {
            let detail = "nothing listens on that UDP port".into();
            return Err(UaError::Unreachable { server: remote.to_string(), detail });
        }
        lock(&self.inner.probed).insert(remote);
        Ok(Flow::udp(self.inner.local, remote))
    }

    /// Asks all calls and waits of this phone to end in good order.
    pub fn stop(&self) {
        self.inner.stop.send_replace(true);
    }

    /// Waits for [`Self::stop`].
    pub(crate) async fn stopped(&self) {
        let mut stop = self.inner.stop.subscribe();
        let _ = stop.wait_for(|stopped| *stopped).await;
    }

    /// Waits until what is queued for the sockets is sent, as far as they take it.
    pub async fn flush(&self) {
        self.inner.wake.notify_one();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.inner.core)
    }

    /// Runs something on the stack and lets its output go.
    fn with<T>(&self, action: impl FnOnce(&mut Core, tandem_wire::time::Instant) -> T) -> T {
        let result = action(&mut self.core(), self.inner.clock.now());
        self.inner.wake.notify_one();
        result
    }

    /// Sends a request outside of a dialog.
    pub(crate) fn request(
        &self,
        flow: Flow,
        request: NewRequest,
        events: &Events,
    ) -> Result<ClientTx, UaError> {
        self.with(|core, now| {
            let tx = core.stack.request(now, flow, request).map_err(misuse)?;
            core.clients.insert(tx, events.clone());
            Ok(tx)
        })
    }

    /// Sends a request inside a dialog.
    pub(crate) fn request_in_dialog(
        &self,
        dialog: DialogId,
        method: Method,
        fields: Fields,
        events: &Events,
    ) -> Result<ClientTx, StackError> {
        self.with(|core, now| {
            let tx = core.stack.request_in_dialog(now, dialog, method, fields)?;
            core.clients.insert(tx, events.clone());
            Ok(tx)
        })
    }

    /// Answers a request; events of the dialog that this opens go to `events`.
    pub(crate) fn respond(
        &self,
        tx: ServerTx,
        reply: Reply,
        events: &Events,
    ) -> Result<Option<DialogId>, StackError> {
        self.with(|core, now| {
            let dialog = core.stack.respond(now, tx, reply)?;
            core.servers.insert(tx, events.clone());
            if let Some(dialog) = dialog {
                core.dialogs.insert(dialog, events.clone());
            }
            Ok(dialog)
        })
    }

    /// Acknowledges a 2xx.
    pub(crate) fn ack(&self, dialog: DialogId, fields: Fields) -> Result<(), StackError> {
        self.with(|core, now| core.stack.ack(now, dialog, fields))
    }

    /// Cancels an INVITE.
    pub(crate) fn cancel(&self, tx: ClientTx) -> Result<(), StackError> {
        self.with(|core, now| core.stack.cancel(now, tx, Fields::new()))
    }

    /// URI of the peer in a dialog.
    pub(crate) fn remote_target(&self, dialog: DialogId) -> Option<String> {
        self.core().stack.dialog(dialog).map(|it| it.remote_target().to_owned())
    }

    /// How long to wait after a 491.
    pub(crate) fn glare_delay(&self, dialog: DialogId) -> std::time::Duration {
        self.with(|core, _| core.stack.glare_delay(dialog))
    }

    /// Forgets where the events of a call go; what still comes is answered by itself.
    pub(crate) fn forget(&self, events: &Events) {
        self.with(|core, _| {
            core.clients.retain(|_, it| !it.same_channel(events));
            core.servers.retain(|_, it| !it.same_channel(events));
            core.dialogs.retain(|_, it| !it.same_channel(events));
        });
    }

    /// Whether new calls are taken from now on (else they are answered 480).
    pub(crate) fn set_accepting(&self, accepting: bool) {
        self.core().accepting = accepting;
    }

    /// The next INVITE that came in.
    pub(crate) async fn next_call(&self) -> Option<Event> {
        self.inner.incoming.lock().await.recv().await
    }

    /// Credentials, if there is a password.
    pub(crate) fn credentials(&self) -> Option<Credentials<'_>> {
        let options = &self.inner.options;
        Some(Credentials {
            user: options.auth_user.as_deref().unwrap_or(&options.user),
            password: options.password.as_deref()?,
        })
    }

    /// Header row that answers the challenge in `response`, if it is one.
    ///
    /// # Errors
    /// There is no password, the challenge is unusable, or the password was just refused.
    pub(crate) fn answer_challenge(
        &self,
        response: &Message,
        method: Method,
        uri: &str,
        attempt: u32,
    ) -> Result<Option<auth::Answer>, UaError> {
        if !matches!(response.status(), Some(401 | 407)) {
            return Ok(None);
        }
        let user = || self.inner.options.user.clone();
        let credentials =
            self.credentials().ok_or_else(|| UaError::PasswordNeeded { user: user() })?;
        let refused = || UaError::Unauthorized {
            user: user(),
            status: response.status().unwrap_or_default(),
            reason: response.reason().unwrap_or_default().into(),
        };
        let answer = auth::answer(response, method, uri, &credentials).ok_or_else(refused)?;
        // A fresh challenge to a request with credentials means that they are wrong.
        if attempt >= AUTH_ATTEMPTS || (attempt > 0 && !answer.stale) {
            return Err(refused());
        }
        Ok(Some(answer))
    }

    /// Sends a request outside of a dialog, repeats it with credentials if asked to, and gives
    /// its final response, with the digest algorithm that was used.
    ///
    /// # Errors
    /// Unreachable, wrong or missing password.
    pub(crate) async fn exchange(
        &self,
        flow: Flow,
        request: NewRequest,
        method: Method,
        uri: &str,
    ) -> Result<(Message, Option<&'static str>), UaError> {
        let (events, mut received) = mpsc::unbounded_channel();
        let mut next = request.clone();
        let mut digest = None;
        for attempt in 0.. {
            self.request(flow, next, &events)?;
            let response = self.final_response(flow, &mut received).await?;
            match self.answer_challenge(&response, method, uri, attempt)? {
                None => return Ok((response, digest)),
                Some(answer) => {
                    digest = Some(answer.algorithm);
                    next = request.clone().after(&response).header(answer.header, answer.value);
                }
            }
        }
        Err(UaError::Stopped)
    }

    async fn final_response(
        &self,
        flow: Flow,
        received: &mut mpsc::UnboundedReceiver<Event>,
    ) -> Result<Message, UaError> {
        loop {
            match received.recv().await {
                Some(Event::Response { response, .. }) if response.status() >= Some(200) => {
                    return Ok(response);
                }
                Some(event @ (Event::TimedOut { .. } | Event::TransportFailed { .. })) => {
                    return Err(unreachable_error(&event, flow));
                }
                Some(_) => {}
                None => return Err(UaError::Stopped),
            }
        }
    }
}

/// A lock whose holder panicked is still good: each change to what it guards is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a time-out or transport failure means to the user.
pub(crate) fn unreachable_error(event: &Event, flow: Flow) -> UaError {
    let detail = match event {
        Event::TimedOut { .. } => "it did not answer in time",
        _ => "the connection failed",
    };
    UaError::Unreachable { server: flow.remote.to_string(), detail: detail.into() }
}

/// A request that the stack refuses is a limit of ours.
fn misuse(error: StackError) -> UaError {
    UaError::Io { what: "sending a request", source: std::io::Error::other(error) }
}

/// The first line of a file.
fn read_password(path: &std::path::Path) -> Result<String, UaError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| UaError::File { path: path.into(), detail: error.to_string() })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// `HOST:PORT` of a SIP URI.
fn host_of(uri: &str) -> Result<String, UaError> {
    let unusable = |detail: &str| UaError::Address { input: uri.into(), detail: detail.into() };
    let parsed = Uri::parse(uri).map_err(|e| unusable(&e.to_string()))?;
    let port = parsed.port().unwrap_or(5060);
    Ok(match parsed.host() {
        Host::Ip(ip) => SocketAddr::new(ip, port).to_string(),
        Host::Name(name) => format!("{name}:{port}"),
    })
}

/// The address to bind: as told, else the one that leads to the server or target, else loopback.
async fn local_address(
    options: &Options,
    server: Option<SocketAddr>,
    towards: Option<&str>,
) -> Result<SocketAddr, UaError> {
    let bound = options.bind.filter(|address| !address.ip().is_unspecified());
    if let Some(address) = bound {
        return Ok(address);
    }
    let port = options.bind.map_or(0, |address| address.port());
    let remote = match (server, towards) {
        (Some(server), _) => Some(server),
        (None, Some(uri)) if uri.contains('@') => net::resolve(&host_of(uri)?).await.ok(),
        _ => None,
    };
    let ip = match remote {
        Some(remote) => net::local_address_towards(remote).await,
        None => None,
    };
    Ok(SocketAddr::new(ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), port))
}

/// Domain of the own address: as told, else the server's host, else the own address.
fn domain(options: &Options, server: Option<SocketAddr>, bind: SocketAddr) -> String {
    if let Some(domain) = &options.domain {
        return domain.clone();
    }
    match (&options.server, server) {
        (Some(name), Some(address)) if name.parse::<SocketAddr>().is_err() => {
            // A name, or an address without a port.
            match name.parse::<IpAddr>() {
                Ok(_) => bracketed(address.ip()),
                Err(_) => name.rsplit_once(':').map_or(name.as_str(), |(host, _)| host).to_owned(),
            }
        }
        (_, Some(address)) => bracketed(address.ip()),
        (_, None) => bracketed(bind.ip()),
    }
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

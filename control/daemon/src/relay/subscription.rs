//! Subscriptions that are carried: a dialog with the subscriber, one with the notifier, and what goes
//! on in either is repeated in the other (RFC 6665). Tandem reads no event package: any goes through.

use crate::call::headers;
use crate::core::World;
use core::time::Duration;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::{ClientTx, DialogId, Fields, Reply, ServerTx};
use tandem_wire::time::Instant;

/// A subscription whose 2xx does not say how long it lasts, s (RFC 6665 §4.1.2.1 leaves it to the
/// package; this is the longest that common ones have).
const DEFAULT_EXPIRES_S: u32 = 3_600;

/// How long after its end a subscription is kept, for a NOTIFY that is on its way.
const GRACE: Duration = Duration::from_secs(32);

/// One subscription.
#[derive(Clone, Copy, Debug)]
struct Subscription {
    subscriber: DialogId,
    notifier: DialogId,
    ends: Instant,
}

/// A request that was carried to the other side.
#[derive(Clone, Copy, Debug)]
struct Carried {
    id: u64,
    server: ServerTx,
    method: Method,
    /// It is the last one: a NOTIFY that says so.
    last: bool,
}

/// A NOTIFY that came before the 2xx to its SUBSCRIBE.
type Early = (ServerTx, DialogId, Message);

/// All subscriptions that are carried.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: HashMap<u64, Subscription>,
    dialogs: HashMap<DialogId, u64>,
    clients: HashMap<ClientTx, Carried>,
    early: HashMap<ClientTx, Early>,
    ends: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// A SUBSCRIBE was accepted.
    pub(super) fn add(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        (subscriber, notifier): (DialogId, DialogId),
        expires_s: Option<u32>,
    ) {
        self.next += 1;
        let (id, ends) = (self.next, end_of(world, expires_s));
        self.all.insert(id, Subscription { subscriber, notifier, ends });
        self.dialogs.extend([(subscriber, id), (notifier, id)]);
        self.ends.insert((ends, id));
        if let Some((server, dialog, notify)) = self.early.remove(&tx) {
            self.handle_request(world, server, dialog, &notify);
        }
    }

    /// A NOTIFY that came first waits for the 2xx; a second one is asked to come again.
    pub(super) fn keep_early(&mut self, world: &mut World, tx: ClientTx, early: Early) {
        match self.early.entry(tx) {
            Entry::Occupied(_) => {
                world.respond(early.0, Reply::new(500).header("Retry-After", "1"));
            }
            Entry::Vacant(place) => {
                place.insert(early);
            }
        }
    }

    /// The SUBSCRIBE failed, so what came before its answer is for nobody.
    pub(super) fn drop_early(&mut self, world: &mut World, tx: ClientTx) {
        if let Some((server, dialog, _)) = self.early.remove(&tx) {
            world.respond(server, Reply::new(481));
            world.stack.drop_dialog(world.now, dialog);
        }
    }

    /// A request of either side; false if the dialog is of no subscription.
    pub(super) fn handle_request(
        &mut self,
        world: &mut World,
        tx: ServerTx,
        dialog: DialogId,
        request: &Message,
    ) -> bool {
        let Some(&id) = self.dialogs.get(&dialog) else { return false };
        let Some(subscription) = self.all.get(&id).copied() else { return false };
        let method = request.method();
        let to = match method {
            Method::Subscribe if dialog == subscription.subscriber => subscription.notifier,
            Method::Notify if dialog == subscription.notifier => subscription.subscriber,
            _ => {
                world.respond(tx, Reply::new(405).header("Allow", "SUBSCRIBE, NOTIFY"));
                return true;
            }
        };
        let last = method == Method::Notify && is_terminated(request);
        let fields = with_expiry(headers::with_same_body(request), request);
        match world.stack.request_in_dialog(world.now, to, method, fields) {
            Ok(client) => {
                self.clients.insert(client, Carried { id, server: tx, method, last });
            }
            Err(error) => {
                world.respond(tx, Reply::new(error.status()));
                if last || error.status() == 481 {
                    self.end(world, id);
                }
            }
        }
        true
    }

    /// A response of the other side; false if no subscription waits for it.
    pub(super) fn handle_response(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        response: &Message,
    ) -> bool {
        let status = response.status().unwrap_or(500);
        if status < 200 {
            return self.clients.contains_key(&tx);
        }
        let Some(carried) = self.clients.remove(&tx) else { return false };
        let told = if matches!(status, 401 | 407) { 403 } else { status };
        let fields = with_expiry(headers::with_same_body(response), response);
        world.respond(carried.server, Reply::new(told).fields(fields));
        if status == 481 || carried.last {
            self.end(world, carried.id);
        } else if carried.method == Method::Subscribe && status < 300 {
            self.renew(world, carried.id, response.expires());
        }
        true
    }

    /// The other side does not answer: for the asker, the subscription is over.
    pub(super) fn handle_no_response(
        &mut self,
        world: &mut World,
        tx: ClientTx,
        status: u16,
    ) -> bool {
        let Some(carried) = self.clients.remove(&tx) else { return false };
        tracing::debug!(status, "a party of a subscription does not answer");
        world.respond(carried.server, Reply::new(481));
        self.end(world, carried.id);
        true
    }

    fn renew(&mut self, world: &World, id: u64, expires_s: Option<u32>) {
        let Some(subscription) = self.all.get_mut(&id) else { return };
        self.ends.remove(&(subscription.ends, id));
        subscription.ends = end_of(world, expires_s);
        self.ends.insert((subscription.ends, id));
    }

    fn end(&mut self, world: &mut World, id: u64) {
        let Some(subscription) = self.all.remove(&id) else { return };
        self.ends.remove(&(subscription.ends, id));
        for dialog in [subscription.subscriber, subscription.notifier] {
            self.dialogs.remove(&dialog);
            world.stack.drop_dialog(world.now, dialog);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(at, _)| *at)
    }

    /// Ends what nobody has refreshed.
    pub(super) fn handle_timeout(&mut self, world: &mut World) {
        while let Some(&(at, id)) = self.ends.first() {
            if at > world.now {
                break;
            }
            self.end(world, id);
        }
    }

    pub(super) fn release_all(&mut self, world: &mut World) {
        while let Some(&(_, id)) = self.ends.first() {
            self.end(world, id);
        }
    }
}

fn end_of(world: &World, expires_s: Option<u32>) -> Instant {
    world.now + Duration::from_secs(expires_s.unwrap_or(DEFAULT_EXPIRES_S).into()) + GRACE
}

/// Whether a NOTIFY says that it is the last one (RFC 6665 §4.1.3).
fn is_terminated(notify: &Message) -> bool {
    notify.value(Header::SubscriptionState).is_some_and(|state| {
        let state = state.split(|octet| *octet == b';').next().unwrap_or(state);
        state.trim_ascii().eq_ignore_ascii_case(b"terminated")
    })
}

/// Adds how long it shall last, and which packages are known.
fn with_expiry(fields: Fields, message: &Message) -> Fields {
    [Header::Expires, Header::MinExpires, Header::AllowEvents].iter().fold(
        fields,
        |fields, header| match message.value(*header) {
            Some(value) => fields.header(header.name(), value),
            None => fields,
        },
    )
}

//! REGISTER (RFC 3261 §10.3) and its answer.

use super::bindings::{Binding, Change, Refused, Register, Wanted};
use super::{Registrar, Role, address_of};
use crate::core::Settings;
use jiff::Timestamp;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::Contact;
use tandem_signalling::stack::{Flow, Reply, Transport};
use tandem_signalling::uri::Uri;
use tandem_wire::time::Instant;

/// Contacts of one REGISTER at most.
const MAX_WANTED: usize = 32;
/// Path values of one REGISTER at most.
const MAX_PATH: usize = 16;

/// What the Contact headers ask for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// No Contact: only tell what there is.
    Query,
    /// `*`: remove all.
    RemoveAll,
    /// Add, refresh or remove these.
    Update(Vec<Wanted>),
}

impl Registrar {
    /// A REGISTER: the answer, and what changed, in order.
    pub fn handle_register(
        &mut self,
        now: Instant,
        wall: Timestamp,
        settings: &Settings,
        request: &Message,
        flow: Flow,
    ) -> (Reply, Vec<Change>) {
        self.register((now, wall), settings, request, flow)
            .unwrap_or_else(|reply| (reply, Vec::new()))
    }

    fn register(
        &mut self,
        (now, wall): (Instant, Timestamp),
        settings: &Settings,
        request: &Message,
        flow: Flow,
    ) -> Result<(Reply, Vec<Change>), Reply> {
        check_domain(settings, request, &flow)?;
        check_require(request)?;
        let user = self.authenticate(now, request, flow.remote.ip(), Role::Registrar)?;
        let aor = own_aor(settings, request, &user)?;
        let asked = asked(settings, request)?;
        let path = path(request)?;
        let cseq = request.cseq().map_err(|_| Reply::new(400))?;
        let register = Register {
            aor: &aor,
            call_id: request.call_id().unwrap_or_default(),
            cseq: cseq.number,
            path: &path,
            user_agent: request.value_str(Header::UserAgent),
            flow,
            now,
            wall,
        };
        let changes = match asked {
            Asked::Query => Ok(Vec::new()),
            Asked::RemoveAll => self.bindings.remove_all(&register),
            Asked::Update(wanted) => self.bindings.update(&register, &wanted, contact_flow),
        };
        let changes = changes.map_err(|refused| match refused {
            Refused::OutOfOrder => {
                Reply::new(500).reason("Out of order").header("Retry-After", "1")
            }
            Refused::TooMany => Reply::new(403).reason("Too many contacts"),
        })?;
        Ok((self.accepted(now, &aor, &path), changes))
    }

    /// 200 with all contacts (RFC 3261 §10.3 step 8).
    fn accepted(&self, now: Instant, aor: &str, path: &[String]) -> Reply {
        let mut reply = Reply::new(200);
        for binding in self.bindings.of(aor) {
            reply = reply.header("Contact", contact_value(now, binding));
        }
        for value in path {
            // RFC 3327 §5.3: the phone sees the path that is in force.
            reply = reply.header("Path", value);
        }
        reply.header("Supported", "path, outbound")
    }
}

fn contact_value(now: Instant, binding: &Binding) -> String {
    use core::fmt::Write;
    let left = binding.expires.since(now).as_nanos().div_ceil(1_000_000_000);
    let it = &binding.registration;
    let mut value = format!("<{}>;expires={left}", it.contact);
    if it.q_milli < 1000 {
        let _ = write!(value, ";q=0.{:03}", it.q_milli);
    }
    if let Some(instance) = &it.instance {
        let _ = write!(value, ";+sip.instance=\"{}\"", instance.replace(['"', '\\'], ""));
    }
    if let Some(reg_id) = it.reg_id {
        let _ = write!(value, ";reg-id={reg_id}");
    }
    value
}

/// RFC 3261 §10.3 step 1.
fn check_domain(settings: &Settings, request: &Message, flow: &Flow) -> Result<(), Reply> {
    let uri = request.uri().map_err(|_| Reply::new(400).reason("Malformed Request-URI"))?;
    let to = request.to().map_err(|_| Reply::new(400).reason("Malformed To header"))?;
    if settings.is_own_host(&uri.host(), flow) && settings.is_own_host(&to.uri().host(), flow) {
        Ok(())
    } else {
        Err(Reply::new(404).reason("Domain not served here"))
    }
}

/// RFC 3261 §10.3 step 2.
fn check_require(request: &Message) -> Result<(), Reply> {
    let unknown: Vec<&str> = request
        .tokens(Header::Require)
        .filter(|option| !["path", "outbound"].iter().any(|it| option.eq_ignore_ascii_case(it)))
        .collect();
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Reply::new(420).header("Unsupported", unknown.join(", ")))
    }
}

/// RFC 3261 §10.3 step 4: everybody registers for himself.
fn own_aor(settings: &Settings, request: &Message, user: &str) -> Result<String, Reply> {
    let to = request.to().map_err(|_| Reply::new(400).reason("Malformed To header"))?;
    if to.uri().user_decoded().as_deref() == Some(user) {
        Ok(settings.aor(user))
    } else {
        Err(Reply::new(403).reason("To is not the authenticated user"))
    }
}

/// RFC 3261 §10.3 steps 6 and 7: what is asked, with the times that are granted.
fn asked(settings: &Settings, request: &Message) -> Result<Asked, Reply> {
    let malformed = || Reply::new(400).reason("Malformed Contact header");
    let mut wanted = Vec::new();
    let mut star = false;
    for contact in request.contacts() {
        match contact.map_err(|_| malformed())? {
            Contact::Star => star = true,
            contact @ Contact::Address(address) => {
                if !address.uri().is_sip() {
                    return Err(Reply::new(400).reason("Contact is not a SIP address"));
                }
                wanted.push(Wanted {
                    uri: address.uri().as_str().to_owned(),
                    expires_s: granted(settings, contact.expires().or(request.expires()))?,
                    q_milli: contact.q().thousandths(),
                    instance: contact
                        .instance()
                        .map(|it| String::from_utf8_lossy(&it).into_owned()),
                    reg_id: contact.reg_id(),
                });
            }
        }
    }
    if star && (!wanted.is_empty() || request.expires() != Some(0)) {
        return Err(Reply::new(400).reason("Contact * goes alone and with Expires 0"));
    }
    if wanted.len() > MAX_WANTED {
        return Err(Reply::new(403).reason("Too many contacts"));
    }
    Ok(match (star, wanted.is_empty()) {
        (true, _) => Asked::RemoveAll,
        (false, true) => Asked::Query,
        (false, false) => Asked::Update(wanted),
    })
}

/// The registration time for a wish, s.
fn granted(settings: &Settings, wish: Option<u32>) -> Result<u32, Reply> {
    let wish = wish.unwrap_or(settings.default_expires_s);
    if wish != 0 && wish < settings.min_expires_s {
        return Err(Reply::new(423).header("Min-Expires", settings.min_expires_s.to_string()));
    }
    Ok(wish.min(settings.max_expires_s))
}

/// Path values in order (RFC 3327).
fn path(request: &Message) -> Result<Vec<String>, Reply> {
    let mut path = Vec::new();
    for (address, raw) in request.path().zip(request.values(Header::Path)) {
        let raw = address.ok().and_then(|_| core::str::from_utf8(raw).ok());
        let raw = raw.ok_or_else(|| Reply::new(400).reason("Malformed Path header"))?;
        path.push(raw.to_owned());
    }
    if path.len() > MAX_PATH { Err(Reply::new(400).reason("Path too long")) } else { Ok(path) }
}

/// Where requests to a contact go: where its REGISTER came from, which leads through a NAT, over
/// the connection and over the proxies of its Path. Only another port of the same machine is
/// believed: anything else would let a user aim calls at strangers.
fn contact_flow(register: &Register<'_>, contact: &str) -> Flow {
    let flow = register.flow;
    let wants_flow = Uri::parse(contact).is_ok_and(|uri| {
        let transport = uri.param("transport").and_then(Transport::from_name);
        uri.param("ob").is_some() || transport.is_some_and(Transport::is_reliable)
    });
    let own_connection = flow.transport.is_reliable();
    if own_connection || wants_flow || !register.path.is_empty() {
        return flow;
    }
    match address_of(contact) {
        Some(address) if address.ip() == flow.remote.ip() => Flow { remote: address, ..flow },
        _ => flow,
    }
}

#[cfg(test)]
mod tests;

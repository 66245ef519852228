//! Registration (RFC 3261 §10): made, refreshed in good time, taken back.

use crate::error::UaError;
use crate::phone::Phone;
use crate::pump::ALLOW;
use crate::report::RegistrationReport;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::method::Method;
use tandem_signalling::stack::NewRequest;
use tokio::task::JoinHandle;

/// Times that a registration with a too brief expiry is repeated (RFC 3261 §10.2.8).
const BRIEF_ATTEMPTS: u32 = 2;

/// A live registration; it is refreshed until it is dropped or taken back.
#[derive(Debug)]
pub struct Registration {
    phone: Phone,
    report: Arc<Mutex<RegistrationReport>>,
    /// The last response: the next request continues its Call-ID and numbers.
    last: Arc<Mutex<Message>>,
    refresher: JoinHandle<()>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl Registration {
    /// Registers.
    ///
    /// # Errors
    /// There is no server, or it is unreachable, or refuses.
    pub async fn start(phone: &Phone) -> Result<Self, UaError> {
        let started = phone.clock().now();
        let (response, digest) = register(phone, None, phone.options().expires).await?;
        let expires_s = granted(&response, phone);
        let report = RegistrationReport {
            aor: phone.aor(),
            contact: phone.contact(),
            status: response.status().unwrap_or_default(),
            expires_s,
            took_ms: crate::call::ms(phone.clock().now().since(started)),
            refreshes: 0,
            digest,
        };
        tracing::info!("registered {} for {expires_s} s", report.contact);
        let report = Arc::new(Mutex::new(report));
        let last = Arc::new(Mutex::new(response));
        let refresher = refresh(phone.clone(), Arc::clone(&report), Arc::clone(&last), expires_s);
        let refresher = tokio::spawn(refresher);
        Ok(Self { phone: phone.clone(), report, last, refresher })
    }

    /// How it stands.
    #[must_use]
    pub fn report(&self) -> RegistrationReport {
        self.report.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the registration back.
    ///
    /// # Errors
    /// The server is unreachable or refuses.
    pub async fn end(self) -> Result<(), UaError> {
        self.refresher.abort();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        register(&self.phone, Some(&last), 0).await?;
        tracing::info!("unregistered");
        Ok(())
    }
}

/// Takes the own contact's registration back, whoever made it.
///
/// # Errors
/// As [`Registration::start`].
pub async fn unregister(phone: &Phone) -> Result<(), UaError> {
    register(phone, None, 0).await.map(drop)
}

/// Refreshes after five sixths of the expiry; after a failure again in a quarter of what is left.
async fn refresh(
    phone: Phone,
    report: Arc<Mutex<RegistrationReport>>,
    last: Arc<Mutex<Message>>,
    mut expires_s: u32,
) {
    let mut wait = Duration::from_secs(u64::from(expires_s)) * 5 / 6;
    loop {
        tokio::time::sleep(wait.max(Duration::from_millis(500))).await;
        let before = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match register(&phone, Some(&before), phone.options().expires).await {
            Ok((response, _)) => {
                expires_s = granted(&response, &phone);
                wait = Duration::from_secs(u64::from(expires_s)) * 5 / 6;
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.refreshes += 1;
                report.expires_s = expires_s;
                *last.lock().unwrap_or_else(PoisonError::into_inner) = response;
            }
            Err(error) => {
                tracing::warn!("the registration was not refreshed: {error}");
                wait = Duration::from_secs(u64::from(expires_s)) / 24;
            }
        }
    }
}

/// One registration with everything that it takes: credentials, a longer expiry if asked for.
async fn register(
    phone: &Phone,
    before: Option<&Message>,
    expires_s: u32,
) -> Result<(Message, Option<&'static str>), UaError> {
    if phone.options().server.is_none() {
        let detail = "registering needs a --server".into();
        return Err(UaError::Address { input: phone.aor(), detail });
    }
    let uri = phone.registrar();
    let flow = phone.flow_to(&uri).await?;
    let mut expires_s = expires_s;
    for _ in 0..BRIEF_ATTEMPTS {
        let party = format!("<{}>", phone.aor());
        let mut request = NewRequest::new(Method::Register, uri.clone())
            .from(party.clone())
            .to(party)
            .header("Contact", format!("{};expires={expires_s}", phone.contact()))
            .header("Expires", expires_s.to_string())
            .header("Allow", ALLOW);
        if let Some(before) = before {
            request = request.after(before);
        }
        let (response, digest) = phone.exchange(flow, request, Method::Register, &uri).await?;
        let status = response.status().unwrap_or_default();
        match (status, response.min_expires()) {
            (200..=299, _) => return Ok((response, digest)),
            (423, Some(longer)) if longer > expires_s => expires_s = longer,
            _ => return Err(refused(phone, &response, status)),
        }
    }
    Err(UaError::Refused { method: "REGISTER", status: 423, reason: "Interval Too Brief".into() })
}

/// 403 is what registrars say to a wrong password or user, others say 401 again.
fn refused(phone: &Phone, response: &Message, status: u16) -> UaError {
    let reason = response.reason().unwrap_or_default().to_owned();
    if matches!(status, 401 | 403 | 404 | 407) {
        return UaError::Unauthorized { user: phone.options().user.clone(), status, reason };
    }
    UaError::Refused { method: "REGISTER", status, reason }
}

/// Expiry that the registrar granted to our contact.
fn granted(response: &Message, phone: &Phone) -> u32 {
    let own = phone.local().to_string();
    let of_contact = response.contacts().flatten().find_map(|contact| {
        let address = contact.address()?;
        address.uri().as_str().contains(&own).then(|| contact.expires())?
    });
    let of_message = || response.number(Header::Expires);
    of_contact.or_else(of_message).unwrap_or(phone.options().expires)
}

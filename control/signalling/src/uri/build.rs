//! Writing URIs.

use core::fmt;

use super::escape::{escape_into, escape_user_into, part};
use super::{Host, Scheme};

/// Writes a SIP URI; what has to be escaped is escaped.
///
/// ```
/// use tandem_signalling::uri::{Host, Scheme, UriBuilder};
/// let uri = UriBuilder::new(Scheme::Sip, Some("al ice"), Host::Name("example.com"))
///     .port(5070)
///     .param("transport", Some("tcp"))
///     .finish();
/// assert_eq!(uri, "sip:al%20ice@example.com:5070;transport=tcp");
/// ```
#[derive(Clone, Debug)]
pub struct UriBuilder {
    text: String,
}

impl UriBuilder {
    /// Begins a URI; `user` is plain text, not escaped. Only `sips` makes a difference to `sip`.
    #[must_use]
    pub fn new(scheme: Scheme, user: Option<&str>, host: Host<'_>) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(64);
        text.push_str(if scheme == Scheme::Sips { "sips:" } else { "sip:" });
        if let Some(user) = user {
            escape_user_into(&mut text, user);
            text.push('@');
        }
        match host {
            Host::Name(name) => {
                let good =
                    name.chars().filter(|it| it.is_ascii_alphanumeric() || "-._".contains(*it));
                text.extend(good.map(|it| it.to_ascii_lowercase()));
            }
            Host::Ip(_) => {
                let _ = write!(text, "{host}");
            }
        }
        Self { text }
    }

    /// Adds the port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        use fmt::Write;
        let _ = write!(self.text, ":{port}");
        self
    }

    /// Adds a parameter, or a flag.
    #[must_use]
    pub fn param(mut self, name: &str, value: Option<&str>) -> Self {
        self.text.push(';');
        escape_into(&mut self.text, name, part::PARAM);
        if let Some(value) = value {
            self.text.push('=');
            escape_into(&mut self.text, value, part::PARAM);
        }
        self
    }

    /// The text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }
}

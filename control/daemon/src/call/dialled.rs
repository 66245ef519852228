//! What was dialled, out of a Request-URI.

use tandem_signalling::uri::{Scheme, Uri};

/// The user or the number that a URI names. A local number of a `tel` URI is completed by a global
/// `phone-context` (RFC 3966 §5.1.5).
#[must_use]
pub fn dialled(uri: &Uri<'_>) -> Option<String> {
    let user = uri.user_decoded()?.into_owned();
    if uri.scheme() != Scheme::Tel {
        return (!user.is_empty()).then_some(user);
    }
    let context = uri.param("phone-context").filter(|context| context.starts_with('+'));
    match context {
        Some(context) if !user.starts_with('+') => Some(format!("{context}{user}")),
        _ => Some(user),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_sip_and_tel_uris() {
        for (uri, expected) in [
            ("sip:alice@example.com", Some("alice")),
            ("sip:+49-30-123@example.com;user=phone", Some("+49-30-123")),
            ("sip:%2b4930@example.com", Some("+4930")),
            ("sip:example.com", None),
            ("tel:+49-30-123", Some("+49-30-123")),
            ("tel:123;phone-context=+4930", Some("+4930123")),
            ("tel:123;phone-context=example.com", Some("123")),
        ] {
            let parsed = Uri::parse(uri).unwrap();
            assert_eq!(dialled(&parsed).as_deref(), expected, "{uri}");
        }
    }
}

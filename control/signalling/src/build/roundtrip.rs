//! What is written is read back as it was, whatever it is.

use proptest::prelude::*;

use super::*;
use crate::header::CSeq;
use crate::name_addr::{NameAddr, format_name_addr};
use crate::uri::{Host, Scheme, Uri, UriBuilder, escape_header_into, unescape};

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,20}"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,10}(\\.[a-z]{1,5}){0,2}",
        "[0-9]{1,2}(\\.[0-9]{1,2}){3}",
        Just("[2001:db8::7]".to_owned())
    ]
}

proptest! {
    #[test]
    fn uris(
        user in proptest::option::of("\\PC{1,20}"),
        host_text in host(),
        port in proptest::option::of(1u16..),
        params in proptest::collection::vec(("[a-z]{1,8}", proptest::option::of("\\PC{1,10}")), 0..4),
    ) {
        let plain = host_text.trim_matches(['[', ']']);
        let host = plain.parse().map_or(Host::Name(plain), Host::Ip);
        let mut builder = UriBuilder::new(Scheme::Sip, user.as_deref(), host);
        if let Some(port) = port {
            builder = builder.port(port);
        }
        for (name, value) in &params {
            builder = builder.param(name, value.as_deref());
        }
        let text = builder.finish();
        let uri = Uri::parse(&text).unwrap();
        prop_assert_eq!(uri.user_decoded().map(|it| it.into_owned()), user);
        prop_assert_eq!(uri.host(), host);
        prop_assert_eq!(uri.port(), port);
        for ((name, value), (found_name, found)) in params.iter().zip(uri.params()) {
            prop_assert_eq!(name, found_name);
            let found = found.map(|it| unescape(it).into_owned());
            prop_assert_eq!(value.as_deref().map(str::as_bytes), found.as_deref());
        }
        prop_assert_eq!(uri, Uri::parse(&text).unwrap());
    }

    #[test]
    fn display_names(display in "\\PC{0,30}", tag in token()) {
        let text = format!("{};tag={tag}", format_name_addr(Some(&display), "sip:a@b"));
        let address = NameAddr::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(address.display_text().unwrap(), display);
        prop_assert_eq!(address.tag(), Some(&*tag));
    }

    #[test]
    fn header_escapes(text in "\\PC{0,30}") {
        let mut escaped = String::new();
        escape_header_into(&mut escaped, &text);
        prop_assert!(escaped.is_ascii() && !escaped.contains(['&', '=', ';', ' ', '"', '<']));
        prop_assert_eq!(&*unescape(&escaped), text.as_bytes());
    }

    #[test]
    fn messages(
        method in token(),
        number in 0u32..1 << 31,
        rows in proptest::collection::vec(("X-[a-zA-Z0-9]{1,9}", "\\PC{0,40}"), 0..20),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let method = Method::parse(method.as_bytes()).unwrap();
        let mut builder = MessageBuilder::request(method, "sip:a@b")
            .header_fmt(Header::CSeq, format_args!("{}", CSeq { number, method }));
        for (name, value) in &rows {
            builder.add(&**name, value);
        }
        let message = builder.body("application/octet-stream", body.clone()).finish().unwrap();
        prop_assert_eq!(message.method(), method);
        prop_assert_eq!(message.cseq().unwrap(), CSeq { number, method });
        prop_assert_eq!(message.body(), &body[..]);
        prop_assert_eq!(message.defect(), None);
        let found: Vec<_> = message
            .rows()
            .filter(|row| row.header == Header::Other)
            .map(|row| (row.name.to_owned(), String::from_utf8_lossy(row.value).into_owned()))
            .collect();
        let expected: Vec<_> =
            rows.iter().map(|(name, value)| (name.clone(), value.trim_matches([' ', '\t']).to_owned())).collect();
        prop_assert_eq!(found, expected);
        let edited = MessageBuilder::edit(&message).finish().unwrap();
        prop_assert_eq!(edited.bytes(), message.bytes());
    }

    #[test]
    fn no_value_makes_a_header(value in "[a-z\r\n\0\\\\: ]{0,20}") {
        let message = MessageBuilder::request(Method::Options, "sip:a@b").header("X", &value).finish();
        if let Ok(message) = message {
            prop_assert_eq!(message.rows().count(), 2);
            prop_assert_eq!(message.defect(), None);
        } else {
            prop_assert!(value.contains(['\r', '\n', '\0']));
        }
    }
}

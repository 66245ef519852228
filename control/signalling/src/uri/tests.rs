//! URIs: reading, comparing, escaping.

use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn all_parts() {
    let it = uri("sips:alice:pa$$@[2001:db8::10]:5070;transport=tcp;lr?Subject=a%20b&X=");
    assert_eq!(it.scheme(), Scheme::Sips);
    assert_eq!(it.user(), Some("alice"));
    assert_eq!(it.password(), Some("pa$$"));
    assert_eq!(it.host(), Host::Ip("2001:db8::10".parse().unwrap()));
    assert_eq!(it.port(), Some(5070));
    assert_eq!(it.param("Transport"), Some("tcp"));
    assert!(it.is_loose());
    assert_eq!(it.headers().collect::<Vec<_>>(), [("Subject", Some("a%20b")), ("X", Some(""))]);
    assert_eq!(it.as_request_uri(), "sips:alice:pa$$@[2001:db8::10]:5070;transport=tcp;lr");
}

#[test]
fn odd_users() {
    let it = uri(
        "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com",
    );
    assert_eq!(it.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(it.host(), Host::Name("example.com"));
    let it = uri("sip:sips%3Auser%40example.com@example.net");
    assert_eq!(it.user_decoded().as_deref(), Some("sips:user@example.com"));
    let it = uri("sip:user;par=u%40example.net@example.com");
    assert_eq!(it.user(), Some("user;par=u%40example.net"));
    assert!(it.param("par").is_none());
    let it = uri("sip:a?b@example.com?Subject=x");
    assert_eq!(it.as_request_uri(), "sip:a?b@example.com");
}

#[test]
fn tel_and_other_schemes() {
    let it = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!((it.scheme(), it.user()), (Scheme::Tel, Some("+1-201-555-0123")));
    assert_eq!(it, uri("tel:+12015550123;phone-context=Example.com"));
    assert_ne!(it, uri("tel:+12015550123"));
    assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme(), Scheme::Other);
}

#[test]
fn broken_ones_are_refused() {
    for bad in [
        "",
        "sip",
        "sip:",
        ":x",
        "sip:@example.com",
        "sip:a@",
        "sip:a@b@c",
        "sip:a@b:0",
        "sip:a@b:99999",
        "sip:a@b:x",
        "sip:a@[::g]",
        "sip:a@[::1",
        "sip:a b@c",
        "sip:a@b c",
        "sip:a%4@b",
        "sip:a%zz@b",
        "<sip:a@b>",
        "sip:a@b;",
        "sip:a@b;=c",
        "sip:a@b;;c",
        "sip:a@b?c",
        "sip:a@b?=c",
        "sip:\u{e9}@b",
        "sip:a@b\r\nX: y",
        "1sip:a@b",
        "tel:",
        "tel:abc-xyz",
        "x:",
        "x:a b",
        "sip:a@b;c=<d>",
    ] {
        assert!(Uri::parse(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn equality_of_rfc_3261_19_1_4() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8::1]", "sip:a@[2001:DB8:0::1]"),
        ("sip:a@b;x=1;x=2", "sip:a@b;x=1;x=2"),
        ("sip:a@b?Route=1&Route=2", "sip:a@b?Route=2&route=1"),
    ] {
        assert_eq!(uri(a), uri(b), "{a} {b}");
        assert_eq!(uri(b), uri(a), "{b} {a}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b;maddr=224.2.0.1", "sip:a@b"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a:1@b", "sip:a@b"),
        ("sip:a@b?Route=1&Route=1&x=1", "sip:a@b?Route=1&x=1&x=1"),
    ] {
        assert_ne!(uri(a), uri(b), "{a} {b}");
        assert_ne!(uri(b), uri(a), "{b} {a}");
    }
}

#[test]
fn writing() {
    assert_eq!(
        UriBuilder::new(Scheme::Sips, Some("a@b:c"), Host::Ip("::1".parse().unwrap()))
            .port(5061)
            .param("ob", None)
            .param("x", Some("a;b\r\n"))
            .finish(),
        "sips:a%40b%3Ac@[::1]:5061;ob;x=a%3Bb%0D%0A"
    );
    let it = uri("sip:%61lice:secret@EXAMPLE.com:5070;transport=tcp;method=BYE?x=y");
    assert_eq!(it.address_of_record(), "sip:alice@example.com:5070");
    assert_eq!(it.as_request_uri(), "sip:%61lice:secret@EXAMPLE.com:5070;transport=tcp");
}

#[test]
fn there_is_a_limit_of_parameters() {
    assert!(Uri::parse(&format!("sip:a@b{}", ";x=1".repeat(32))).is_ok());
    assert!(Uri::parse(&format!("sip:a@b{}", ";x=1".repeat(33))).is_err());
}

//! Every case of RFC 3263 §4.1 and §4.2.

use super::*;
use proptest::prelude::*;

const ALL: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

fn support() -> Support {
    Support { transports: ALL.to_vec(), families: vec![Family::V4, Family::V6] }
}

/// A zone: what DNS knows; nothing else exists.
struct Zone {
    records: Vec<(&'static str, Kind, Answer)>,
    asked: Vec<String>,
}

impl Zone {
    fn new() -> Self {
        Self { records: Vec::new(), asked: Vec::new() }
    }

    fn naptr(self, name: &'static str, records: &[(u16, u16, &str, &str, &str)]) -> Self {
        let records = records
            .iter()
            .map(|(order, preference, flags, service, replacement)| Naptr {
                order: *order,
                preference: *preference,
                flags: (*flags).into(),
                service: (*service).into(),
                regexp: String::new(),
                replacement: (*replacement).into(),
            })
            .collect();
        self.with(name, Kind::Naptr, Ok(Records::Naptr(records)))
    }

    fn srv(self, name: &'static str, records: &[(u16, u16, &str)]) -> Self {
        let records = records
            .iter()
            .map(|(priority, port, target)| Srv {
                priority: *priority,
                weight: 0,
                port: *port,
                target: (*target).into(),
            })
            .collect();
        self.with(name, Kind::Srv, Ok(Records::Srv(records)))
    }

    fn host(self, name: &'static str, address: &str) -> Self {
        let ip: IpAddr = address.parse().unwrap();
        self.with(name, Family::of(&ip).kind(), Ok(Records::Addresses(vec![ip])))
    }

    fn with(mut self, name: &'static str, kind: Kind, answer: Answer) -> Self {
        self.records.push((name, kind, answer));
        self
    }

    fn locate_with(&mut self, uri: &str, support: &Support) -> Result<Vec<String>, LocateError> {
        let mut search = Search::new(&Uri::parse(uri).unwrap(), support, 5);
        for _ in 0..100 {
            if let Some(outcome) = search.outcome() {
                let text = |it: &Target| format!("{} {}", it.transport.via_name(), it.address);
                return outcome.clone().map(|targets| targets.iter().map(text).collect());
            }
            let question = search.questions().first().expect("a question or an outcome").clone();
            self.asked.push(format!("{:?} {}", question.kind, question.name));
            let known = self
                .records
                .iter()
                .find(|(name, kind, _)| *name == &*question.name && *kind == question.kind);
            let answer = known.map_or(Err(NoAnswer::NoRecords), |(_, _, answer)| answer.clone());
            search.answer(&question, &answer);
        }
        panic!("no end");
    }

    fn locate(&mut self, uri: &str) -> Result<Vec<String>, LocateError> {
        self.locate_with(uri, &support())
    }
}

fn found(uri: &str) -> Result<Vec<String>, LocateError> {
    let mut zone = Zone::new();
    let outcome = zone.locate(uri);
    assert!(zone.asked.is_empty(), "{uri} needs no question: {:?}", zone.asked);
    outcome
}

#[test]
fn numeric_hosts_need_no_question() {
    for (uri, target) in [
        ("sip:a@192.0.2.1", "UDP 192.0.2.1:5060"),
        ("sip:a@192.0.2.1:5070", "UDP 192.0.2.1:5070"),
        ("sip:a@[2001:db8::1]", "UDP [2001:db8::1]:5060"),
        ("sip:a@192.0.2.1;transport=tcp", "TCP 192.0.2.1:5060"),
        ("sip:a@192.0.2.1;transport=TLS", "TLS 192.0.2.1:5061"),
        ("sips:a@192.0.2.1", "TLS 192.0.2.1:5061"),
        ("sips:a@192.0.2.1:5091", "TLS 192.0.2.1:5091"),
        ("sips:a@192.0.2.1;transport=tcp", "TLS 192.0.2.1:5061"),
        ("sip:a@example.com;maddr=192.0.2.7", "UDP 192.0.2.7:5060"),
        ("sip:a@example.com:5070;maddr=192.0.2.7;transport=tcp", "TCP 192.0.2.7:5070"),
    ] {
        assert_eq!(found(uri), Ok(vec![target.to_owned()]), "{uri}");
    }
}

#[test]
fn what_we_cannot_send_over_is_said() {
    assert_eq!(found("sip:a@192.0.2.1;transport=sctp"), Err(LocateError::Transport));
    assert_eq!(found("sip:a@192.0.2.1;transport=ws"), Err(LocateError::Transport));
    assert_eq!(found("sips:a@192.0.2.1;transport=udp"), Err(LocateError::Transport));
    assert_eq!(found("tel:+4930123"), Err(LocateError::Scheme));
    let udp = Support { transports: vec![Transport::Udp], families: vec![Family::V4] };
    let mut zone = Zone::new();
    assert_eq!(zone.locate_with("sips:a@192.0.2.1", &udp), Err(LocateError::Transport));
    assert_eq!(zone.locate_with("sips:a@example.com", &udp), Err(LocateError::Transport));
    assert_eq!(
        zone.locate_with("sip:a@example.com;transport=tcp", &udp),
        Err(LocateError::Transport)
    );
    assert_eq!(zone.locate_with("sip:a@[2001:db8::1]", &udp), Err(LocateError::Family));
    let tcp = Support { transports: vec![Transport::Tcp], families: vec![Family::V4] };
    let outcome = zone.locate_with("sip:a@192.0.2.1", &tcp);
    assert_eq!(outcome, Ok(vec!["TCP 192.0.2.1:5060".into()]), "UDP is not there");
}

#[test]
fn a_name_with_a_port_is_looked_up_as_a_host() {
    let mut zone = Zone::new().host("example.com", "192.0.2.1");
    assert_eq!(zone.locate("sip:a@Example.COM:5070"), Ok(vec!["UDP 192.0.2.1:5070".into()]));
    assert_eq!(zone.asked, ["A example.com", "Aaaa example.com"]);
    assert_eq!(zone.locate("sips:a@example.com:5071"), Ok(vec!["TLS 192.0.2.1:5071".into()]));
    let outcome = zone.locate("sip:a@example.com:5070;transport=tcp");
    assert_eq!(outcome, Ok(vec!["TCP 192.0.2.1:5070".into()]));
}

#[test]
fn a_transport_parameter_leads_to_srv() {
    let mut zone = Zone::new()
        .srv("_sip._tcp.example.com", &[(2, 5062, "b.example.com"), (1, 5061, "a.example.com")])
        .srv("_sips._tcp.example.com", &[(1, 5081, "a.example.com")])
        .host("a.example.com", "192.0.2.1")
        .host("b.example.com", "2001:db8::2");
    let outcome = zone.locate("sip:a@example.com;transport=tcp");
    assert_eq!(outcome, Ok(vec!["TCP 192.0.2.1:5061".into(), "TCP [2001:db8::2]:5062".into()]));
    assert_eq!(zone.asked[0], "Srv _sip._tcp.example.com");
    for uri in ["sips:a@example.com;transport=tcp", "sip:a@example.com;transport=tls"] {
        assert_eq!(zone.locate(uri), Ok(vec!["TLS 192.0.2.1:5081".into()]), "{uri}");
    }
}

#[test]
fn without_srv_the_domain_itself_is_tried() {
    let mut zone = Zone::new().host("example.com", "192.0.2.1");
    for (uri, target) in [
        ("sip:a@example.com;transport=tcp", "TCP 192.0.2.1:5060"),
        ("sip:a@example.com;transport=tls", "TLS 192.0.2.1:5061"),
        ("sip:a@example.com", "UDP 192.0.2.1:5060"),
        ("sips:a@example.com", "TLS 192.0.2.1:5061"),
    ] {
        assert_eq!(zone.locate(uri), Ok(vec![target.to_owned()]), "{uri}");
    }
}

#[test]
fn naptr_decides_about_the_transport() {
    // The example of §4.1.
    let mut zone = Zone::new()
        .naptr(
            "example.com",
            &[
                (90, 50, "s", "SIP+D2U", "_sip._udp.example.com."),
                (50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com."),
                (90, 40, "S", "sip+d2t", "_sip._tcp.Example.com"),
                (10, 10, "s", "SIP+D2S", "_sip._sctp.example.com"),
                (10, 10, "u", "E2U+sip", ""),
            ],
        )
        .srv("_sips._tcp.example.com", &[(1, 5061, "tls.example.com.")])
        .srv("_sip._tcp.example.com", &[(1, 5060, "tcp.example.com.")])
        .srv("_sip._udp.example.com", &[(1, 5060, "udp.example.com.")])
        .host("tls.example.com", "192.0.2.1")
        .host("tcp.example.com", "192.0.2.2")
        .host("udp.example.com", "192.0.2.3");
    let all = ["TLS 192.0.2.1:5061", "TCP 192.0.2.2:5060", "UDP 192.0.2.3:5060"].map(str::to_owned);
    assert_eq!(zone.locate("sip:a@example.com"), Ok(all.to_vec()));
    assert_eq!(zone.asked[0], "Naptr example.com");
    // A sips URI takes nothing but SIPS.
    assert_eq!(zone.locate("sips:a@example.com"), Ok(all[..1].to_vec()));
    let udp = Support { transports: vec![Transport::Udp], families: vec![Family::V4] };
    assert_eq!(zone.locate_with("sip:a@example.com", &udp), Ok(all[2..].to_vec()));
}

#[test]
fn naptr_may_lead_into_another_domain() {
    let mut zone = Zone::new()
        .naptr("example.com", &[(1, 1, "s", "SIP+D2U", "_sip._udp.provider.example")])
        .srv("_sip._udp.provider.example", &[(1, 5070, "sbc.provider.example")])
        .host("sbc.provider.example", "192.0.2.9");
    let mut search = Search::new(&Uri::parse("sip:a@example.com").unwrap(), &support(), 1);
    while let Some(question) = search.questions().first().cloned() {
        let known = zone.records.iter().find(|it| it.0 == &*question.name && it.1 == question.kind);
        let answer = known.map_or(Err(NoAnswer::NoRecords), |it| it.2.clone());
        search.answer(&question, &answer);
    }
    let targets = search.outcome().unwrap().clone().unwrap();
    // RFC 5922: the certificate has to name the domain that was asked for, not the host of SRV.
    assert_eq!(targets[0].name.as_deref(), Some("example.com"));
    assert_eq!(zone.locate("sip:a@example.com"), Ok(vec!["UDP 192.0.2.9:5070".into()]));
}

#[test]
fn rules_and_other_flags_of_naptr_are_passed_over() {
    let record = |flags: &str, regexp: &str| Naptr {
        order: 1,
        preference: 1,
        flags: flags.into(),
        service: "SIP+D2U".into(),
        regexp: regexp.into(),
        replacement: "_sip._udp.elsewhere.example".into(),
    };
    for record in [record("s", "!^.*$!sip:x@y!"), record("a", ""), record("", "")] {
        let mut zone = Zone::new()
            .with("example.com", Kind::Naptr, Ok(Records::Naptr(vec![record])))
            .host("example.com", "192.0.2.1");
        assert_eq!(zone.locate("sip:a@example.com"), Ok(vec!["UDP 192.0.2.1:5060".into()]));
        assert!(!zone.asked.iter().any(|it| it.contains("elsewhere")), "{:?}", zone.asked);
    }
}

#[test]
fn without_naptr_every_transport_of_ours_is_asked_for() {
    let mut zone = Zone::new()
        .srv("_sip._tcp.example.com", &[(1, 5060, "tcp.example.com")])
        .host("tcp.example.com", "192.0.2.2");
    assert_eq!(zone.locate("sip:a@example.com"), Ok(vec!["TCP 192.0.2.2:5060".into()]));
    assert!(zone.asked.contains(&"Srv _sip._udp.example.com".to_owned()), "{:?}", zone.asked);
    assert!(!zone.asked.contains(&"Srv _sips._tcp.example.com".to_owned()));
    // Nothing but SIPS for sips: no SRV, so TLS to the domain, which has no address.
    assert_eq!(zone.locate("sips:a@example.com"), Err(LocateError::NotFound));
}

#[test]
fn a_service_that_is_decidedly_not_there_ends_the_search() {
    let mut zone =
        Zone::new().srv("_sip._udp.example.com", &[(1, 0, ".")]).host("example.com", "192.0.2.1");
    assert_eq!(zone.locate("sip:a@example.com;transport=udp"), Err(LocateError::NotFound));
}

#[test]
fn families_are_those_of_our_sockets_in_turn() {
    let many = |texts: &[&str]| -> Answer {
        Ok(Records::Addresses(texts.iter().map(|it| it.parse().unwrap()).collect()))
    };
    let mut zone = Zone::new()
        .with("h.example.com", Kind::A, many(&["192.0.2.1", "192.0.2.2"]))
        .with("h.example.com", Kind::Aaaa, many(&["2001:db8::1"]));
    let first_v6 = Support { families: vec![Family::V6, Family::V4], ..support() };
    let both = zone.locate_with("sip:a@h.example.com:5060", &first_v6).unwrap();
    assert_eq!(both.len(), 3);
    assert_eq!(both[0], "UDP [2001:db8::1]:5060");
    let only_v4 = Support { families: vec![Family::V4], ..support() };
    zone.asked.clear();
    let mut v4 = zone.locate_with("sip:a@h.example.com:5060", &only_v4).unwrap();
    v4.sort();
    assert_eq!(v4, ["UDP 192.0.2.1:5060", "UDP 192.0.2.2:5060"]);
    assert_eq!(zone.asked, ["A h.example.com"]);
}

#[test]
fn trouble_with_dns_is_told_apart_from_an_empty_answer() {
    let with = |trouble| {
        Zone::new()
            .with("example.com", Kind::Naptr, Err(trouble))
            .with("_sip._udp.example.com", Kind::Srv, Err(trouble))
            .with("_sip._tcp.example.com", Kind::Srv, Err(trouble))
            .with("example.com", Kind::A, Err(trouble))
            .with("example.com", Kind::Aaaa, Err(trouble))
    };
    let mut silent = with(NoAnswer::TimedOut);
    assert_eq!(silent.locate("sip:a@example.com"), Err(LocateError::DnsTimeout));
    assert_eq!(silent.asked.len(), 1, "a silent server is not asked on: {:?}", silent.asked);
    let mut silent = with(NoAnswer::TimedOut);
    let outcome = silent.locate("sip:a@example.com;transport=udp");
    assert_eq!(outcome, Err(LocateError::DnsTimeout));
    assert_eq!(with(NoAnswer::Failed).locate("sip:a@example.com"), Err(LocateError::DnsFailed));
    assert_eq!(with(NoAnswer::NoRecords).locate("sip:a@example.com"), Err(LocateError::NotFound));
    // One host that cannot be looked up does not hide the other.
    let mut zone = Zone::new()
        .srv("_sip._udp.example.com", &[(1, 5060, "a.example.com"), (2, 5060, "b.example.com")])
        .with("a.example.com", Kind::A, Err(NoAnswer::TimedOut))
        .host("b.example.com", "192.0.2.2");
    assert_eq!(zone.locate("sip:a@example.com"), Ok(vec!["UDP 192.0.2.2:5060".into()]));
}

#[test]
fn what_dns_may_lead_to_is_bounded() {
    let many: Vec<Srv> = (0..100)
        .map(|n| Srv { priority: n, weight: 0, port: 5060, target: format!("h{n}.x").into() })
        .collect();
    let mut zone = Zone::new().with("_sip._udp.example.com", Kind::Srv, Ok(Records::Srv(many)));
    assert_eq!(zone.locate("sip:a@example.com;transport=udp"), Err(LocateError::NotFound));
    assert_eq!(zone.asked.len(), 1 + 2 * MAX_HOSTS);
    let many: Vec<IpAddr> = (0..100).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let mut zone = Zone::new().with("h.x", Kind::A, Ok(Records::Addresses(many)));
    assert_eq!(zone.locate("sip:a@h.x:5060").unwrap().len(), MAX_TARGETS);
}

#[test]
fn answers_to_nothing_are_passed_over() {
    let mut search = Search::new(&Uri::parse("sip:a@example.com").unwrap(), &support(), 1);
    let stray = Question { name: "other.example".into(), kind: Kind::A };
    search.answer(&stray, &Ok(Records::Addresses(vec!["192.0.2.1".parse().unwrap()])));
    assert_eq!(search.questions().len(), 1);
    assert!(search.outcome().is_none());
}

fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1}\\.x",
        Just("_sip._udp.a.x".to_owned()),
        Just(".".to_owned()),
        Just(String::new()),
        Just("192.0.2.1".to_owned()),
    ]
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let naptr = (0..3u16, any_name(), "[sSau]?", "SIPS?\\+D2[UTS]").prop_map(
        |(order, replacement, flags, service)| Naptr {
            order,
            preference: order,
            flags,
            service,
            regexp: String::new(),
            replacement,
        },
    );
    let srv = (any::<u16>(), any::<u16>(), any_name()).prop_map(|(priority, weight, target)| Srv {
        priority: priority % 3,
        weight,
        port: weight,
        target: target.into(),
    });
    prop_oneof![
        Just(Err(NoAnswer::NoRecords)),
        Just(Err(NoAnswer::TimedOut)),
        Just(Err(NoAnswer::Failed)),
        prop::collection::vec(naptr, 0..40).prop_map(|it| Ok(Records::Naptr(it))),
        prop::collection::vec(srv, 0..40).prop_map(|it| Ok(Records::Srv(it))),
        prop::collection::vec(any::<IpAddr>(), 0..40).prop_map(|it| Ok(Records::Addresses(it))),
    ]
}

proptest! {
    /// Whatever DNS says, also of the wrong type: it ends, within the limits.
    #[test]
    fn every_search_ends(
        answers in prop::collection::vec(any_answer(), 1..50),
        seed in any::<u64>(),
        uri in "sips?:a@[a-c]\\.x(;transport=(udp|tcp|tls))?",
    ) {
        let mut search = Search::new(&Uri::parse(&uri).unwrap(), &support(), seed);
        let mut asked = 0;
        let mut answers = answers.iter().cycle();
        while let Some(question) = search.questions().first().cloned() {
            asked += 1;
            search.answer(&question, answers.next().unwrap());
        }
        prop_assert!(asked <= 1 + MAX_SERVICES + 2 * MAX_HOSTS, "{asked}");
        if let Some(Ok(targets)) = search.outcome() {
            prop_assert!(!targets.is_empty() && targets.len() <= MAX_TARGETS);
        } else {
            prop_assert!(matches!(search.outcome(), Some(Err(_))));
        }
    }
}

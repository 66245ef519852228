//! All settings: one definition each gives the key, its default, its sentence, and what
//! `tandem run --print-config` shows.

use super::sockets::ListenAt;
use super::trunk::{CallerId, Network, Secret};
use super::types::{
    Advertised, Algorithm, CodecName, DnsServer, LogFormat, PortKind, Relay, Ring, SipTransport,
};
use crate::route::failover::{Cause, Failover};
use crate::route::number::NumberFormat;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tandem_contract::limits;

/// A key of a section: its name and its sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static [&'static str],
}

macro_rules! section {
    ($(#[doc = $doc:literal])* $name:ident {
        $($(#[doc = $field_doc:literal])* $field:ident: $type:ty = $default:expr;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// What the section is about.
            pub const DOC: &'static [&'static str] = &[$($doc),*];
            /// Its keys.
            pub const KEYS: &'static [Key] =
                &[$(Key { name: stringify!($field), doc: &[$($field_doc),*] }),*];
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section! {
    /// SIP: where it listens and how it behaves.
    Sip {
        /// Addresses with ports to listen on, IPv4 and IPv6 (`"[::1]:5060"`).
        listen: Vec<SocketAddr> = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 5060))];
        /// Transports on each of them: "udp", "tcp".
        transports: Vec<SipTransport> = vec![SipTransport::Udp, SipTransport::Tcp];
        /// Addresses to listen on for SIP over TLS; without a port on 5061. Needs a certificate.
        tls_listen: Vec<ListenAt<5061>> = Vec::new();
        /// Addresses to listen on for SIP over WebSocket (RFC 7118); without a port on 8088. Browsers
        /// take it from pages without TLS alone.
        ws_listen: Vec<ListenAt<8088>> = Vec::new();
        /// Addresses to listen on for SIP over secure WebSocket; without a port on 8443. Needs a
        /// certificate.
        wss_listen: Vec<ListenAt<8443>> = Vec::new();
        /// PEM file of our certificate, followed by those between it and its authority. Read again
        /// when it changes.
        tls_certificate: String = String::new();
        /// PEM file of its key.
        tls_key: String = String::new();
        /// PEM file of the authorities whose certificates peers must show that connect to
        /// tls_listen; empty to ask for none.
        tls_client_ca: String = String::new();
        /// Whether such peers are refused without a certificate.
        tls_client_required: bool = true;
        /// PEM file of the authorities of servers that we connect to; empty for those of the system.
        tls_ca: String = String::new();
        /// Whether servers that we connect to have to prove their name.
        tls_verify: bool = true;
        /// A WebSocket without traffic is pinged after this time, s; 0 for never.
        ws_ping_s: u32 = 30;
        /// Requests over UDP above this size, octets, go over TCP, and over UDP only if the peer
        /// takes no TCP (RFC 3261 §18.1.1); 0 for never.
        udp_limit: u32 = 1_300;
        /// Addresses that others see instead of ours (1:1 NAT of a cloud): "203.0.113.7" for all of
        /// its family, or "10.0.0.5=203.0.113.7" for one of ours.
        advertised: Vec<Advertised> = Vec::new();
        /// Realm of the digest challenges; users belong to a realm.
        realm: String = "tandem".to_owned();
        /// Domains that are ours, besides the realm and the addresses we listen on.
        domains: Vec<String> = Vec::new();
        /// Addresses of peers that are trusted with identities: what they say of a caller in
        /// P-Asserted-Identity counts, and they are told (RFC 3325).
        trusted: Vec<IpAddr> = Vec::new();
        /// Name in the Server and User-Agent headers; empty for none.
        software: String = "Tandem".to_owned();
        /// T1: estimate of the round trip, ms (RFC 3261 §17.1.1.1).
        t1_ms: u32 = 500;
        /// T2: longest interval between retransmissions, ms.
        t2_ms: u32 = 4_000;
        /// T4: how long a message stays in the network, ms.
        t4_ms: u32 = 5_000;
        /// Largest message, octets; a larger one is answered with 513.
        max_message: u32 = 65_535;
        /// Transactions at the same time; beyond it new requests are answered with 503.
        max_transactions: u32 = 200_000;
        /// Requests outside of calls (MESSAGE, OPTIONS, INFO, PUBLISH) that are on their way to a
        /// phone at the same time; beyond it new ones are answered with 503.
        max_relayed: u32 = 10_000;
        /// Subscriptions (presence, busy lamps, message waiting) that are carried at the same time;
        /// beyond it new ones are answered with 503.
        max_subscriptions: u32 = 20_000;
        /// Connections at the same time, of all transports but UDP.
        max_connections: u32 = 16_384;
        /// A connection without traffic is closed after this time, s.
        connection_idle_s: u32 = 3_600;
    }
}

section! {
    /// Registrar: who may register and for how long.
    Registrar {
        /// Shortest registration, s; a shorter wish is answered with 423.
        min_expires_s: u32 = 60;
        /// Longest registration, s; a longer wish is shortened.
        max_expires_s: u32 = 7_200;
        /// Registration when the phone does not say how long, s.
        default_expires_s: u32 = 3_600;
        /// Contacts of one user at the same time.
        max_contacts: u32 = 10;
        /// OPTIONS is sent to each contact over UDP after this time, s, so that the way through its
        /// NAT stays open; 0 for never.
        ping_s: u32 = 0;
        /// Phones that keep their flow alive (RFC 5626) are told to show a sign of life this often, s;
        /// a silent flow is given up shortly after. 0 for no such promise.
        flow_timer_s: u32 = 120;
        /// Lifetime of a nonce, s; then the phone is challenged again.
        nonce_lifetime_s: u32 = 300;
        /// Digest algorithms offered, the best first (RFC 8760): "SHA-256", "MD5". Phones that know
        /// MD5 alone should pass over the other one, but many (baresip 1.0, sipp 3.6) give up when
        /// they see it, so that SHA-256 has to be asked for here.
        algorithms: Vec<Algorithm> = vec![Algorithm::Md5];
    }
}

section! {
    /// Calls: time limits, ringing, who may call.
    Call {
        /// An unanswered call ends after this time, s.
        no_answer_s: u32 = 120;
        /// An answered call ends after this time, s; 0 for never.
        max_duration_s: u32 = 43_200;
        /// A session that nobody refreshes ends after this time, s (RFC 4028); parties without
        /// session timers are asked for a sign of life (OPTIONS) twice in it. 0 for neither.
        session_expires_s: u32 = 1_800;
        /// Shortest session that a party may ask for, s; a shorter one is answered with 422. RFC
        /// 4028 wants 90 at least.
        min_se_s: u32 = 90;
        /// Whether provisional responses to callers that support 100rel are repeated until they
        /// are acknowledged (RFC 3262). Those who require it always get them so.
        reliable_provisional: bool = true;
        /// Whether keys that a party sends as telephone-events (RFC 4733) go as INFO
        /// (application/dtmf-relay) to a party that lists INFO and takes no telephone-events.
        dtmf_info: bool = false;
        /// Calls at the same time; beyond it new ones are answered with 503. The open-files limit
        /// may allow fewer (`tandem check` says how many).
        max_calls: u32 = 20_000;
        /// Calls of one user at the same time, made or taken; 0 for any number. Beyond it a caller
        /// gets 503 and who calls the user 486; emergency calls are always let through.
        max_calls_per_user: u32 = 0;
        /// How the contacts of a user ring: "all" at once, or "by_priority" (q), one after another.
        ring: Ring = Ring::All;
        /// With "by_priority": the next contact rings after this time, s.
        ring_next_s: u32 = 15;
        /// Phones that ring for one call.
        max_branches: u32 = 10;
        /// Redirections (3xx) that a call follows in a row; 0 hands each to the caller.
        max_redirects: u32 = 5;
        /// Whether phones are told who calls (P-Asserted-Identity), not only peers in sip.trusted.
        /// What a caller wants private is not shown.
        show_identity: bool = false;
        /// On SIGTERM no new calls are taken (503), and those that are up may go on for this time, s;
        /// then they are ended. 0 ends them at once.
        drain_s: u32 = 30;
        /// Max-Forwards of requests that come without (RFC 3261 §8.1.1.6).
        max_forwards: u8 = 70;
        /// Whether callers must have registered credentials (an INVITE is challenged).
        authenticate: bool = true;
        /// Whether users may call other domains (`sip:bob@example.com`), whose servers are found by
        /// DNS. Off, since a server that calls anywhere for anybody is soon abused; on, only callers
        /// who have proved who they are may.
        foreign_domains: bool = false;
        /// Whether a call ends when a party that does not hold it sends no media for
        /// media.timeout_ms.
        end_on_media_timeout: bool = true;
    }
}

section! {
    /// DNS: how servers of other domains and trunks are found (RFC 3263).
    Dns {
        /// DNS servers, `"192.0.2.53"` or with a port; empty for those of /etc/resolv.conf.
        servers: Vec<DnsServer> = Vec::new();
        /// A DNS server has this time to answer, ms; then the question is repeated.
        timeout_ms: u32 = 2_000;
        /// How often a question is repeated.
        retries: u32 = 1;
        /// Questions at the same time; beyond it calls that need another one are answered with 503.
        max_lookups: u32 = 1_000;
        /// Answers are kept as long as they say, and no longer than this, s.
        max_ttl_s: u32 = 86_400;
        /// That there are no records is believed no longer than this, s.
        max_negative_ttl_s: u32 = 300;
        /// A server that gives no sign within this time is given up for the next one of the same
        /// destination, if there is one, ms (RFC 3263 §4.3).
        next_hop_ms: u32 = 4_000;
        /// A server that failed (no connection, no answer, 503) is tried last for this time, s; the
        /// time doubles with each failure in a row.
        penalty_s: u32 = 30;
        /// The longest such time, s.
        max_penalty_s: u32 = 600;
    }
}

section! {
    /// Guard: what keeps the server working under attack and under more calls than it can do. How
    /// bans work and why nobody is shut out by a forged address is told in control/README.md.
    Guard {
        /// Networks that are never banned and have no limit per source; the sources of trunks and
        /// sip.trusted are so too.
        trusted: Vec<Network> = Network::loopback();
        /// New requests (not in dialogs) that a source may send per second, an IPv4 address or an
        /// IPv6 /64; 0 for any number. Beyond it they are answered with 503 and then not at all,
        /// but for phones that are registered.
        source_rate: u32 = 200;
        /// As many of them at once: a whole office that comes back after a power cut.
        source_burst: u32 = 2_000;
        /// Wrong passwords of a source before it is banned; 0 for no bans but by hand. Ten times as
        /// many if phones are registered from it.
        failures: u32 = 20;
        /// One of them is forgiven after each of this time, s.
        forgiven_every_s: u32 = 10;
        /// The first ban of a source, s; each next one is four times as long.
        ban_s: u32 = 60;
        /// No ban is longer, s.
        ban_max_s: u32 = 3_600;
        /// Words in the User-Agent of scanners, in any case: such requests get no answer.
        scanners: Vec<String> = [
            "friendly-scanner", "sipvicious", "sip-scan", "sundayddr", "sipcli", "iwar",
            "vaxsipuseragent", "pplsip",
        ]
        .map(str::to_owned)
        .into();
        /// New calls are refused with 503 when messages wait for longer than this to be read, ms;
        /// as many as it takes. 0 refuses none.
        max_delay_ms: u32 = 100;
        /// When who was refused may try again, s; up to twice as much, so that not all come back at
        /// once.
        retry_after_s: u32 = 3;
    }
}

section! {
    /// Media: addresses, ports and how packets are relayed.
    Media {
        /// Addresses that media ports are bound to, one per IP version; empty for the SIP addresses.
        addresses: Vec<IpAddr> = Vec::new();
        /// Addresses that others see instead of ours, as in sip.advertised.
        advertised: Vec<Advertised> = Vec::new();
        /// Audio codecs that pass, in the order in which they are offered on: "opus", "PCMA",
        /// "L16/44100/2"; empty for all, as they come. An offer that has none of them is answered
        /// with 488. Telephone events and comfort noise follow the codecs.
        codecs: Vec<CodecName> = Vec::new();
        /// Codecs that never pass, of audio and video.
        codecs_refused: Vec<CodecName> = Vec::new();
        /// Whether media goes over this machine: "always", or "never" where all phones reach each
        /// other by themselves (one LAN). With "never" descriptions pass as they are: no ports, no
        /// measurement, no media timeout, no codec policy, and the parties see each other's
        /// addresses.
        relay: Relay = Relay::Always;
        /// First media port. A leg takes an even port for RTP and the next one for RTCP.
        port_min: u16 = limits::DEFAULT_PORT_RANGE.0;
        /// Last media port.
        port_max: u16 = limits::DEFAULT_PORT_RANGE.1;
        /// What drives the sockets: "auto", "io_uring" or "mmsg".
        port: PortKind = PortKind::Auto;
        /// Engine workers, one core each; 0 for all cores but one.
        workers: u32 = 0;
        /// Port pairs that each worker keeps bound ahead of need.
        endpoints_ahead: u32 = limits::DEFAULT_ENDPOINTS_AHEAD;
        /// Call legs of one worker at the same time.
        max_terminations: u32 = limits::DEFAULT_TERMINATIONS;
        /// A port rests for this time before it is used again, ms.
        quarantine_ms: u32 = limits::DEFAULT_QUARANTINE_MS;
        /// Silence after which the stream may go on from another address (Wi-Fi to LTE), ms; 0 for
        /// never.
        relearn_silence_ms: u32 = limits::DEFAULT_RELEARN_SILENCE_MS;
        /// Whether media is taken only from the address in the SDP (no phones behind NAT).
        strict_source: bool = false;
        /// Silence of a party after which a media timeout is reported, ms; 0 for never.
        timeout_ms: u32 = limits::DEFAULT_MEDIA_TIMEOUT_MS;
        /// The engine ends what this daemon has not renewed for this time, ms.
        lease_ms: u32 = limits::DEFAULT_LEASE_MS;
        /// DSCP of media packets, 0 to 63; 46 is EF (RFC 4594).
        dscp: u8 = 46;
    }
}

section! {
    /// Engine: the process that relays media.
    Engine {
        /// The program; empty for `tandem-engine` beside `tandem`.
        program: String = String::new();
        /// Its socket; empty for `engine.sock` in the data folder.
        socket: String = String::new();
        /// It ends itself when it has neither a daemon nor a call for this time, s.
        linger_s: u32 = 60;
        /// Packet buffers of each worker, 2 KiB each.
        frames: u32 = 8_192;
        /// Whether each worker is bound to a core of its own.
        pin: bool = false;
    }
}

section! {
    /// HTTP: the API and the metrics.
    Http {
        /// Address with port to listen on; port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        /// Whether addresses that the network can reach are allowed. The API asks for no password:
        /// only behind a firewall or a proxy that does.
        allow_remote: bool = false;
    }
}

section! {
    /// Store: what is kept on disk.
    Store {
        /// SQLite file, relative to the data folder.
        file: String = "tandem.db".to_owned();
    }
}

section! {
    /// Trace: the SIP messages of the last minutes, for `tandem trace`, and copies for Homer.
    Trace {
        /// Memory for them, MiB; 0 keeps none. A call of two parties takes about 12 KiB.
        memory_mib: u32 = 16;
        /// Address with port of a capture server that gets a copy of each message (HEP version 3);
        /// empty for none. Copies go in the clear.
        hep_server: String = String::new();
        /// Our number at the capture server.
        hep_id: u32 = 2_001;
        /// Password of the capture server; empty for none.
        hep_password: String = String::new();
    }
}

section! {
    /// Log, on standard error.
    Log {
        /// "error", "warn", "info", "debug", "trace", or filters as "info,tandem::call=debug"; the
        /// environment's TANDEM_LOG comes first.
        level: String = "info".to_owned();
        /// "text" or "json".
        format: LogFormat = LogFormat::Text;
        /// Lines about calls in a second at most, so that the log does not cost more than the calls;
        /// one line says how many were left out. 0 for all.
        call_lines_per_s: u32 = 50;
        /// Whether phone numbers and addresses are shown in full.
        show_parties: bool = false;
    }
}

section! {
    /// Numbers: how dialled digits become E.164 (+4930123456), which is what routes are written for.
    Numbers {
        /// Country code, without +; empty if national numbers shall stay as they are dialled.
        country_code: String = String::new();
        /// What is dialled before a country code.
        international_prefix: String = "00".to_owned();
        /// What is dialled before an area code; empty where there is none.
        national_prefix: String = "0".to_owned();
        /// Area code that numbers dialled without any get; empty for none.
        area_code: String = String::new();
        /// Length of national numbers that are dialled without prefix (10 in North America); 0 for
        /// none.
        national_digits: u32 = 0;
        /// Numbers up to this many digits are extensions and short codes, and stay as they are.
        local_digits: u32 = 5;
        /// Emergency numbers: as dialled, first of all, and stopped by no limit.
        emergency: Vec<String> = vec!["112".to_owned(), "911".to_owned()];
    }
}

section! {
    /// Trunks: other switches and providers, one `[[trunk]]` each. Their calls are not challenged.
    Trunk {
        /// Name, in routes and listings.
        name: String = String::new();
        /// Where calls go: "sip:192.0.2.9:5060;transport=tcp", or a domain.
        peer: String = String::new();
        /// Addresses and networks that its calls come from; empty for the addresses of the peer and
        /// of its registrar.
        sources: Vec<Network> = Vec::new();
        /// Domain in From, To and Request-URI; empty for the host of the peer.
        domain: String = String::new();
        /// Our user name there.
        username: String = String::new();
        /// Name for the digest, if it is not the user name.
        auth_username: String = String::new();
        /// Password; it is never printed.
        password: Secret = Secret::default();
        /// Whether to register there.
        register: bool = false;
        /// Where to register; empty for the peer.
        registrar: String = String::new();
        /// Registration that is asked for, s; it is refreshed in good time.
        expires_s: u32 = 600;
        /// Our main number there, in E.164.
        number: String = String::new();
        /// The caller's number there: "pass" (the user's own, else `number`), "replace" (`number`),
        /// or "anonymous".
        caller_id: CallerId = CallerId::Pass;
        /// Whether P-Asserted-Identity goes there and is believed from there (RFC 3325).
        trusted: bool = false;
        /// How it wants numbers: "e164" (+4930…), "digits" (4930…), "international" (004930…),
        /// "national" (030…).
        number_format: NumberFormat = NumberFormat::E164;
        /// Calls over it at the same time; 0 for any number. Emergency calls are always let through.
        max_calls: u32 = 0;
        /// The first answer to an INVITE, of any kind, must come in this time, s; then the next
        /// trunk is tried.
        answer_within_s: u32 = 5;
        /// Answers after which the next trunk is tried: a status, "5xx", or "q850/34" for a cause in
        /// the Reason header.
        failover: Vec<Cause> = Failover::defaults();
        /// OPTIONS is sent after this time, s, to see whether it answers; 0 for never.
        options_s: u32 = 0;
    }
}

section! {
    /// Routes: which number goes where, one `[[route]]` each. The longest prefix decides; routes of
    /// the same prefix are tried by priority.
    Route {
        /// What the number begins with: "+49" for E.164, "11" for local numbers, "" for all.
        prefix: String = String::new();
        /// Trunk that it goes to.
        trunk: String = String::new();
        /// Or: user of ours that it goes to.
        user: String = String::new();
        /// The lowest first.
        priority: u16 = 10;
        /// Share of the calls among equal priorities.
        weight: u16 = 1;
        /// Characters that are taken from the front of the number, the + included.
        strip: u32 = 0;
        /// What is put in front of it then.
        add: String = String::new();
        /// Who may use it: users, and "trunk:NAME" for calls from a trunk; empty for all users.
        from: Vec<String> = Vec::new();
        /// As trunk.failover, for this route; empty for that of the trunk.
        failover: Vec<Cause> = Vec::new();
    }
}

/// The whole configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// SIP.
    pub sip: Sip,
    /// Registrar.
    pub registrar: Registrar,
    /// Calls.
    pub call: Call,
    /// Numbers.
    pub numbers: Numbers,
    /// Trunks.
    pub trunk: Vec<Trunk>,
    /// Routes.
    pub route: Vec<Route>,
    /// DNS.
    pub dns: Dns,
    /// Guard.
    pub guard: Guard,
    /// Media.
    pub media: Media,
    /// Engine.
    pub engine: Engine,
    /// HTTP.
    pub http: Http,
    /// Store.
    pub store: Store,
    /// Trace.
    pub trace: Trace,
    /// Log.
    pub log: Log,
}

/// A section: its name, its sentence and its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// The name.
    pub name: &'static str,
    /// What it is about.
    pub doc: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
    /// Whether there may be several: `[[name]]`.
    pub many: bool,
}

/// All sections, in the order of the printed configuration.
pub const SECTIONS: &[Section] = &[
    Section { name: "sip", doc: Sip::DOC, keys: Sip::KEYS, many: false },
    Section { name: "registrar", doc: Registrar::DOC, keys: Registrar::KEYS, many: false },
    Section { name: "call", doc: Call::DOC, keys: Call::KEYS, many: false },
    Section { name: "numbers", doc: Numbers::DOC, keys: Numbers::KEYS, many: false },
    Section { name: "trunk", doc: Trunk::DOC, keys: Trunk::KEYS, many: true },
    Section { name: "route", doc: Route::DOC, keys: Route::KEYS, many: true },
    Section { name: "dns", doc: Dns::DOC, keys: Dns::KEYS, many: false },
    Section { name: "guard", doc: Guard::DOC, keys: Guard::KEYS, many: false },
    Section { name: "media", doc: Media::DOC, keys: Media::KEYS, many: false },
    Section { name: "engine", doc: Engine::DOC, keys: Engine::KEYS, many: false },
    Section { name: "http", doc: Http::DOC, keys: Http::KEYS, many: false },
    Section { name: "store", doc: Store::DOC, keys: Store::KEYS, many: false },
    Section { name: "trace", doc: Trace::DOC, keys: Trace::KEYS, many: false },
    Section { name: "log", doc: Log::DOC, keys: Log::KEYS, many: false },
];

/// The defaults of a table of an array, by the name of its section.
#[must_use]
pub fn entry_defaults(section: &str) -> Option<toml::Table> {
    match section {
        "trunk" => toml::Table::try_from(Trunk::default()).ok(),
        "route" => toml::Table::try_from(Route::default()).ok(),
        _ => None,
    }
}

//! Wishes and times of REGISTER.

use super::*;
use crate::config::Config;
use crate::net::Addresses;

fn settings() -> Settings {
    let config = Config::default();
    Settings::new(&config, &Addresses::plain(&config.sip.listen, &config.sip.listen))
}

#[test]
fn times_are_granted_within_bounds() {
    let settings = settings();
    assert_eq!(granted(&settings, None), Ok(3600));
    assert_eq!(granted(&settings, Some(0)), Ok(0));
    assert_eq!(granted(&settings, Some(60)), Ok(60));
    assert_eq!(granted(&settings, Some(u32::MAX)), Ok(7200));
    assert_eq!(granted(&settings, Some(59)).unwrap_err().status(), 423);
}

#[test]
fn requests_go_where_the_register_came_from() {
    let flow = Flow::udp("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:41000".parse().unwrap());
    let register = |path: &'static [String], flow| Register {
        aor: "sip:a@b",
        call_id: "x",
        cseq: 1,
        path,
        user_agent: None,
        flow,
        now: Instant::ZERO,
        wall: Timestamp::UNIX_EPOCH,
    };
    let way = |contact: &str| contact_flow(&register(&[], flow), contact).remote.to_string();
    assert_eq!(way("sip:a@10.0.0.7:5062"), "198.51.100.7:41000");
    assert_eq!(way("sip:a@198.51.100.7:5062"), "198.51.100.7:5062");
    assert_eq!(way("sip:a@203.0.113.9"), "198.51.100.7:41000");
    assert_eq!(way("sip:a@phone.example"), "198.51.100.7:41000");
    let tcp = Flow::tcp(flow.local, flow.remote, 9);
    assert_eq!(contact_flow(&register(&[], tcp), "sip:a@198.51.100.7:5062"), tcp);
}

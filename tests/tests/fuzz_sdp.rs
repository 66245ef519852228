//! Fuzz target: any bytes as a session description, read by every accessor, edited and read again.
//!
//! `TANDEM_FUZZ_SECONDS` says for how long (default 1).

use std::net::IpAddr;
use std::time::Duration;
use tandem_signalling::sdp::{Direction, RtcpAddress, Section, SessionDescription};

const SEEDS: [&str; 3] = [
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n\
     m=audio 4000/2 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
     a=rtcp:4001 IN IP4 192.0.2.1\r\na=rtcp-mux\r\na=sendonly\r\na=ptime:20\r\n",
    "v=0\no=a 1 1 IN IP6 ::1\ns=-\nt=0 0\nm=audio 9 RTP/SAVP 96\nc=IN IP6 ::\n\
     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:AAAA\na=ice-ufrag:x\na=ice-pwd:y\n",
    "v=0\r\nm=image 4000 udptl t38\r\nm=audio 0 RTP/AVP 8\r\na=group:BUNDLE 1\r\n",
];

fn budget() -> Duration {
    let seconds = std::env::var("TANDEM_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Bytes as they are, and bytes spliced into a valid description: the latter get past `v=0`.
fn check(bytes: &[u8]) {
    read_and_edit(bytes);
    for seed in SEEDS {
        let at = bytes.first().map_or(0, |&b| usize::from(b) * seed.len() / 256);
        let mut spliced = seed.as_bytes()[..at].to_vec();
        spliced.extend_from_slice(bytes.get(1..).unwrap_or_default());
        spliced.extend_from_slice(&seed.as_bytes()[at..]);
        read_and_edit(&spliced);
    }
}

fn read_and_edit(bytes: &[u8]) {
    let Ok(mut sdp) = SessionDescription::parse(bytes) else { return };
    let emitted = sdp.emit();
    let again = SessionDescription::parse(&emitted).expect("what was emitted can be read");
    assert_eq!(again.emit(), emitted);
    let _ = sdp.origin();
    for index in 0..sdp.media_count() {
        read_media(&sdp, index);
    }
    let lines = sdp.media_count();
    for index in 0..lines {
        cut_formats(&mut sdp, index);
    }
    sdp.pad_media(lines + 1);
    sdp.truncate_media(lines);
    assert_eq!(sdp.media_count(), lines);
    let ip: IpAddr = "192.0.2.7".parse().expect("literal");
    sdp.remove_ice();
    sdp.remove_dtls();
    sdp.remove_bundle();
    sdp.set_origin(1, 2, ip);
    sdp.set_connection(Section::Session, ip);
    for index in 0..sdp.media_count() {
        sdp.set_connection(Section::Media(index), ip);
        sdp.set_port(index, 30_000);
        sdp.set_direction(index, Direction::SendOnly);
        sdp.set_rtcp(index, RtcpAddress { port: 30_001, ip: None });
        assert_eq!(sdp.media(index).map(|line| (line.port, line.port_count)), Some((30_000, 1)));
        assert_eq!(sdp.direction(index), Direction::SendOnly);
        assert_eq!(sdp.rtcp(index), Some(RtcpAddress { port: 30_001, ip: None }));
        assert_eq!(sdp.media_connection(index).map(|c| c.host.ip()), Ok(Some(ip)));
    }
    assert_eq!(sdp.origin().map(|origin| origin.host.ip()), Ok(Some(ip)));
    let edited = SessionDescription::parse(&sdp.emit());
    match edited {
        Ok(edited) => assert_eq!(edited.emit(), sdp.emit()),
        // Edits add lines and octets, which may take a description that is near a limit over it.
        Err(_) => assert!(bytes.len() > 8_000),
    }
}

/// Keeps every second format, the last one first.
fn cut_formats(sdp: &mut SessionDescription, index: usize) {
    let Some(line) = sdp.media(index) else { return };
    let all: Vec<String> = line.formats.split_ascii_whitespace().map(str::to_owned).collect();
    let kept: Vec<&str> = all.iter().step_by(2).map(String::as_str).rev().collect();
    sdp.set_formats(index, &kept);
    if !kept.is_empty() {
        let line = sdp.media(index).expect("it is still there");
        assert!(line.formats.split_ascii_whitespace().eq(kept.iter().copied()));
    }
}

fn read_media(sdp: &SessionDescription, index: usize) {
    let line = sdp.media(index).expect("counted");
    for payload_type in line.payload_types() {
        assert!(payload_type < 128);
        let _ = (sdp.rtpmap(index, payload_type), sdp.fmtp(index, payload_type));
    }
    assert!(sdp.rtpmaps(index).all(|map| map.clock_rate > 0));
    let _ = (sdp.media_connection(index), sdp.rtcp(index), sdp.rtcp_mux(index));
    let _ = (sdp.ptime_ms(index), sdp.ice_credentials(index), sdp.fingerprint(index));
    let _ = (sdp.setup(index), sdp.cryptos(index).count());
}

#[test]
fn seeds_are_read() {
    for seed in SEEDS {
        assert!(SessionDescription::parse(seed.as_bytes()).is_ok());
        check(seed.as_bytes());
    }
}

#[test]
fn any_session_description() {
    bolero::check!().with_test_time(budget()).with_iterations(usize::MAX).for_each(check);
}

//! Random sequences of offers, answers, refusals and ends, replayable by seed: whatever the parties
//! do, no edge leads nowhere, and nothing is left behind.

use super::*;
use crate::link::fake::FakeLink;
use std::collections::HashSet;

const MEDIA: [&str; 12] = [
    "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n",
    "m=audio 4000 RTP/AVP 0\r\na=sendonly\r\na=rtcp-mux\r\n",
    "m=audio 5000/2 RTP/AVPF 96\r\na=rtpmap:96 opus/48000/2\r\na=recvonly\r\n",
    "m=audio 0 RTP/AVP 8\r\n",
    "m=audio 4000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n",
    "m=audio 4000 RTP/AVP 8\r\nc=IN IP6 2001:db8::2\r\n",
    "m=audio 4000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:QQ==\r\n",
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=fingerprint:sha-256 AA\r\n",
    "m=video 4002 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\na=inactive\r\n",
    "m=image 4004 udptl t38\r\n",
    "m=message 4000 TCP/MSRP *\r\n",
    "m=audio nonsense\r\n",
];

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit).unwrap()
    }

    fn leg(&mut self) -> u8 {
        u8::try_from(self.below(4)).unwrap()
    }

    /// A description with some media lines, and seldom a broken octet.
    fn sdp(&mut self, lines: usize) -> Vec<u8> {
        let mut text = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\n".to_owned();
        if self.below(8) > 0 {
            text += "c=IN IP4 198.51.100.1\r\n";
        }
        text += "t=0 0\r\n";
        for _ in 0..lines {
            // Mostly plain audio, so that many exchanges come to an end.
            let kind = if self.below(3) > 0 { 0 } else { self.below(MEDIA.len() as u64) };
            text += MEDIA[kind];
        }
        let mut bytes = text.into_bytes();
        if self.below(10) == 0 {
            let at = self.below(bytes.len() as u64);
            bytes[at] = u8::try_from(self.below(256)).unwrap();
        }
        bytes
    }
}

fn check(link: &FakeLink, seed: u64) {
    let state = link.state();
    let mut places = HashSet::new();
    for (handle, spec) in &state.put {
        assert!(
            places.insert((spec.context, spec.leg, spec.stream)),
            "seed {seed}: twice {spec:?}"
        );
        for edge in spec.edges.iter().filter(|edge| edge.generation != 0) {
            let target = state.put.iter().find(|(other, _)| {
                (other.worker, other.index, other.generation)
                    == (handle.worker, edge.index, edge.generation)
            });
            let (_, target) = target.unwrap_or_else(|| panic!("seed {seed}: an edge to nowhere"));
            assert_eq!((target.context, target.stream), (spec.context, spec.stream), "seed {seed}");
            assert_ne!(target.leg, spec.leg, "seed {seed}: a leg hears itself");
        }
    }
}

/// Runs one call through random steps; gives how many exchanges came to an end.
fn run(seed: u64) -> usize {
    let mut random = Random(seed);
    let link = FakeLink::new();
    let mut media = MediaPlane::new(MediaConfig::default(), Box::new(link.clone()));
    let call = CallKey(seed);
    let mut agreed = 0;
    let mut offered = (0, 1, 0);
    for step in 0..60 {
        let now = Instant::from_millis(step);
        let (from, to) = (random.leg(), random.leg());
        if from == to {
            continue;
        }
        match random.below(16) {
            0..6 => {
                let lines = random.below(5);
                if media.offer(now, call, from, to, &random.sdp(lines)).is_ok() {
                    offered = (from, to, lines);
                }
            }
            6..12 => {
                // Mostly what was offered last is answered.
                let (from, to, lines) = match random.below(4) {
                    0 => (from, to, random.below(5)),
                    _ => (offered.1, offered.0, offered.2),
                };
                let provisional = random.below(2) == 0;
                let answer = media.answer(now, call, from, to, &random.sdp(lines), provisional);
                agreed += usize::from(answer.is_ok());
            }
            12 => media.reject(now, call, from, to),
            13 => media.confirm(now, call, from, to),
            14 => media.drop_leg(now, call, from),
            _ => drop(media.handle_link(now)),
        }
        check(&link, seed);
        let _ = (media.report(call), media.is_held(call, from), media.leg_name(call, to));
    }
    media.release(Instant::from_millis(100), call);
    media.handle_link(Instant::from_millis(100));
    assert!(link.state().put.is_empty(), "seed {seed}: terminations are left");
    assert!(media.owners.is_empty() && media.calls.is_empty(), "seed {seed}");
    agreed
}

#[test]
fn nothing_leads_nowhere_and_nothing_is_left() {
    let agreed: usize = (0..500).map(run).sum();
    assert!(agreed > 500, "the sequences reach agreement: {agreed}");
}

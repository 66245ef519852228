//! Which codecs pass, and in which order they are offered on.
//!
//! A codec that is not allowed is taken out of the description, with its attributes, so that the
//! other side never learns of it; the numbers of the others stay, since packets pass as they are.
//! What only goes along with a codec follows it: telephone events and comfort noise of its clock
//! rate (RFC 4733 §2.1), retransmission (RFC 4588) and redundancy (RFC 2198) of it.

use crate::config::types::CodecName;
use tandem_signalling::sdp::{RtpMap, SessionDescription};

/// Which codecs pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodecPolicy {
    /// Audio codecs that pass, the preferred one first; none for all of them, as they come.
    pub allowed: Vec<CodecName>,
    /// Codecs that do not, of all kinds of media.
    pub refused: Vec<CodecName>,
}

/// What a format of a media line is to the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A codec; those of low rank come first.
    Codec { rank: usize, clock_rate: Option<u32> },
    /// Goes along with codecs of this clock rate.
    Companion { clock_rate: u32 },
    /// Goes along with the formats that its parameters name.
    Wrapper,
    /// Does not pass.
    Refused,
}

impl CodecPolicy {
    /// Filters an offer and puts it in order; gives the lines that have no codec left, which stay
    /// as they were.
    pub(super) fn apply_to_offer(&self, sdp: &mut SessionDescription) -> Vec<bool> {
        (0..sdp.media_count()).map(|index| self.apply(sdp, index, true)).collect()
    }

    /// Filters an answer; the order is the answerer's (RFC 3264 §6.1). Of several kinds of
    /// telephone events those stay that have the clock rate of a codec of the answer.
    pub(super) fn apply_to_answer(&self, sdp: &mut SessionDescription) -> Vec<bool> {
        (0..sdp.media_count()).map(|index| self.apply(sdp, index, false)).collect()
    }

    fn apply(&self, sdp: &mut SessionDescription, index: usize, offer: bool) -> bool {
        let Some(line) = sdp.media(index) else { return false };
        let is_rtp = line.proto.get(..4).is_some_and(|it| it.eq_ignore_ascii_case("RTP/"));
        if line.port == 0 || !is_rtp {
            return false;
        }
        let is_audio = line.kind.eq_ignore_ascii_case("audio");
        let idle = self.refused.is_empty() && (self.allowed.is_empty() || !is_audio);
        if idle && (offer || !is_audio) {
            return false;
        }
        let formats: Vec<(&str, Standing)> = line
            .formats
            .split_ascii_whitespace()
            .map(|text| (text, self.standing(sdp, index, text, is_audio)))
            .collect();
        let mut kept = kept(sdp, index, &formats);
        if kept.is_empty() {
            return true;
        }
        if offer && is_audio && !self.allowed.is_empty() {
            kept.sort_by_key(|(_, standing)| match standing {
                Standing::Codec { rank, .. } => *rank,
                _ => usize::MAX,
            });
        }
        let kept: Vec<String> = kept.iter().map(|(text, _)| (*text).to_owned()).collect();
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        sdp.set_formats(index, &kept);
        false
    }

    fn standing(
        &self,
        sdp: &SessionDescription,
        index: usize,
        text: &str,
        is_audio: bool,
    ) -> Standing {
        let listed = is_audio && !self.allowed.is_empty();
        let number = text.parse().ok().filter(|number| *number < 128);
        let Some(map) = number.and_then(|number| sdp.rtpmap(index, number)) else {
            // What has no name cannot be on a list.
            let unnamed = Standing::Codec { rank: 0, clock_rate: None };
            return if listed { Standing::Refused } else { unnamed };
        };
        let is = |name: &str| map.encoding.eq_ignore_ascii_case(name);
        if self.refused.iter().any(|it| it.is(&map)) {
            Standing::Refused
        } else if is("telephone-event") || is("CN") {
            Standing::Companion { clock_rate: map.clock_rate }
        } else if is("rtx") || is("red") {
            Standing::Wrapper
        } else {
            self.rank(&map, listed).map_or(Standing::Refused, |rank| Standing::Codec {
                rank,
                clock_rate: Some(map.clock_rate),
            })
        }
    }

    fn rank(&self, map: &RtpMap<'_>, listed: bool) -> Option<usize> {
        if listed { self.allowed.iter().position(|it| it.is(map)) } else { Some(0) }
    }
}

/// The formats that stay, in their order; none if no codec does.
fn kept<'a>(
    sdp: &SessionDescription,
    index: usize,
    formats: &[(&'a str, Standing)],
) -> Vec<(&'a str, Standing)> {
    let rates: Vec<u32> = formats
        .iter()
        .filter_map(|(_, standing)| match standing {
            Standing::Codec { clock_rate, .. } => *clock_rate,
            _ => None,
        })
        .collect();
    let is_codec = |(_, it): &&(&str, Standing)| matches!(it, Standing::Codec { .. });
    if !formats.iter().any(|it| is_codec(&it)) {
        return Vec::new();
    }
    let name = |text: &str| {
        let map = sdp.rtpmap(index, text.parse().ok()?)?;
        Some(map.encoding.to_ascii_lowercase())
    };
    // Many phones have but one rate of events, whatever the codec: better that one than none.
    let fits = |text: &str, rate: u32| {
        let same = |(other, it): &(&str, Standing)| {
            matches!(it, Standing::Companion { clock_rate } if rates.contains(clock_rate))
                && name(other) == name(text)
        };
        rates.contains(&rate) || !formats.iter().any(same)
    };
    let plain: Vec<&str> = formats
        .iter()
        .filter(|(text, standing)| match standing {
            Standing::Codec { .. } => true,
            Standing::Companion { clock_rate } => fits(text, *clock_rate),
            Standing::Wrapper | Standing::Refused => false,
        })
        .map(|(text, _)| *text)
        .collect();
    let stays = |(text, standing): &&(&'a str, Standing)| match standing {
        Standing::Wrapper => wrapped(sdp, index, text).iter().all(|it| plain.contains(&&**it)),
        _ => plain.contains(text),
    };
    formats.iter().filter(stays).copied().collect()
}

/// The formats that a wrapping one carries: `apt=96` of rtx, `111/111` of red.
fn wrapped(sdp: &SessionDescription, index: usize, text: &str) -> Vec<String> {
    let number = text.parse().ok();
    let fmtp = number.and_then(|number| sdp.fmtp(index, number)).unwrap_or_default();
    let fmtp = String::from_utf8_lossy(fmtp);
    let apt = fmtp.split(';').find_map(|it| it.trim().strip_prefix("apt=")?.trim().parse().ok());
    match apt {
        Some(apt) => vec![apt],
        None => {
            let numbers = fmtp.split('/').map(str::trim);
            numbers.filter(|it| it.parse::<u8>().is_ok()).map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(allowed: &[&str], refused: &[&str]) -> CodecPolicy {
        let names = |list: &[&str]| list.iter().map(|it| it.parse().unwrap()).collect();
        CodecPolicy { allowed: names(allowed), refused: names(refused) }
    }

    fn sdp(media: &str) -> SessionDescription {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n";
        SessionDescription::parse(format!("{head}{media}").as_bytes()).unwrap()
    }

    const AUDIO: &str = "m=audio 4000 RTP/AVP 0 8 111 9 13 101 102\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtcp-fb:111 nack\r\n\
        a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
        a=rtpmap:102 telephone-event/48000\r\na=fmtp:102 0-15\r\na=ptime:20\r\n";

    fn offered(policy: &CodecPolicy, media: &str) -> (Vec<bool>, String) {
        let mut sdp = sdp(media);
        let empty = policy.apply_to_offer(&mut sdp);
        let text = String::from_utf8(sdp.emit()).unwrap();
        (empty, text[text.find("m=").unwrap()..].to_owned())
    }

    fn formats(policy: &CodecPolicy, media: &str) -> String {
        let line = offered(policy, media).1.lines().next().unwrap().to_owned();
        line.split(" RTP/AVP ").nth(1).unwrap().to_owned()
    }

    #[test]
    fn without_a_policy_nothing_changes() {
        assert_eq!(offered(&CodecPolicy::default(), AUDIO), (vec![false], AUDIO.to_owned()));
    }

    #[test]
    fn the_list_allows_and_orders() {
        assert_eq!(formats(&policy(&["pcma", "PCMU"], &[]), AUDIO), "8 0 13 101");
        assert_eq!(formats(&policy(&["opus", "PCMA"], &[]), AUDIO), "111 8 13 101 102");
        assert_eq!(formats(&policy(&["opus"], &[]), AUDIO), "111 13 102");
        assert_eq!(
            formats(&policy(&["opus/48000/2", "G722/8000"], &[]), AUDIO),
            "111 9 13 101 102"
        );
        let (_, text) = offered(&policy(&["PCMA"], &[]), AUDIO);
        let expected = "m=audio 4000 RTP/AVP 8 13 101\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=fmtp:101 0-15\r\na=ptime:20\r\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn refused_codecs_go_and_the_order_stays() {
        assert_eq!(formats(&policy(&[], &["PCMU", "opus"]), AUDIO), "8 9 13 101");
        assert_eq!(formats(&policy(&[], &["telephone-event"]), AUDIO), "0 8 111 9 13");
        assert_eq!(formats(&policy(&["PCMA", "opus"], &["CN"]), AUDIO), "8 111 101 102");
    }

    #[test]
    fn a_line_without_any_codec_left_is_told_and_stays() {
        for policy in [policy(&["G729"], &[]), policy(&[], &["PCMU", "PCMA"])] {
            let media = "m=audio 4000 RTP/AVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n";
            assert_eq!(offered(&policy, media), (vec![true], media.to_owned()));
        }
        // Rejected lines and others than RTP are none of its business.
        let media = "m=audio 0 RTP/AVP 0\r\nm=image 4000 udptl t38\r\n";
        assert_eq!(offered(&policy(&["G729"], &[]), media), (vec![false; 2], media.to_owned()));
    }

    #[test]
    fn one_rate_of_events_is_better_than_none() {
        let media = "m=audio 4000 RTP/AVP 111 0 101\r\na=rtpmap:111 opus/48000/2\r\n\
            a=rtpmap:101 telephone-event/8000\r\n";
        assert_eq!(formats(&policy(&["opus"], &[]), media), "111 101");
    }

    #[test]
    fn the_list_is_about_audio_and_refusals_about_all() {
        let video = "m=video 4002 RTP/AVP 96 97 98 99\r\na=rtpmap:96 VP8/90000\r\n\
            a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\na=rtpmap:98 H264/90000\r\n\
            a=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n";
        assert_eq!(formats(&policy(&["PCMA"], &[]), video), "96 97 98 99");
        assert_eq!(formats(&policy(&[], &["vp8"]), video), "98 99");
    }

    #[test]
    fn redundancy_goes_with_its_codec() {
        let media = "m=audio 4000 RTP/AVP 63 111 0\r\na=rtpmap:63 red/48000/2\r\n\
            a=fmtp:63 111/111\r\na=rtpmap:111 opus/48000/2\r\n";
        assert_eq!(formats(&policy(&["opus"], &[]), media), "111 63");
        assert_eq!(formats(&policy(&["PCMU"], &[]), media), "0");
    }

    #[test]
    fn formats_without_a_name_pass_unless_there_is_a_list() {
        let media = "m=audio 4000 RTP/AVP 120 8\r\n";
        assert_eq!(formats(&policy(&[], &["PCMU"]), media), "120 8");
        assert_eq!(formats(&policy(&["PCMA"], &[]), media), "8");
    }

    #[test]
    fn answers_keep_their_order_and_events_fit_their_codec() {
        let answered = |policy: &CodecPolicy, media: &str| {
            let mut sdp = sdp(media);
            let empty = policy.apply_to_answer(&mut sdp);
            (empty[0], sdp.media(0).unwrap().formats.to_owned())
        };
        let media = "m=audio 4000 RTP/AVP 8 0 101 102\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=rtpmap:102 telephone-event/48000\r\n";
        assert_eq!(answered(&CodecPolicy::default(), media), (false, "8 0 101".into()));
        assert_eq!(answered(&policy(&["PCMU", "PCMA"], &[]), media), (false, "8 0 101".into()));
        assert_eq!(answered(&policy(&["opus"], &[]), media), (true, "8 0 101 102".into()));
    }
}

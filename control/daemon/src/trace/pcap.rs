//! The messages of a call as a capture file: each in a UDP datagram between the addresses that it
//! went between, whatever its transport was, so that every analyser shows its SIP.

use super::dialogue::{Direction, TracedCall};
use core::time::Duration;
use tandem_hw::port::pcap::{PcapError, Writer};
use tandem_wire::network::{FrameAddresses, emit_ethernet};

/// Link-layer addresses of ours and the peers' side (locally administered, IEEE 802-2014 §8.4).
const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Room for Ethernet, IPv6 and UDP headers.
const HEADERS: usize = 64;

/// The file. A message that is too long for a datagram is left out.
///
/// # Errors
/// [`PcapError`], never by what the messages hold.
pub fn file(call: &TracedCall) -> Result<Vec<u8>, PcapError> {
    let mut writer = Writer::new(Vec::new())?;
    for (at, direction, flow, bytes) in &call.raw {
        let ((source_mac, source), (destination_mac, destination)) = match direction {
            Direction::In => ((THEIRS, flow.remote), (OURS, flow.local)),
            Direction::Out => ((OURS, flow.local), (THEIRS, flow.remote)),
        };
        let addresses = FrameAddresses {
            source_mac,
            destination_mac,
            source: source.into(),
            destination: destination.into(),
            dscp: 0,
        };
        let mut frame = vec![0; HEADERS + bytes.len()];
        let Ok(len) = emit_ethernet(&addresses, bytes, &mut frame) else { continue };
        let time = Duration::from_micros(u64::try_from(at.as_microsecond()).unwrap_or(0));
        writer.write(time, &frame[..len])?;
    }
    writer.finish()
}

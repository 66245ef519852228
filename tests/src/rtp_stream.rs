//! An impaired RTP stream as a capture file that sipp plays: seeded loss, reordering and jitter.

use std::io;
use std::path::Path;

/// What is done to the stream.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// Seed of all choices.
    pub seed: u64,
    /// Packets before loss.
    pub packets: u32,
    /// Chance of loss, per mille.
    pub loss_permille: u64,
    /// Chance that a packet comes after its successor, per mille.
    pub reorder_permille: u64,
    /// Highest extra delay, µs.
    pub jitter_us: u64,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Impaired {
    /// Packets in the file.
    pub sent: u64,
    /// Packets left out between the first and the last.
    pub lost: u64,
    /// Packets that come after a higher sequence number.
    pub reordered: u64,
}

/// Writes 20 ms packets of PCMA (payload type 8) with a 440 Hz tone.
///
/// # Errors
/// What the system says.
pub fn write_pcap(path: &Path, how: Impairment) -> io::Result<Impaired> {
    let mut random = SplitMix(how.seed);
    let mut schedule = Vec::new();
    let mut lost = 0;
    for index in 0..how.packets {
        let edge = index < 10 || index + 10 >= how.packets;
        if !edge && random.below(1000) < how.loss_permille {
            lost += 1;
            continue;
        }
        let mut at_us = u64::from(index) * 20_000 + random.below(how.jitter_us + 1);
        if !edge && random.below(1000) < how.reorder_permille {
            at_us += 25_000 + how.jitter_us;
        }
        schedule.push((at_us, index));
    }
    schedule.sort_unstable();
    let (mut highest, mut reordered) = (0, 0);
    let mut file = pcap_header();
    for (at_us, index) in &schedule {
        reordered += u64::from(*index < highest);
        highest = highest.max(*index);
        file.extend(record(*at_us, &frame(*index)));
    }
    std::fs::write(path, file)?;
    Ok(Impaired { sent: schedule.len() as u64, lost, reordered })
}

fn pcap_header() -> Vec<u8> {
    let mut header = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        header.extend(word.to_le_bytes());
    }
    header
}

fn record(at_us: u64, frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u32;
    let mut bytes = Vec::new();
    for word in [(at_us / 1_000_000) as u32, (at_us % 1_000_000) as u32, length, length] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(frame);
    bytes
}

/// Ethernet, IPv4 and UDP around one RTP packet; sipp replaces addresses and ports.
fn frame(index: u32) -> Vec<u8> {
    let mut rtp = vec![0x80, 8];
    rtp.extend((index as u16).wrapping_add(65_400).to_be_bytes());
    rtp.extend((index * 160).to_be_bytes());
    rtp.extend(0x7a4d_0001_u32.to_be_bytes());
    rtp.extend((0..160).map(|sample| a_law_tone(index * 160 + sample)));
    let udp_length = (rtp.len() + 8) as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0]);
    frame.extend((udp_length + 20).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    for word in [20_000_u16, 20_000, udp_length, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(rtp);
    frame
}

fn a_law_tone(sample: u32) -> u8 {
    let phase = f64::from(sample) * 440.0 * std::f64::consts::TAU / 8000.0;
    tandem_dsp::g711::a_encode((phase.sin() * 8000.0) as i16)
}

struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

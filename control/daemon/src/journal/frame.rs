//! Framing of journal entries: magic, length, CRC-32, JSON, and octets behind it.
//!
//! ```text
//! 0        4        8        12
//! | magic  | length | crc    | JSON … [ 0 | octets … ]
//! ```
//! Numbers are little-endian. Length counts JSON and octets; the zero between them, which JSON
//! never holds, is there only if octets follow. The CRC (that of ISO 3309 and gzip) covers length,
//! JSON and octets. What does not fit is skipped up to the next frame that does, so damage costs
//! only what it hit.

use super::{CallAnswered, Entry, MAX_ENTRY};
use crc32fast::Hasher;

const MAGIC: [u8; 4] = *b"\xf1TJ1";
const HEADER: usize = 12;

/// The frame of an entry; `None` if it is larger than [`MAX_ENTRY`].
#[must_use]
pub fn encode(entry: &Entry) -> Option<Vec<u8>> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, entry).ok()?;
    if let Entry::CallAnswered(CallAnswered { resume: Some(octets), .. }) = entry {
        bytes.push(0);
        bytes.extend_from_slice(octets);
    }
    let length = bytes.len() - HEADER;
    if length > MAX_ENTRY {
        return None;
    }
    let length = u32::try_from(length).ok()?.to_le_bytes();
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&length);
    let crc = crc32(&[&length, &bytes[HEADER..]]);
    bytes[8..HEADER].copy_from_slice(&crc.to_le_bytes());
    Some(bytes)
}

/// Reads all entries of a segment; tells how many octets could not be read.
#[must_use]
pub fn decode_all(mut bytes: &[u8]) -> (Vec<Entry>, u64) {
    let (mut entries, mut damaged) = (Vec::new(), 0);
    while !bytes.is_empty() {
        if let Some((entry, rest)) = decode(bytes) {
            entries.push(entry);
            bytes = rest;
        } else {
            let next = bytes
                .windows(MAGIC.len())
                .skip(1)
                .position(|window| window == MAGIC)
                .map_or(bytes.len(), |found| found + 1);
            damaged += next as u64;
            bytes = &bytes[next..];
        }
    }
    (entries, damaged)
}

/// The entry at the start and what follows it.
fn decode(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let (header, rest) = bytes.split_at_checked(HEADER)?;
    let length_octets: [u8; 4] = header[4..8].try_into().ok()?;
    let length = usize::try_from(u32::from_le_bytes(length_octets)).ok()?;
    if header[..4] != MAGIC || length > MAX_ENTRY {
        return None;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    let crc = u32::from_le_bytes(header[8..HEADER].try_into().ok()?);
    if crc32(&[&length_octets, content]) != crc {
        return None;
    }
    let end = content.iter().position(|octet| *octet == 0);
    let (json, octets) = content.split_at(end.unwrap_or(content.len()));
    let mut entry = serde_json::from_slice(json).ok()?;
    if let (Entry::CallAnswered(answered), Some(octets)) = (&mut entry, octets.get(1..)) {
        answered.resume = Some(octets.into());
    }
    Some((entry, rest))
}

/// CRC-32 (polynomial 0x04c11db7, reflected) of parts in a row.
fn crc32(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: usize) -> Entry {
        Entry::Unregistered { aor: format!("sip:{n}@tandem"), contact: "sip:x".into() }
    }

    #[test]
    fn crc_has_its_check_value() {
        assert_eq!(crc32(&[b"123456789"]), 0xcbf4_3926);
        assert_eq!(crc32(&[b"1234", b"56789"]), 0xcbf4_3926);
    }

    #[test]
    fn octets_behind_the_json_come_back_as_they_are() {
        for resume in [None, Some(&b""[..]), Some(b"\0\xf1TJ1\0{}"), Some(&[7; 2_000])] {
            let entry = Entry::CallAnswered(CallAnswered {
                id: "a\u{0}b".into(),
                ringing_at: None,
                answered_at: jiff::Timestamp::UNIX_EPOCH,
                revision: 3,
                resume: resume.map(Into::into),
            });
            assert_eq!(decode_all(&encode(&entry).unwrap()), (vec![entry], 0));
        }
    }

    #[test]
    fn frames_round_trip_and_a_torn_tail_is_ignored() {
        let mut bytes = Vec::new();
        for n in 0..3 {
            bytes.extend(encode(&entry(n)).unwrap());
        }
        assert_eq!(decode_all(&bytes), (vec![entry(0), entry(1), entry(2)], 0));
        let whole = bytes.len();
        let two = whole - encode(&entry(2)).unwrap().len();
        for cut in two + 1..whole {
            let (entries, damaged) = decode_all(&bytes[..cut]);
            assert_eq!(entries, [entry(0), entry(1)], "cut at {cut}");
            assert_eq!(damaged, (cut - two) as u64);
        }
    }

    #[test]
    fn damage_costs_only_what_it_hit() {
        let frames: Vec<_> = (0..5).map(|n| encode(&entry(n)).unwrap()).collect();
        for position in 0..frames[2].len() {
            let mut damaged = frames.clone();
            damaged[2][position] ^= 0x5a;
            let (entries, octets) = decode_all(&damaged.concat());
            assert_eq!(entries, [entry(0), entry(1), entry(3), entry(4)], "octet {position}");
            assert_eq!(octets, frames[2].len() as u64);
        }
    }

    #[test]
    fn zeros_and_noise_hold_nothing() {
        assert_eq!(decode_all(&[0; 4096]), (vec![], 4096));
        let mut state = 0x1234_5678_u32;
        let noise: Vec<u8> = (0..65_536)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        let (entries, damaged) = decode_all(&noise);
        assert!(entries.is_empty());
        assert_eq!(damaged, 65_536);
    }
}

//! The classic pcap file format (draft-ietf-opsawg-pcap): both byte orders, times in micro- and
//! nanoseconds.

use core::fmt;
use core::time::Duration;
use std::io::{self, Read, Write};
use tandem_wire::network::{self, Datagram};

const MAGIC_MICROS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOS: u32 = 0xa1b2_3c4d;
const MAGIC_PCAPNG: u32 = 0x0a0d_0d0a;
const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
/// Largest packet that a file may hold, octets (as in libpcap).
const MAX_RECORD: u32 = 262_144;

/// Why a file can't be read or written.
#[derive(Debug)]
pub enum PcapError {
    /// The file starts with no known magic number.
    NotPcap,
    /// It is a pcapng file; `editcap -F pcap` converts it.
    PcapNg,
    /// A link type that is not read (see [`Link`]).
    UnknownLink(u32),
    /// The file ends within a header or packet.
    Truncated,
    /// A packet claims this many octets, more than a file may hold.
    RecordTooLong(u32),
    /// The file itself can't be read or written.
    Io(io::Error),
}

impl fmt::Display for PcapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotPcap => f.write_str("not a pcap file"),
            Self::PcapNg => f.write_str("a pcapng file; convert it with `editcap -F pcap IN OUT`"),
            Self::UnknownLink(link) => write!(f, "link type {link} is not supported"),
            Self::Truncated => f.write_str("the file ends within a packet"),
            Self::RecordTooLong(len) => write!(f, "a packet of {len} octets is too long"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PcapError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for PcapError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io(error),
        }
    }
}

/// What a packet of the file starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header (`LINKTYPE_ETHERNET`).
    Ethernet,
    /// An IP header (`LINKTYPE_RAW`, `LINKTYPE_IPV4`, `LINKTYPE_IPV6`).
    Ip,
    /// Linux cooked capture, version 1 (`LINKTYPE_LINUX_SLL`, what `-i any` gave).
    Cooked1,
    /// Linux cooked capture, version 2 (`LINKTYPE_LINUX_SLL2`, what `-i any` gives).
    Cooked2,
}

impl Link {
    fn new(link: u32) -> Result<Self, PcapError> {
        // The upper bits tell about a frame check sequence.
        match link & 0x03ff_ffff {
            1 => Ok(Self::Ethernet),
            101 | 228 | 229 => Ok(Self::Ip),
            113 => Ok(Self::Cooked1),
            276 => Ok(Self::Cooked2),
            other => Err(PcapError::UnknownLink(other)),
        }
    }

    /// The UDP datagram in a packet of this link type, if there is one.
    #[must_use]
    pub fn datagram(self, packet: &[u8]) -> Option<Datagram<'_>> {
        match self {
            Self::Ethernet => network::parse_ethernet(packet).ok(),
            Self::Ip => network::parse_ip(packet).ok(),
            Self::Cooked1 => network::parse_ip(packet.get(16..)?).ok(),
            Self::Cooked2 => network::parse_ip(packet.get(20..)?).ok(),
        }
    }
}

/// One packet of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// When it was captured, since the Unix epoch.
    pub time: Duration,
    /// What was captured of it.
    pub bytes: Vec<u8>,
}

/// Reads a file packet by packet.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    big_endian: bool,
    /// Nanoseconds of the unit of the fractions.
    unit_ns: u32,
    link: Link,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// When it is none, or of an unsupported kind.
    pub fn new(mut input: R) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER_LEN];
        input.read_exact(&mut header[..4])?;
        let magic = [header[0], header[1], header[2], header[3]];
        let (big_endian, unit_ns) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROS, _) => (false, 1_000),
            (MAGIC_NANOS, _) => (false, 1),
            (_, MAGIC_MICROS) => (true, 1_000),
            (_, MAGIC_NANOS) => (true, 1),
            (MAGIC_PCAPNG, _) => return Err(PcapError::PcapNg),
            _ => return Err(PcapError::NotPcap),
        };
        input.read_exact(&mut header[4..])?;
        let link = Link::new(field(&header, 20, big_endian))?;
        Ok(Self { input, big_endian, unit_ns, link })
    }

    /// What its packets start with.
    #[must_use]
    pub const fn link(&self) -> Link {
        self.link
    }

    /// Reads the next packet into `record`; `false` at the end of the file.
    ///
    /// # Errors
    /// When the file ends within a packet, or a packet claims an impossible length.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, PcapError> {
        let mut header = [0; RECORD_HEADER_LEN];
        let mut got = 0;
        while got < RECORD_HEADER_LEN {
            match self.input.read(&mut header[got..]) {
                Ok(0) if got == 0 => return Ok(false),
                Ok(0) => return Err(PcapError::Truncated),
                Ok(more) => got += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let field = |at| field(&header, at, self.big_endian);
        let (seconds, fraction, len) = (field(0), field(4), field(8));
        if len > MAX_RECORD {
            return Err(PcapError::RecordTooLong(len));
        }
        record.time = Duration::from_secs(seconds.into())
            + Duration::from_nanos(u64::from(fraction) * u64::from(self.unit_ns));
        record.bytes.resize(len as usize, 0);
        self.input.read_exact(&mut record.bytes)?;
        Ok(true)
    }
}

fn field(header: &[u8], at: usize, big_endian: bool) -> u32 {
    let octets = [header[at], header[at + 1], header[at + 2], header[at + 3]];
    if big_endian { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
}

/// Writes a file of Ethernet frames with times in nanoseconds.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn new(mut output: W) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER_LEN];
        header[..4].copy_from_slice(&MAGIC_NANOS.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&MAX_RECORD.to_le_bytes());
        header[20..].copy_from_slice(&1_u32.to_le_bytes());
        output.write_all(&header)?;
        Ok(Self { output })
    }

    /// Writes a packet; `time` since the Unix epoch.
    ///
    /// # Errors
    /// When it is too long, or when the output can't be written.
    pub fn write(&mut self, time: Duration, packet: &[u8]) -> Result<(), PcapError> {
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        if len > MAX_RECORD {
            return Err(PcapError::RecordTooLong(len));
        }
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let mut header = [0; RECORD_HEADER_LEN];
        let fields = [seconds, time.subsec_nanos(), len, len];
        for (place, field) in header.as_chunks_mut::<4>().0.iter_mut().zip(fields) {
            *place = field.to_le_bytes();
        }
        self.output.write_all(&header)?;
        self.output.write_all(packet)?;
        Ok(())
    }

    /// Flushes and gives the output back.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn finish(mut self) -> Result<W, PcapError> {
        self.output.flush()?;
        Ok(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LITTLE_MICROS: &[u8] = &[
        0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0,
        0, // file
        1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0, b'a', b'b', b'c', // packet
    ];
    const BIG_NANOS: &[u8] = &[
        0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0,
        101, // file
        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, b'z', // packet
    ];

    fn all(bytes: &[u8]) -> Result<(Link, Vec<Record>), PcapError> {
        let mut reader = Reader::new(bytes)?;
        let (mut records, mut record) = (Vec::new(), Record::default());
        while reader.read(&mut record)? {
            records.push(record.clone());
        }
        Ok((reader.link(), records))
    }

    #[test]
    fn both_orders_and_units_are_read() {
        let record = |nanos, bytes: &[u8]| {
            vec![Record { time: Duration::new(1, nanos), bytes: bytes.to_vec() }]
        };
        assert_eq!(all(LITTLE_MICROS).unwrap(), (Link::Ethernet, record(2_000, b"abc")));
        assert_eq!(all(BIG_NANOS).unwrap(), (Link::Ip, record(2, b"z")));
    }

    #[test]
    fn every_cut_is_an_error_but_at_a_boundary() {
        for file in [LITTLE_MICROS, BIG_NANOS] {
            for len in 0..file.len() {
                match all(&file[..len]) {
                    Ok((_, records)) => assert!(len == 24 && records.is_empty(), "{len}"),
                    Err(error) => assert!(matches!(error, PcapError::Truncated), "{error}"),
                }
            }
        }
    }

    #[test]
    fn what_is_not_supported_is_said() {
        let with = |at: usize, octets: &[u8]| {
            let mut file = LITTLE_MICROS.to_vec();
            file[at..at + octets.len()].copy_from_slice(octets);
            all(&file).unwrap_err().to_string()
        };
        assert_eq!(with(0, b"GIF8"), "not a pcap file");
        assert!(with(0, &[0x0a, 0x0d, 0x0d, 0x0a]).contains("editcap"));
        assert_eq!(with(20, &[0x69, 0, 0, 0]), "link type 105 is not supported");
        assert_eq!(with(32, &[1, 0, 4, 0]), "a packet of 262145 octets is too long");
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let time = Duration::new(1_700_000_000, 123_456_789);
        writer.write(time, b"frame").unwrap();
        writer.write(time, b"").unwrap();
        assert!(writer.write(time, &vec![0; MAX_RECORD as usize + 1]).is_err());
        let file = writer.finish().unwrap();
        let (link, records) = all(&file).unwrap();
        assert_eq!((link, records.len()), (Link::Ethernet, 2));
        assert_eq!(records[0], Record { time, bytes: b"frame".to_vec() });
    }
}

//! RTCP compound packets (RFC 3550 §6): sender and receiver reports, source descriptions, BYE,
//! APP; extended reports (RFC 3611) by block; others by their common header.

use crate::bytes::{put, put_u16, put_u32, u16_at, u32_at};
use crate::rtp::Ssrc;

/// Packet type of a sender report.
pub const PT_SR: u8 = 200;
/// Packet type of a receiver report.
pub const PT_RR: u8 = 201;
/// Packet type of a source description.
pub const PT_SDES: u8 = 202;
/// Packet type of a BYE.
pub const PT_BYE: u8 = 203;
/// Packet type of an application-defined packet.
pub const PT_APP: u8 = 204;
/// Packet type of an extended report (RFC 3611).
pub const PT_XR: u8 = 207;
/// SDES item of the canonical name.
pub const SDES_CNAME: u8 = 1;

/// Octets of one report block.
pub const REPORT_BLOCK_LEN: usize = 24;

/// Why bytes are no RTCP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpError {
    /// Shorter than a header or its length says.
    Truncated,
    /// The version is not 2.
    BadVersion,
    /// Padding on another packet than the last, or a count that does not fit.
    BadPadding,
    /// A packet type outside 192 to 223.
    BadType,
    /// The content does not fit the count in the header.
    BadContent,
    /// The output buffer is too small.
    NoRoom,
    /// More than 31 report blocks or sources, or a text over 255 octets.
    TooMany,
}

/// A checked compound packet: versions, types, lengths and padding (RFC 3550 A.2). A reduced-size
/// packet (RFC 5506), which does not begin with a report, is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Compound<'a> {
    bytes: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks the whole.
    ///
    /// # Errors
    /// See [`RtcpError`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, RtcpError> {
        let mut rest = bytes;
        loop {
            let &[first, kind, _, _, ..] = rest else {
                return Err(RtcpError::Truncated);
            };
            if first >> 6 != 2 {
                return Err(RtcpError::BadVersion);
            }
            if !(192..=223).contains(&kind) {
                return Err(RtcpError::BadType);
            }
            let len = (usize::from(u16_at(rest, 2)) + 1) * 4;
            let packet = rest.get(..len).ok_or(RtcpError::Truncated)?;
            rest = &rest[len..];
            if first & 0x20 != 0 {
                let count = usize::from(packet[len - 1]);
                if !rest.is_empty() || count == 0 || !count.is_multiple_of(4) || count > len - 4 {
                    return Err(RtcpError::BadPadding);
                }
            }
            PacketView { bytes: packet }.check()?;
            if rest.is_empty() {
                return Ok(Self { bytes });
            }
        }
    }

    /// The packets in order.
    #[must_use]
    pub const fn packets(&self) -> Packets<'a> {
        Packets { rest: self.bytes }
    }
}

/// Iterator over the packets of a compound.
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = PacketView<'a>;

    fn next(&mut self) -> Option<PacketView<'a>> {
        if self.rest.len() < 4 {
            return None;
        }
        let len = (usize::from(u16_at(self.rest, 2)) + 1) * 4;
        let bytes = self.rest.get(..len)?;
        self.rest = &self.rest[len..];
        Some(PacketView { bytes })
    }
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug)]
pub struct PacketView<'a> {
    bytes: &'a [u8],
}

impl<'a> PacketView<'a> {
    /// Packet type, 192 to 223.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.bytes[1]
    }

    /// Report blocks, sources or subtype: the five bits of the header.
    #[must_use]
    pub fn count(&self) -> u8 {
        self.bytes[0] & 0x1f
    }

    /// What follows the common header, without padding.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        let padding = if self.bytes[0] & 0x20 == 0 { 0 } else { self.bytes[self.bytes.len() - 1] };
        &self.bytes[4..self.bytes.len() - usize::from(padding)]
    }

    /// The first SSRC: of the sender in reports, APP and XR.
    #[must_use]
    pub fn ssrc(&self) -> Option<Ssrc> {
        let body = self.body();
        (body.len() >= 4).then(|| Ssrc(u32_at(body, 0)))
    }

    /// Sender information, if this is a sender report.
    #[must_use]
    pub fn sender_info(&self) -> Option<SenderInfo> {
        (self.kind() == PT_SR).then(|| SenderInfo::parse(&self.body()[4..]))
    }

    /// Report blocks of a sender or receiver report; none for other types.
    pub fn report_blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        let body = self.body();
        let blocks = match self.kind() {
            PT_SR => &body[24..],
            PT_RR => &body[4..],
            _ => &[],
        };
        let count = usize::from(self.count());
        blocks.chunks_exact(REPORT_BLOCK_LEN).take(count).map(ReportBlock::parse)
    }

    /// The first canonical name of a source description, with its source.
    #[must_use]
    pub fn cname(&self) -> Option<(Ssrc, &'a [u8])> {
        let body = (self.kind() == PT_SDES && self.count() > 0).then(|| self.body())?;
        let mut items = body.get(4..)?;
        while let &[kind, len, ref rest @ ..] = items {
            if kind == 0 {
                break;
            }
            let value = rest.get(..usize::from(len))?;
            if kind == SDES_CNAME {
                return Some((Ssrc(u32_at(body, 0)), value));
            }
            items = &rest[value.len()..];
        }
        None
    }

    /// Sources that leave, if this is a BYE.
    pub fn bye_sources(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let count = if self.kind() == PT_BYE { usize::from(self.count()) } else { 0 };
        self.body().chunks_exact(4).take(count).map(|c| Ssrc(u32_at(c, 0)))
    }

    /// Why they leave, if a BYE says so.
    #[must_use]
    pub fn bye_reason(&self) -> Option<&'a [u8]> {
        let at = usize::from(self.count()) * 4;
        let rest = (self.kind() == PT_BYE).then(|| self.body().get(at..))??;
        let (len, text) = rest.split_first()?;
        text.get(..usize::from(*len))
    }

    /// Name and data of an application-defined packet.
    #[must_use]
    pub fn app(&self) -> Option<([u8; 4], &'a [u8])> {
        let body = self.body();
        let (name, data) = body.get(4..)?.split_first_chunk::<4>()?;
        (self.kind() == PT_APP).then_some((*name, data))
    }

    /// Blocks of an extended report (RFC 3611 §3); none for other types.
    #[must_use]
    pub fn xr_blocks(&self) -> XrBlocks<'a> {
        let rest = if self.kind() == PT_XR { self.body().get(4..) } else { None };
        XrBlocks { rest: rest.unwrap_or(&[]) }
    }

    /// Whether the content fits what the header counts.
    fn check(self) -> Result<(), RtcpError> {
        let count = usize::from(self.count());
        let body = self.body();
        let fits = match self.kind() {
            PT_SR => body.len() >= 24 + count * REPORT_BLOCK_LEN,
            PT_RR => body.len() >= 4 + count * REPORT_BLOCK_LEN,
            PT_BYE => body.len() >= count * 4,
            PT_SDES => body.len() >= count * 8,
            PT_APP => body.len() >= 8,
            PT_XR => {
                let mut blocks = self.xr_blocks();
                while blocks.next().is_some() {}
                body.len() >= 4 && blocks.rest.is_empty()
            }
            _ => true,
        };
        if fits { Ok(()) } else { Err(RtcpError::BadContent) }
    }
}

/// Iterator over extended report blocks; stops at the first broken one.
#[derive(Clone, Debug)]
pub struct XrBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for XrBlocks<'a> {
    type Item = XrBlock<'a>;

    fn next(&mut self) -> Option<XrBlock<'a>> {
        if self.rest.len() < 4 {
            return None;
        }
        let end = 4 + usize::from(u16_at(self.rest, 2)) * 4;
        let content = self.rest.get(4..end)?;
        let block = XrBlock { kind: self.rest[0], specific: self.rest[1], content };
        self.rest = &self.rest[end..];
        Some(block)
    }
}

/// A block of an extended report (RFC 3611 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XrBlock<'a> {
    /// Block type: 4 receiver reference time, 5 DLRR, 7 VoIP metrics.
    pub kind: u8,
    /// Type-specific octet.
    pub specific: u8,
    /// Content, a multiple of four octets.
    pub content: &'a [u8],
}

impl XrBlock<'_> {
    /// Writes an extended report of `sender` with these blocks and says how many octets it took.
    ///
    /// # Errors
    /// [`RtcpError::NoRoom`], [`RtcpError::BadContent`].
    pub fn emit(sender: Ssrc, blocks: &[XrBlock<'_>], out: &mut [u8]) -> Result<usize, RtcpError> {
        let mut at = 8;
        for block in blocks {
            let words = u16::try_from(block.content.len() / 4).map_err(|_| RtcpError::TooMany)?;
            if !block.content.len().is_multiple_of(4) {
                return Err(RtcpError::BadContent);
            }
            let end = at + 4 + block.content.len();
            let chunk = out.get_mut(at..end).ok_or(RtcpError::NoRoom)?;
            (chunk[0], chunk[1]) = (block.kind, block.specific);
            put_u16(chunk, 2, words);
            put(chunk, 4, block.content);
            at = end;
        }
        put_header(out, PT_XR, 0, at)?;
        put_u32(out, 4, sender.0);
        Ok(at)
    }
}

/// Sender information of a sender report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time: seconds since 1900 in the upper half, fraction in the lower.
    pub ntp: u64,
    /// The same instant in RTP time.
    pub rtp: u32,
    /// Packets sent, modulo 2^32.
    pub packets: u32,
    /// Payload octets sent, modulo 2^32.
    pub octets: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP time: what comes back as `lsr`.
    #[must_use]
    pub const fn ntp_middle(&self) -> u32 {
        ((self.ntp >> 16) & 0xffff_ffff) as u32
    }

    fn parse(bytes: &[u8]) -> Self {
        Self {
            ntp: u64::from(u32_at(bytes, 0)) << 32 | u64::from(u32_at(bytes, 4)),
            rtp: u32_at(bytes, 8),
            packets: u32_at(bytes, 12),
            octets: u32_at(bytes, 16),
        }
    }
}

/// A reception report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose packets these figures are about.
    pub ssrc: Ssrc,
    /// Loss since the last report, 1/256.
    pub fraction_lost: u8,
    /// Loss since the beginning; 24 bits, negative with duplicates.
    pub cumulative_lost: i32,
    /// Extended highest sequence number.
    pub highest_sequence: u32,
    /// Interarrival jitter, time stamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP time; 0 none.
    pub lsr: u32,
    /// Delay since that report, 1/65536 s.
    pub dlsr: u32,
}

impl ReportBlock {
    /// Reads one block of 24 octets.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        Self {
            ssrc: Ssrc(u32_at(bytes, 0)),
            fraction_lost: bytes.get(4).copied().unwrap_or(0),
            // Sign extension of 24 bits.
            cumulative_lost: (u32_at(bytes, 4) << 8).cast_signed() >> 8,
            highest_sequence: u32_at(bytes, 8),
            jitter: u32_at(bytes, 12),
            lsr: u32_at(bytes, 16),
            dlsr: u32_at(bytes, 20),
        }
    }

    fn emit(&self, out: &mut [u8]) {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned();
        put_u32(out, 0, self.ssrc.0);
        put_u32(out, 4, u32::from(self.fraction_lost) << 24 | lost & 0xff_ffff);
        put_u32(out, 8, self.highest_sequence);
        put_u32(out, 12, self.jitter);
        put_u32(out, 16, self.lsr);
        put_u32(out, 20, self.dlsr);
    }
}

/// A sender or receiver report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// What it sent; `None` makes it a receiver report.
    pub info: Option<SenderInfo>,
    /// What it received, at most 31.
    pub blocks: &'a [ReportBlock],
}

impl Report<'_> {
    /// Writes the packet and says how many octets it took.
    ///
    /// # Errors
    /// [`RtcpError::NoRoom`], [`RtcpError::TooMany`].
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, RtcpError> {
        let start = if self.info.is_some() { 28 } else { 8 };
        let count = u8::try_from(self.blocks.len()).map_err(|_| RtcpError::TooMany)?;
        let len = start + self.blocks.len() * REPORT_BLOCK_LEN;
        put_header(out, if self.info.is_some() { PT_SR } else { PT_RR }, count, len)?;
        put_u32(out, 4, self.sender.0);
        if let Some(info) = self.info {
            put(out, 8, &info.ntp.to_be_bytes());
            put_u32(out, 16, info.rtp);
            put_u32(out, 20, info.packets);
            put_u32(out, 24, info.octets);
        }
        for (block, at) in self.blocks.iter().zip((start..).step_by(REPORT_BLOCK_LEN)) {
            block.emit(&mut out[at..at + REPORT_BLOCK_LEN]);
        }
        Ok(len)
    }
}

/// Writes a source description with one canonical name and says how many octets it took.
///
/// # Errors
/// [`RtcpError::NoRoom`], [`RtcpError::TooMany`].
pub fn emit_cname(ssrc: Ssrc, cname: &[u8], out: &mut [u8]) -> Result<usize, RtcpError> {
    let text_len = u8::try_from(cname.len()).map_err(|_| RtcpError::TooMany)?;
    // One zero octet at least ends the item list (RFC 3550 §6.5).
    let len = (4 + 4 + 2 + cname.len() + 1).next_multiple_of(4);
    out.get_mut(..len).ok_or(RtcpError::NoRoom)?.fill(0);
    put_header(out, PT_SDES, 1, len)?;
    put_u32(out, 4, ssrc.0);
    (out[8], out[9]) = (SDES_CNAME, text_len);
    put(out, 10, cname);
    Ok(len)
}

/// Writes a BYE, with a reason if it is not empty, and says how many octets it took.
///
/// # Errors
/// [`RtcpError::NoRoom`], [`RtcpError::TooMany`].
pub fn emit_bye(sources: &[Ssrc], reason: &[u8], out: &mut [u8]) -> Result<usize, RtcpError> {
    let count = u8::try_from(sources.len()).map_err(|_| RtcpError::TooMany)?;
    let text_len = u8::try_from(reason.len()).map_err(|_| RtcpError::TooMany)?;
    let at = 4 + sources.len() * 4;
    let len = if reason.is_empty() { at } else { (at + 1 + reason.len()).next_multiple_of(4) };
    out.get_mut(..len).ok_or(RtcpError::NoRoom)?.fill(0);
    put_header(out, PT_BYE, count, len)?;
    for (source, at) in sources.iter().zip((4..).step_by(4)) {
        put_u32(out, at, source.0);
    }
    if !reason.is_empty() {
        out[at] = text_len;
        put(out, at + 1, reason);
    }
    Ok(len)
}

/// Writes an application-defined packet and says how many octets it took.
///
/// # Errors
/// [`RtcpError::NoRoom`], [`RtcpError::BadContent`] if the data is no multiple of four octets.
pub fn emit_app(
    ssrc: Ssrc,
    subtype: u8,
    name: [u8; 4],
    data: &[u8],
    out: &mut [u8],
) -> Result<usize, RtcpError> {
    if !data.len().is_multiple_of(4) {
        return Err(RtcpError::BadContent);
    }
    let len = 12 + data.len();
    put_header(out, PT_APP, subtype, len)?;
    put_u32(out, 4, ssrc.0);
    put(out, 8, &name);
    put(out, 12, data);
    Ok(len)
}

/// Writes the common header of a packet of `len` octets, a multiple of four.
fn put_header(out: &mut [u8], kind: u8, count: u8, len: usize) -> Result<(), RtcpError> {
    if count > 31 {
        return Err(RtcpError::TooMany);
    }
    let words = u16::try_from(len / 4 - 1).map_err(|_| RtcpError::TooMany)?;
    let out = out.get_mut(..len).ok_or(RtcpError::NoRoom)?;
    out[0] = 0x80 | count;
    out[1] = kind;
    put_u16(out, 2, words);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: ReportBlock = ReportBlock {
        ssrc: Ssrc(0x0102_0304),
        fraction_lost: 64,
        cumulative_lost: -2,
        highest_sequence: 0x0001_0002,
        jitter: 80,
        lsr: 0x1234_5678,
        dlsr: 65_536,
    };

    #[test]
    fn sender_report_with_cname_round_trips() {
        let info = SenderInfo { ntp: 0x1111_1234_5678_2222, rtp: 160, packets: 5, octets: 800 };
        let report = Report { sender: Ssrc(0xaabb_ccdd), info: Some(info), blocks: &[BLOCK] };
        let mut out = [0xff; 100];
        let sr = report.emit(&mut out).unwrap();
        assert_eq!(sr, 52);
        assert_eq!(out[..8], [0x81, 200, 0, 12, 0xaa, 0xbb, 0xcc, 0xdd]);
        assert_eq!(out[28..36], [1, 2, 3, 4, 64, 0xff, 0xff, 0xfe]);
        let sdes = emit_cname(Ssrc(0xaabb_ccdd), b"abc", &mut out[sr..]).unwrap();
        assert_eq!(
            out[sr..sr + sdes],
            [0x81, 202, 0, 3, 0xaa, 0xbb, 0xcc, 0xdd, 1, 3, b'a', b'b', b'c', 0, 0, 0]
        );
        let compound = Compound::new(&out[..sr + sdes]).unwrap();
        let packets: Vec<_> = compound.packets().collect();
        assert_eq!(packets[0].sender_info(), Some(info));
        assert_eq!(info.ntp_middle(), 0x1234_5678);
        assert_eq!(packets[0].report_blocks().collect::<Vec<_>>(), [BLOCK]);
        assert_eq!(packets[1].cname(), Some((Ssrc(0xaabb_ccdd), &b"abc"[..])));
        assert_eq!(packets.len(), 2);
    }

    #[test]
    fn receiver_report_bye_app_and_xr_round_trip() {
        let mut out = [0; 200];
        let report = Report { sender: Ssrc(9), info: None, blocks: &[BLOCK, BLOCK] };
        let mut n = report.emit(&mut out).unwrap();
        n += emit_app(Ssrc(9), 3, *b"TNDM", &[1, 2, 3, 4], &mut out[n..]).unwrap();
        let xr = XrBlock { kind: 4, specific: 0, content: &[0, 0, 0, 1, 0, 0, 0, 2] };
        n += XrBlock::emit(Ssrc(9), &[xr], &mut out[n..]).unwrap();
        n += emit_bye(&[Ssrc(9)], b"done", &mut out[n..]).unwrap();
        let compound = Compound::new(&out[..n]).unwrap();
        let p: Vec<_> = compound.packets().collect();
        assert_eq!(p.iter().map(PacketView::kind).collect::<Vec<_>>(), [201, 204, 207, 203]);
        assert_eq!(p[0].report_blocks().count(), 2);
        assert_eq!(p[1].app(), Some((*b"TNDM", &[1, 2, 3, 4][..])));
        assert_eq!(p[1].count(), 3);
        assert_eq!(p[2].xr_blocks().collect::<Vec<_>>(), [xr]);
        assert_eq!(p[3].bye_sources().collect::<Vec<_>>(), [Ssrc(9)]);
        assert_eq!(p[3].bye_reason(), Some(&b"done"[..]));
        assert_eq!(p[3].ssrc(), Some(Ssrc(9)));
    }

    #[test]
    fn validity_checks_of_a_2() {
        let rr = [0x80, 201, 0, 1, 0, 0, 0, 9];
        assert!(Compound::new(&rr).is_ok());
        let check = |bytes: &[u8]| Compound::new(bytes).unwrap_err();
        assert_eq!(check(&[]), RtcpError::Truncated);
        assert_eq!(check(&rr[..7]), RtcpError::Truncated);
        assert_eq!(check(&[0x40, 201, 0, 1, 0, 0, 0, 9]), RtcpError::BadVersion);
        assert_eq!(check(&[0x80, 96, 0, 1, 0, 0, 0, 9]), RtcpError::BadType);
        assert_eq!(check(&[0x81, 201, 0, 1, 0, 0, 0, 9]), RtcpError::BadContent);
        assert_eq!(check(&[0xa0, 201, 0, 2, 0, 0, 0, 9, 0, 0, 0, 3]), RtcpError::BadPadding);
        assert_eq!(check(&[0xa0, 201, 0, 2, 0, 0, 0, 9, 0, 0, 0, 8]), RtcpError::BadContent);
        let padded = [0xa0, 201, 0, 2, 0, 0, 0, 9, 0, 0, 0, 4];
        assert!(Compound::new(&padded).is_ok());
        let padding_first = [&padded[..], &rr[..]].concat();
        assert_eq!(check(&padding_first), RtcpError::BadPadding);
        assert_eq!(check(&[0x80, 207, 0, 2, 0, 0, 0, 9, 4, 0, 0, 1]), RtcpError::BadContent);
    }

    #[test]
    fn reduced_size_feedback_is_accepted() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let compound = Compound::new(&pli).unwrap();
        assert_eq!(compound.packets().next().and_then(|p| p.ssrc()), Some(Ssrc(1)));
    }

    #[test]
    fn small_buffers_and_big_counts_are_refused() {
        let mut out = [0; 31];
        let report = Report { sender: Ssrc(1), info: None, blocks: &[BLOCK] };
        assert_eq!(report.emit(&mut out), Err(RtcpError::NoRoom));
        let blocks = [BLOCK; 32];
        let report = Report { sender: Ssrc(1), info: None, blocks: &blocks };
        assert_eq!(report.emit(&mut [0; 1000]), Err(RtcpError::TooMany));
        assert_eq!(emit_cname(Ssrc(1), &[b'x'; 256], &mut [0; 400]), Err(RtcpError::TooMany));
        assert_eq!(emit_cname(Ssrc(1), &[b'x'; 40], &mut out), Err(RtcpError::NoRoom));
    }
}

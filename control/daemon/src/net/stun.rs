//! STUN bindings on the SIP port: how phones over UDP keep their flow and see that it is alive (RFC
//! 5626 §3.5.2, §8).

use std::net::{IpAddr, SocketAddr};
use tandem_wire::stun::{
    HEADER_LEN, MAGIC_COOKIE, METHOD_BINDING, StunAttribute, StunClass, StunHeader, StunView,
};

const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Types below it have to be understood (RFC 8489 §14).
const FIRST_OPTIONAL: u16 = 0x8000;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
/// 420, Unknown Attribute, as an error code is written.
const UNKNOWN_ATTRIBUTE: [u8; 4] = [0, 0, 4, 20];
/// Room for any answer: the header and the largest attributes.
const ROOM: usize = 96;
/// Unknown attributes that an answer names.
const MAX_UNKNOWN: usize = 8;

/// Whether a datagram is no SIP but STUN: no SIP message begins with these octets.
pub(super) fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER_LEN && datagram[0] < 4 && datagram[4..8] == MAGIC_COOKIE.to_be_bytes()
}

/// The answer to a binding request from `source`; none to anything else.
pub(super) fn answer(datagram: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let view = StunView::new(datagram).ok()?;
    let request = StunHeader::parse(&view);
    if request.class != StunClass::Request || request.method != METHOD_BINDING {
        return None;
    }
    let unknown: Vec<u8> = view
        .attributes()
        .filter(|attribute| attribute.kind < FIRST_OPTIONAL)
        .flat_map(|attribute| attribute.kind.to_be_bytes())
        .take(MAX_UNKNOWN * 2)
        .collect();
    let mut body = [0; ROOM];
    let (class, len) = if unknown.is_empty() {
        let value = xor_mapped(source, &request.transaction);
        let mapped = StunAttribute { kind: XOR_MAPPED_ADDRESS, value: &value };
        (StunClass::Success, mapped.emit(&mut body).ok()?)
    } else {
        // RFC 8489 §6.3.1.
        let error = StunAttribute { kind: ERROR_CODE, value: &UNKNOWN_ATTRIBUTE };
        let first = error.emit(&mut body).ok()?;
        let named = StunAttribute { kind: UNKNOWN_ATTRIBUTES, value: &unknown };
        (StunClass::Error, first + named.emit(&mut body[first..]).ok()?)
    };
    let length = u16::try_from(len).ok()?;
    let header = StunHeader { class, method: METHOD_BINDING, length, ..request };
    let mut out = vec![0; HEADER_LEN];
    header.emit(&mut out).ok()?;
    out.extend_from_slice(&body[..len]);
    Some(out)
}

/// The value of XOR-MAPPED-ADDRESS (RFC 8489 §14.2).
fn xor_mapped(source: SocketAddr, transaction: &[u8; 12]) -> Vec<u8> {
    let cookie = MAGIC_COOKIE.to_be_bytes();
    let key = cookie.iter().chain(transaction);
    let port = source.port().to_be_bytes();
    let (family, address) = match source.ip().to_canonical() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family, port[0] ^ cookie[0], port[1] ^ cookie[1]];
    value.extend(address.iter().zip(key).map(|(octet, key)| octet ^ key));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 20] =
        [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

    #[test]
    fn a_binding_is_answered_with_where_it_came_from() {
        assert!(is_stun(&REQUEST));
        let out = answer(&REQUEST, "192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(out[..4], [1, 1, 0, 12]);
        assert_eq!(out[4..20], REQUEST[4..]);
        // RFC 5769 §2.2 has the same address and port.
        assert_eq!(out[20..], [0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let out = answer(&REQUEST, "[2001:db8::1]:5060".parse().unwrap()).unwrap();
        assert_eq!((out.len(), out[25]), (20 + 24, 2));
        assert_eq!(out[28..36], [0x01, 0x13, 0xa9, 0xfa, 1, 2, 3, 4]);
    }

    #[test]
    fn what_must_be_understood_and_is_not_gets_420() {
        let mut request = REQUEST.to_vec();
        request[3] = 8;
        request.extend_from_slice(&[0x00, 0x03, 0, 4, 0, 0, 0, 6]);
        let out = answer(&request, "192.0.2.1:1".parse().unwrap()).unwrap();
        assert_eq!(out[..4], [1, 0x11, 0, 16]);
        assert_eq!(out[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
        assert_eq!(out[28..], [0, 10, 0, 2, 0, 3, 0, 0]);
    }

    #[test]
    fn nothing_else_is_answered() {
        let source = "192.0.2.1:1".parse().unwrap();
        assert!(!is_stun(b"\r\n\r\n") && !is_stun(b"REGISTER sip:tandem SIP/2.0\r\n"));
        let mut indication = REQUEST;
        indication[1] = 0x11;
        assert_eq!(answer(&indication, source), None);
        let mut short = REQUEST.to_vec();
        short[3] = 4;
        assert_eq!(answer(&short, source), None);
    }
}

//! Which services a domain offers, by its NAPTR records (RFC 3263 §4.1).

use super::records::Naptr;
use super::{Support, normal};
use crate::stack::Transport;
use std::sync::Arc;

/// The services that can be used, in their order: transport, and the name of the SRV records.
pub(super) fn services(
    records: &[Naptr],
    secure: bool,
    support: &Support,
) -> Vec<(Transport, Arc<str>)> {
    let mut usable: Vec<(&Naptr, Transport)> = records
        .iter()
        .filter_map(|it| Some((it, transport(it, secure)?)))
        .filter(|(_, transport)| support.transports.contains(transport))
        .collect();
    usable.sort_by_key(|(it, _)| (it.order, it.preference));
    usable.into_iter().map(|(it, transport)| (transport, normal(&it.replacement))).collect()
}

/// The transport that a record stands for; none if it is not about SIP, or cannot be used.
fn transport(record: &Naptr, secure: bool) -> Option<Transport> {
    // Terminal records that lead to SRV, without a rule: all others are not of RFC 3263.
    let leads_to_srv = record.flags.eq_ignore_ascii_case("s") && record.regexp.is_empty();
    if !leads_to_srv || normal(&record.replacement).is_empty() {
        return None;
    }
    let is = |service: &str| record.service.eq_ignore_ascii_case(service);
    if is("SIPS+D2T") {
        Some(Transport::Tls)
    } else if secure {
        // A client MUST discard what is not SIPS for a sips URI.
        None
    } else if is("SIP+D2U") {
        Some(Transport::Udp)
    } else if is("SIP+D2T") {
        Some(Transport::Tcp)
    } else {
        None
    }
}

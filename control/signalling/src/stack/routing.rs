//! Where responses and requests go.

use super::types::{Flow, Transport};
use crate::uri::{Host, Uri};
use crate::via::Via;
use core::net::{IpAddr, SocketAddr};

/// Where the response to a request goes that came over `flow` (RFC 3261 §18.2.2, RFC 3581 §4):
/// back over its connection, or to the source address, at the source port if the client asked for
/// that, else at the port of sent-by.
///
/// `maddr` is not followed: it is for requests that came by multicast, which nobody here listens
/// to, and would let anybody aim responses at strangers.
pub(crate) fn response_flow(flow: &Flow, via: &Via<'_>) -> Flow {
    if flow.transport.is_reliable() {
        return *flow;
    }
    let port = if via.rport().is_some() { flow.remote.port() } else { via.port_or_default() };
    let mut remote = flow.remote;
    remote.set_port(port);
    Flow { remote, ..*flow }
}

/// Where a response goes whose connection is gone: a new connection to the source address, at the
/// port of sent-by (§18.2.2).
pub(crate) fn fallback_flow(flow: &Flow, sent_by_port: u16) -> Flow {
    Flow { remote: SocketAddr::new(flow.remote.ip(), sent_by_port), connection: 0, ..*flow }
}

/// Where a request inside a dialog goes: to `next_hop` when that names an address which can be
/// reached, else back to the peer's own `flow`.
///
/// A host name is left to whoever resolves names; a private address behind a public source is
/// behind a NAT, and only its own flow leads there.
pub(crate) fn request_flow(flow: &Flow, next_hop: &str) -> Flow {
    let Ok(uri) = Uri::parse(next_hop) else { return *flow };
    let Host::Ip(ip) = uri.host() else { return *flow };
    // RFC 5626 §4.3: the peer asks for its flow.
    if uri.param("ob").is_some() {
        return *flow;
    }
    let asked = uri.param("transport").and_then(Transport::from_name);
    let transport = asked.unwrap_or(flow.transport);
    let peer = flow.remote.ip();
    let nowhere = ip.is_loopback() || ip.is_unspecified();
    let behind_nat = ip != peer && !is_public(ip) && (nowhere || is_public(peer));
    let keeps_connection = flow.connection != 0 && transport == flow.transport;
    let other_family = ip.is_ipv4() != flow.local.is_ipv4();
    // A socket of another transport may have another local address; only the owner of the sockets
    // knows it.
    if behind_nat || keeps_connection || other_family || transport != flow.transport {
        return *flow;
    }
    let port = uri.port().unwrap_or(transport.default_port());
    Flow { remote: SocketAddr::new(ip, port), ..*flow }
}

/// Whether a peer that is seen at `flow` says that it is another host: a NAT is in between. A name
/// says nothing.
pub(crate) fn is_elsewhere(host: &Host<'_>, flow: &Flow) -> bool {
    matches!(host, Host::Ip(ip) if *ip != flow.remote.ip())
}

/// Whether an address can be reached from elsewhere.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || shared)
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn udp(remote: &str) -> Flow {
        Flow::udp("198.51.100.1:5060".parse().unwrap(), remote.parse().unwrap())
    }

    fn via(text: &str) -> Via<'_> {
        Via::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn responses_follow_rport_else_the_port_of_sent_by() {
        let flow = udp("192.0.2.9:1024");
        let with = response_flow(&flow, &via("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bK1"));
        assert_eq!(with.remote, "192.0.2.9:1024".parse().unwrap());
        let without = response_flow(&flow, &via("SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1"));
        assert_eq!(without.remote, "192.0.2.9:5070".parse().unwrap());
        let default = response_flow(&flow, &via("SIP/2.0/UDP h.example.com;branch=z9hG4bK1"));
        assert_eq!(default.remote, "192.0.2.9:5060".parse().unwrap());
        let aimed = response_flow(&flow, &via("SIP/2.0/UDP h;maddr=203.0.113.5;branch=z9hG4bK1"));
        assert_eq!(aimed.remote, "192.0.2.9:5060".parse().unwrap());
    }

    #[test]
    fn responses_on_a_connection_stay_there_until_it_is_gone() {
        let flow =
            Flow::tcp("198.51.100.1:5060".parse().unwrap(), "192.0.2.9:40000".parse().unwrap(), 7);
        let same = response_flow(&flow, &via("SIP/2.0/TCP 10.0.0.1:5070;branch=z9hG4bK1"));
        assert_eq!(same, flow);
        let fallback = fallback_flow(&flow, 5070);
        assert_eq!(
            (fallback.remote.to_string(), fallback.connection),
            ("192.0.2.9:5070".into(), 0)
        );
    }

    #[test]
    fn requests_follow_the_target_unless_a_nat_is_in_between() {
        let flow = udp("192.0.2.9:1024");
        assert_eq!(request_flow(&flow, "sip:a@10.0.0.1:5070"), flow);
        assert_eq!(request_flow(&flow, "sip:a@host.example.com"), flow);
        assert_eq!(request_flow(&flow, "sip:a@[2001:db8::1]"), flow);
        assert_eq!(request_flow(&flow, "sip:a@203.0.113.5;ob"), flow);
        assert_eq!(request_flow(&flow, "sip:a@203.0.113.5").remote.to_string(), "203.0.113.5:5060");
        let lan = udp("10.0.0.1:5062");
        assert_eq!(request_flow(&lan, "sip:a@10.0.0.1:5070").remote.to_string(), "10.0.0.1:5070");
    }
}

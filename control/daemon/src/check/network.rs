//! Addresses and ports.

use super::Finding;
use crate::cli::runfile::RunFile;
use crate::config::Config;
use crate::net::Tls;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use tandem_contract::limits::port_pairs;
use tandem_signalling::stack::Transport;

/// Looks at the network.
#[must_use]
pub fn look(config: &Config, data: &Path) -> Vec<Finding> {
    let own = RunFile::read(data);
    let mut findings = vec![sip(config, own.as_ref()), http(config, own.as_ref())];
    findings.extend(certificates(config));
    findings.extend(media(config, own.is_some()));
    findings
}

fn sip(config: &Config, own: Option<&RunFile>) -> Finding {
    let sockets = config.sip.sockets();
    for (transport, address, key) in &sockets {
        let result = match transport {
            Transport::Udp => UdpSocket::bind(address).map(drop),
            _ => TcpListener::bind(address).map(drop),
        };
        if own.is_some_and(|own| own.sip(*transport).contains(address)) {
            continue;
        }
        if let Err(error) = result {
            return refused("sip", key, *address, &error);
        }
    }
    let list: Vec<String> = sockets
        .iter()
        .map(|(transport, at, _)| format!("{} {at}", transport.via_name().to_lowercase()))
        .collect();
    Finding::ok("sip", format!("{} can be used", list.join(", ")))
}

/// Whether certificates and keys can be read and fit each other.
fn certificates(config: &Config) -> Option<Finding> {
    let files = config.sip.tls_files();
    files.paths().next()?;
    Some(match Tls::load(files) {
        Ok(_) => Finding::ok("sip.tls", "certificate, key and authorities can be used"),
        Err(error) => {
            Finding::error("sip.tls", error.to_string(), "mend the file, or name another one")
        }
    })
}

fn http(config: &Config, own: Option<&RunFile>) -> Finding {
    let address = config.http.listen;
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("http", format!("{address} can be used")),
        Err(_) if own.is_some_and(|run| run.http == address) => {
            Finding::ok("http", format!("{address} is used by the running tandem"))
        }
        Err(error) => refused("http", "http.listen", address, &error),
    }
}

fn refused(name: &'static str, key: &str, address: SocketAddr, error: &io::Error) -> Finding {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("end what uses it (ss -tulpn shows it), or set {key} to another port")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("set {key} to an address of this machine (ip address shows them)")
        }
        io::ErrorKind::PermissionDenied => {
            format!("set {key} to a port above 1023, or give the program CAP_NET_BIND_SERVICE")
        }
        _ => format!("set {key} to another address"),
    };
    Finding::error(name, format!("{address}: {error}"), remedy)
}

/// The media addresses that cannot be bound.
pub(super) fn media_addresses(config: &Config) -> Vec<Finding> {
    let addresses = config.media_addresses().into_iter();
    addresses
        .filter_map(|ip| {
            let error = UdpSocket::bind((ip, 0)).err()?;
            Some(refused("media", "media.addresses", (ip, 0).into(), &error))
        })
        .collect()
}

fn media(config: &Config, running: bool) -> Vec<Finding> {
    let range = config.media.port_min..=config.media.port_max;
    let mut findings = media_addresses(config);
    let used = ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| ports_in_use(&text, &range).len())
        .sum::<usize>();
    let pairs = port_pairs(config.media.port_min, config.media.port_max);
    let shown = format!("{} to {}, {pairs} pairs", range.start(), range.end());
    findings.push(if used == 0 || running {
        Finding::ok("media.ports", format!("{shown}, {used} ports in use"))
    } else {
        Finding::warning(
            "media.ports",
            format!("{shown}, {used} ports in use by other programs"),
            "they are skipped; choose another range with media.port_min and media.port_max if there are many",
        )
    });
    findings.extend(ephemeral(&range));
    findings
}

/// Local ports in use within the range, out of a table of the kernel.
fn ports_in_use(table: &str, range: &RangeInclusive<u16>) -> BTreeSet<u16> {
    table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(1)?.rsplit_once(':'))
        .filter_map(|(_, port)| u16::from_str_radix(port, 16).ok())
        .filter(|port| range.contains(port))
        .collect()
}

/// Whether the kernel gives media ports away to other programs.
fn ephemeral(range: &RangeInclusive<u16>) -> Option<Finding> {
    let local = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let reserved =
        fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let mut numbers = local.split_whitespace().filter_map(|number| number.parse::<u16>().ok());
    let kernel = numbers.next()?..=numbers.next()?;
    let (first, last) = (*range.start().max(kernel.start()), *range.end().min(kernel.end()));
    if first > last || (first..=last).all(|port| is_reserved(&reserved, port)) {
        return Some(Finding::ok(
            "media.reserved",
            "the kernel gives no media ports to other programs",
        ));
    }
    Some(Finding::warning(
        "media.reserved",
        format!("the kernel may give ports {first} to {last} to other programs"),
        format!("sysctl -w net.ipv4.ip_local_reserved_ports={}-{}", range.start(), range.end()),
    ))
}

/// Whether a list as `30000-30100,40000` holds the port.
fn is_reserved(list: &str, port: u16) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) => (first..=last).contains(&port),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_tables_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue\n\
            1: 0100007F:7530 00000000:0000 07 00000000:00000000\n\
            2: 0100007F:13C4 00000000:0000 07 00000000:00000000\n\
            nonsense\n";
        assert_eq!(ports_in_use(table, &(30_000..=30_010)), BTreeSet::from([30_000]));
        assert!(is_reserved("8080,30000-59999\n", 45_000));
        assert!(!is_reserved("8080,30000-59999\n", 60_000));
        assert!(is_reserved("8080", 8080));
        assert!(!is_reserved("\n", 8080));
    }

    #[test]
    fn media_addresses_that_run_does_not_bind_are_not_looked_at() {
        let mut config = Config::default();
        // The second one is of no machine, and the first of its family is taken for media.
        config.sip.listen = ["127.0.0.1:0", "192.0.2.1:0"].map(|it| it.parse().unwrap()).into();
        assert!(media(&config, true).iter().all(|finding| finding.name != "media"));
        config.sip.listen.swap(0, 1);
        assert!(media(&config, true).iter().any(|finding| finding.name == "media"));
    }

    #[test]
    fn our_own_daemon_does_not_count_as_another() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let mut config = Config::default();
        config.sip.listen = vec![address];
        config.sip.transports = vec![crate::config::types::SipTransport::Udp];
        assert_eq!(sip(&config, None).standing, super::super::Standing::Error);
        let run = RunFile {
            pid: 1,
            version: String::new(),
            started_at: jiff::Timestamp::now(),
            http: address,
            sip_udp: vec![address],
            sip_tcp: vec![],
            sip_tls: vec![],
            sip_ws: vec![],
            sip_wss: vec![],
            realm: String::new(),
            algorithms: vec![],
            store: Path::new("x").into(),
        };
        assert_eq!(sip(&config, Some(&run)).standing, super::super::Standing::Ok);
    }
}

//! The command line.

use super::error::HostError;
use clap::{Parser, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;
use tandem_contract::limits::{
    DEFAULT_ENDPOINTS_AHEAD, DEFAULT_PORT_RANGE, DEFAULT_QUARANTINE_MS, DEFAULT_TERMINATIONS,
    MAX_TERMINATIONS, MAX_WORKERS, port_pairs,
};

/// The packet engine of Tandem: relays, measures and latches RTP for one control process.
#[derive(Clone, Debug, Parser)]
#[command(name = "tandem-engine", version)]
pub(crate) struct Args {
    /// Unix socket to listen on for the control process
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,

    /// Workers, each with a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: u16,

    /// First and last media port
    #[arg(long, value_name = "FIRST-LAST", value_parser = parse_range,
          default_value_t = Range(DEFAULT_PORT_RANGE.0, DEFAULT_PORT_RANGE.1))]
    pub ports: Range,

    /// Addresses to bind media ports to: one, or one of each IP version
    #[arg(long, value_name = "IP[,IP6]", value_delimiter = ',', default_value = "127.0.0.1")]
    pub address: Vec<IpAddr>,

    /// Free endpoints to keep bound, per worker and IP version
    #[arg(long, value_name = "N", default_value_t = DEFAULT_ENDPOINTS_AHEAD)]
    pub endpoints_ahead: u32,

    /// Terminations per worker at most
    #[arg(long, value_name = "N", default_value_t = DEFAULT_TERMINATIONS)]
    pub terminations: u32,

    /// How the kernel's sockets are driven
    #[arg(long, value_name = "KIND", value_enum, default_value_t = PortChoice::Auto)]
    pub port_kind: PortChoice,

    /// Packet buffers per worker, 2 KiB each
    #[arg(long, value_name = "N", default_value_t = 8_192)]
    pub frames: u32,

    /// Bind each worker to a core of its own, if there are several
    #[arg(long)]
    pub pin: bool,

    /// Time before a port is used again, ms
    #[arg(long, value_name = "MS", default_value_t = DEFAULT_QUARANTINE_MS)]
    pub quarantine: u32,

    /// End after this time without control and without terminations, seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub linger: u64,

    /// Log filter: error, warn, info, debug, trace (TANDEM_ENGINE_LOG comes first)
    #[arg(long, value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How the log is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// `--log-format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of text for each event
    Text,
    /// One JSON object for each event
    Json,
}

/// First and last port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range(pub u16, pub u16);

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0, self.1)
    }
}

impl Range {
    /// Even ports whose upper neighbour is in the range too.
    pub(crate) fn pairs(self) -> u32 {
        port_pairs(self.0, self.1)
    }

    /// The even port of a pair, counted from 0.
    pub(crate) fn pair(self, number: u32) -> u16 {
        let port = u32::from(self.0).next_multiple_of(2) + number * 2;
        u16::try_from(port).unwrap_or(0)
    }
}

fn parse_range(text: &str) -> Result<Range, String> {
    let wrong = || format!("`{text}` is no range like 30000-59999");
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (first, last) = (port(first)?, port(last)?);
    if first == 0 || first > last { Err(wrong()) } else { Ok(Range(first, last)) }
}

/// `--port-kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PortChoice {
    /// io_uring where it is allowed, else mmsg
    Auto,
    /// io_uring
    Uring,
    /// recvmmsg and sendmmsg
    Mmsg,
}

impl Args {
    /// Whether there is an address of IPv4, and of IPv6.
    pub(crate) fn families(&self) -> [bool; 2] {
        [self.address.iter().any(IpAddr::is_ipv4), self.address.iter().any(IpAddr::is_ipv6)]
    }

    /// The address of a family.
    pub(crate) fn address_of(&self, ipv6: bool) -> Option<IpAddr> {
        self.address.iter().copied().find(|ip| ip.is_ipv6() == ipv6)
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self) -> Result<(), HostError> {
        let usage = |text: String| Err(HostError::Usage(text));
        if self.workers == 0 || usize::from(self.workers) > MAX_WORKERS {
            return usage(format!("--workers must be 1 to {MAX_WORKERS}"));
        }
        if self.terminations == 0 || self.terminations > MAX_TERMINATIONS {
            return usage(format!("--terminations must be 1 to {MAX_TERMINATIONS}"));
        }
        let families = self.families().iter().filter(|there| **there).count();
        if self.address.len() != families {
            return usage("--address takes one address of each IP version at most".to_owned());
        }
        if self.frames < 1_024 {
            return usage("--frames must be 1024 at least".to_owned());
        }
        let Range(first, last) = self.ports;
        let pairs = self.ports.pairs();
        let wanted = self.endpoints_ahead.saturating_mul(u32::from(self.workers));
        if pairs == 0 || pairs < wanted {
            return Err(HostError::RangeTooSmall { first, last, pairs, wanted: wanted.max(1) });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_even_and_whole() {
        assert_eq!((Range(30_000, 30_003).pairs(), Range(30_001, 30_003).pairs()), (2, 1));
        assert_eq!((Range(30_001, 30_002).pairs(), Range(30_000, 30_000).pairs()), (0, 0));
        assert_eq!(
            (Range(30_001, 30_010).pair(0), Range(30_000, 30_010).pair(3)),
            (30_002, 30_006)
        );
        assert_eq!((Range(65_534, 65_535).pairs(), Range(65_534, 65_535).pair(0)), (1, 65_534));
    }

    #[test]
    fn ranges_are_parsed() {
        assert_eq!(parse_range("30000-30100"), Ok(Range(30_000, 30_100)));
        for wrong in ["", "1", "0-5", "9-5", "1-70000", "a-b"] {
            assert!(parse_range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_range_that_is_too_small_names_the_remedy() {
        let args = ["tandem-engine", "--socket", "x", "--ports", "30000-30009"];
        let args = Args::try_parse_from(args).unwrap();
        let error = args.check().unwrap_err().to_string();
        assert!(error.contains("5 pairs") && error.contains("widen --ports"), "{error}");
        let args =
            ["tandem-engine", "--socket", "x", "--endpoints-ahead", "2147483648", "--workers", "2"];
        let error = Args::try_parse_from(args).unwrap().check().unwrap_err();
        assert!(matches!(error, HostError::RangeTooSmall { wanted: u32::MAX, .. }), "{error}");
    }

    #[test]
    fn two_addresses_of_one_family_are_refused() {
        let args = ["tandem-engine", "--socket", "x", "--address", "127.0.0.1,127.0.0.2"];
        assert!(Args::try_parse_from(args).unwrap().check().is_err());
        let args = ["tandem-engine", "--socket", "x", "--address", "127.0.0.1,::1"];
        let args = Args::try_parse_from(args).unwrap();
        args.check().unwrap();
        assert_eq!(args.families(), [true, true]);
    }
}

//! Captures and their RTP analysis by tshark.

use crate::netns::Host;
use crate::process::{Process, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

/// One RTP stream as tshark sees it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Source address.
    pub source: String,
    /// Destination address.
    pub destination: String,
    /// Packets.
    pub packets: u64,
    /// Lost packets (expected less received).
    pub lost: i64,
    /// Mean of the jitter after each packet, ms.
    pub mean_jitter_ms: f64,
    /// Highest jitter, ms.
    pub max_jitter_ms: f64,
}

impl Capture {
    /// Captures UDP on `interface` of `host` into `folder`.
    ///
    /// # Errors
    /// A sentence when tshark does not start.
    pub fn start(host: &Host, interface: &str, folder: &Path) -> Result<Self, String> {
        let file = folder.join(format!("{interface}.pcap"));
        let log = folder.join(format!("{interface}.tshark.log"));
        let mut command = host.command("tshark");
        command.args(["-q", "-i", interface, "-f", "udp", "-F", "pcap", "-w"]).arg(&file);
        let process = Process::start("tshark", &mut command, &log).map_err(|e| e.to_string())?;
        let said = || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Capturing on"));
        wait_for(Duration::from_secs(15), || said().then_some(()))
            .ok_or("tshark did not start to capture")?;
        // The message comes a little before the socket is open.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self { process, file })
    }

    /// Ends the capture and gives its file.
    ///
    /// # Errors
    /// A sentence when tshark does not end.
    pub fn stop(mut self) -> Result<PathBuf, String> {
        // What dumpcap has not written yet would be missing.
        std::thread::sleep(Duration::from_millis(700));
        self.process.signal("INT");
        self.process.wait(Duration::from_secs(10))?;
        Ok(self.file)
    }
}

/// The RTP streams of a capture.
///
/// # Errors
/// A sentence when tshark fails.
pub fn rtp_streams(file: &Path) -> Result<Vec<Stream>, String> {
    let output = Command::new("tshark")
        .args(["-q", "-o", "rtp.heuristic_rtp:TRUE", "-z", "rtp,streams", "-r"])
        .arg(file)
        .output()
        .map_err(|error| format!("tshark: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(text.lines().filter_map(parse_line).collect())
}

/// One packet of an RTP stream in a capture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Packet {
    /// When it was captured, s.
    pub at_s: f64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// DSCP of its IPv4 or IPv6 header.
    pub dscp: u8,
}

/// The RTP packets of a capture that went from one address to another, in order of arrival.
///
/// # Errors
/// A sentence when tshark fails.
pub fn rtp_packets(file: &Path, from: &str, to: &str) -> Result<Vec<Packet>, String> {
    let ip = if from.contains(':') { "ipv6" } else { "ip" };
    let dscp = if ip == "ip" { "ip.dsfield.dscp" } else { "ipv6.tclass.dscp" };
    let filter = format!("rtp && {ip}.src == {from} && {ip}.dst == {to}");
    let output = Command::new("tshark")
        .args(["-o", "rtp.heuristic_rtp:TRUE", "-Y", &filter, "-T", "fields"])
        .args(["-e", "frame.time_epoch", "-e", "rtp.timestamp", "-e", dscp, "-r"])
        .arg(file)
        .output()
        .map_err(|error| format!("tshark: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| parse_packet(line).ok_or_else(|| format!("odd: {line:?}"))).collect()
}

fn parse_packet(line: &str) -> Option<Packet> {
    let mut words = line.split('\t');
    Some(Packet {
        at_s: words.next()?.parse().ok()?,
        timestamp: words.next()?.parse().ok()?,
        dscp: words.next()?.parse().ok()?,
    })
}

/// The interarrival jitter after the last packet (RFC 3550 §A.8), ms.
#[must_use]
pub fn jitter_ms(packets: &[Packet], clock_hz: f64) -> f64 {
    let jitter_s = packets.windows(2).fold(0.0, |jitter: f64, pair| {
        let (one, two) = (pair[0], pair[1]);
        let stamps = f64::from(two.timestamp) - f64::from(one.timestamp);
        jitter + ((two.at_s - one.at_s - stamps / clock_hz).abs() - jitter) / 16.0
    });
    jitter_s * 1e3
}

// "  0.000  9.98  10.0.0.1  20000  10.0.0.2  30000 0x7A4D0001 g711A  500  10 (2.0%) 0.1 20.1 45.2 0.0 2.3 5.4 X"
fn parse_line(line: &str) -> Option<Stream> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let ssrc = words.iter().position(|word| word.starts_with("0x"))?;
    let percent = words.iter().position(|word| word.starts_with('(') && word.ends_with("%)"))?;
    let float = |index: usize| words.get(index)?.parse::<f64>().ok();
    Some(Stream {
        source: (*words.get(ssrc.checked_sub(4)?)?).into(),
        destination: (*words.get(ssrc.checked_sub(2)?)?).into(),
        packets: words.get(percent.checked_sub(2)?)?.parse().ok()?,
        lost: words.get(percent.checked_sub(1)?)?.parse().ok()?,
        mean_jitter_ms: float(percent + 5)?,
        max_jitter_ms: float(percent + 6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_a_sixteenth_of_the_last_difference() {
        let packet = |line| parse_packet(line).unwrap();
        let packets = [packet("1700000000.000\t160\t46"), packet("1700000000.036\t320\t46")];
        assert_eq!(packets[1].dscp, 46);
        assert!((jitter_ms(&packets, 8_000.0) - 1.0).abs() < 1e-3);
        assert!(jitter_ms(&packets[..1], 8_000.0).abs() < 1e-9);
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "     0.000000     9.980000       10.77.1.2 20000        10.77.1.1 30000 0x7A4D0001            g711A   500    10 (2.0%)           0.010          20.100          45.200           0.000           2.300           5.400 X";
        let stream = parse_line(line).unwrap();
        assert_eq!(
            (stream.source.as_str(), stream.destination.as_str(), stream.packets, stream.lost),
            ("10.77.1.2", "10.77.1.1", 500, 10)
        );
        assert!((stream.mean_jitter_ms - 2.3).abs() < 1e-9 && stream.max_jitter_ms > 5.0);
    }
}

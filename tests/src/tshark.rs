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

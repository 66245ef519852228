//! Instructions per relayed packet, counted by valgrind's callgrind.
//!
//! The program runs itself twice under callgrind, collecting only inside of the worker's turn,
//! with two packet counts; the difference leaves out everything that happens once.

use std::process::{Command, Stdio};

/// Packets of the shorter run, and of the longer one.
const PACKETS: [u64; 2] = [64_000, 192_000];

/// Counts.
///
/// # Errors
/// Without valgrind, in a debug build, or if its output is not understood.
pub fn instructions_per_packet(contexts: u32) -> Result<f64, String> {
    if cfg!(debug_assertions) {
        return Err("instructions of a debug build mean nothing: build with --release, or give \
                    --no-callgrind"
            .to_owned());
    }
    let [short, long] = PACKETS;
    let difference = collected(contexts, long)?.saturating_sub(collected(contexts, short)?);
    Ok(difference as f64 / (long - short) as f64)
}

fn collected(contexts: u32, packets: u64) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_turn*"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(own)
        .args(["engine", "--counted"])
        .args(["--contexts", &contexts.to_string(), "--packets", &packets.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            format!("valgrind cannot be run ({error}): install it, or give --no-callgrind")
        })?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = parse(&text).filter(|count| *count > 0);
    match (output.status.success(), count) {
        (true, Some(count)) => Ok(count),
        _ => Err(format!("callgrind said nothing that can be used:\n{text}")),
    }
}

/// The number behind "Collected :".
fn parse(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("Collected :")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found() {
        let text = "==1== Events    : Ir\n==1== Collected : 123456\n==1== \n";
        assert_eq!(parse(text), Some(123_456));
        assert_eq!(parse("==1== nothing"), None);
    }
}

//! Pairs of sipp processes: each calls the other through the server.

use super::child::Process;
use super::generator::Generator;
use super::hosts::{CLIENT, Host, SERVER};
use std::fs;
use std::path::Path;
use std::time::Duration;

const UAC: &str = include_str!("../../sip/uac.xml");
const UAS: &str = include_str!("../../sip/uas.xml");

/// First port of the called and of the calling sipp processes.
const CALLED_PORT: u16 = 7_000;
const CALLING_PORT: u16 = 8_000;
/// How long calls may take to end after the last one has begun.
const LAST_CALLS: Duration = Duration::from_secs(40);

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// Pairs of processes.
    pub(super) pairs: u16,
    /// Calls of all pairs.
    pub(super) calls: u32,
    /// Calls per second of all pairs.
    pub(super) rate: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Calls from the INVITE to the 200 of the BYE.
    pub(super) completed: u64,
    /// Calls that failed.
    pub(super) failed: u64,
    /// Messages that were sent again, by either side.
    pub(super) retransmissions: u64,
}

/// Registers the called users `u0`, `u1`, … with the ports on which they will answer.
pub(super) fn register(client: &Host, pairs: u16) -> Result<(), String> {
    for pair in 0..pairs {
        let mut generator = Generator::start(client, CALLED_PORT + pair)?;
        let done = generator.register(pair.into(), 1)?;
        if done.completed != 1 {
            return Err(format!("user u{pair} could not be registered"));
        }
    }
    Ok(())
}

/// The running pairs.
#[derive(Debug)]
pub(super) struct Pairs {
    calling: Vec<Process>,
    called: Vec<Process>,
    files: Vec<std::path::PathBuf>,
    limit: Duration,
}

/// Starts all pairs.
pub(super) fn start(client: &Host, folder: &Path, offer: Offer) -> Result<Pairs, String> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map(|()| path.clone()).map_err(|e| format!("{name}: {e}"))
    };
    let (uac, uas) = (write("uac.xml", UAC)?, write("uas.xml", UAS)?);
    let seconds = u64::from(offer.calls / offer.rate.max(1));
    let mut pairs = Pairs {
        calling: Vec::new(),
        called: Vec::new(),
        files: Vec::new(),
        limit: LAST_CALLS + Duration::from_secs(seconds),
    };
    for pair in 0..offer.pairs {
        let file = folder.join(format!("uas{pair}.csv"));
        let mut command = client.command("sipp");
        command.current_dir(folder).arg("-sf").arg(&uas);
        common(&mut command, CALLED_PORT + pair, 20_000 + pair * 100, &file);
        let log = folder.join(format!("uas{pair}.log"));
        pairs.called.push(Process::start("sipp (called)", &mut command, &log)?);
        pairs.files.push(file);
    }
    std::thread::sleep(Duration::from_millis(300));
    for pair in 0..offer.pairs {
        let share = |of: u32| (of / u32::from(offer.pairs)).max(1).to_string();
        let file = folder.join(format!("uac{pair}.csv"));
        let mut command = client.command("sipp");
        command.current_dir(folder).arg(format!("{SERVER}:5060")).arg("-sf").arg(&uac);
        command.args(["-s", &format!("u{pair}"), "-m", &share(offer.calls)]);
        command.args(["-r", &share(offer.rate), "-l", "20000"]);
        common(&mut command, CALLING_PORT + pair, 30_000 + pair * 100, &file);
        let log = folder.join(format!("uac{pair}.log"));
        pairs.calling.push(Process::start("sipp (calling)", &mut command, &log)?);
        pairs.files.push(file);
    }
    Ok(pairs)
}

fn common(command: &mut std::process::Command, port: u16, media: u16, file: &Path) {
    command.args(["-i", CLIENT, "-p", &port.to_string(), "-mp", &media.to_string()]);
    command.args(["-t", "u1", "-nostdin", "-trace_stat", "-fd", "1", "-stf"]).arg(file);
}

impl Pairs {
    /// Waits for all calls, and for what the called side says of them.
    pub(super) fn finish(mut self) -> Result<Outcome, String> {
        for calling in &mut self.calling {
            calling.wait(self.limit)?;
        }
        // The called side writes its figures once a second.
        std::thread::sleep(Duration::from_millis(1_200));
        self.called.clear();
        let mut outcome = Outcome::default();
        for file in &self.files {
            let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
            let figures = figures(&text).ok_or("sipp's figures are not understood")?;
            let calling = file.file_name().is_some_and(|name| name.as_encoded_bytes()[2] == b'c');
            if calling {
                outcome.completed += figures.completed;
                outcome.failed += figures.failed;
            }
            outcome.retransmissions += figures.retransmissions;
        }
        Ok(outcome)
    }
}

/// The totals in the last line of sipp's figures.
fn figures(text: &str) -> Option<Outcome> {
    let head: Vec<&str> = text.lines().next()?.split(';').collect();
    let last: Vec<&str> = text.lines().last()?.split(';').collect();
    let column = |name: &str| {
        let place = head.iter().position(|it| *it == name)?;
        last.get(place)?.trim().parse::<u64>().ok()
    };
    Some(Outcome {
        completed: column("SuccessfulCall(C)")?,
        failed: column("FailedCall(C)")?,
        retransmissions: column("Retransmissions(C)")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let text = "A;SuccessfulCall(P);SuccessfulCall(C);FailedCall(C);Retransmissions(C);\n\
                    x;1;1;0;0;\nx;2;3;1;4;\n";
        let outcome = figures(text).unwrap();
        assert_eq!(outcome, Outcome { completed: 3, failed: 1, retransmissions: 4 });
        assert_eq!(figures("A;B\n1;2\n"), None);
        assert_eq!(figures(""), None);
    }
}

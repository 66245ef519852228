//! The command line.

use crate::audio::Play;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tandem_dsp::g711::Law;

const EXAMPLES: &str = "\
Examples:
  Check a password:
    tandem-ua --user alice --password secret --server 127.0.0.1:5060 register
  Wait for one call, answer it after half a second, record it:
    tandem-ua --user bob --password secret --server 127.0.0.1:5060 \\
        answer --ring-ms 500 --tone 1000 --record bob.wav
  Call for ten seconds with a tone, send digits, print the statistics as JSON:
    tandem-ua --user alice --password secret --server 127.0.0.1:5060 --json \\
        call sip:bob@127.0.0.1 --seconds 10 --tone 440 --dtmf 123#
  Two softphones without a server:
    tandem-ua --user bob --bind 127.0.0.1:5070 answer
    tandem-ua --user alice --bind 127.0.0.1:0 call sip:bob@127.0.0.1:5070
  Several actions one after the other (script lines are these same commands):
    printf 'register\\nwait 1\\ncall sip:bob@127.0.0.1 --seconds 3\\n' | \\
        tandem-ua --user alice --password secret --server 127.0.0.1:5060 script -

Exit codes: 0 done; 2 wrong usage; 3 refused, nobody called or answered; 4 wrong user or password;
5 server unreachable; 6 something local (address, port, file); 130 interrupted.";

/// A scriptable SIP softphone: registers, calls, answers, plays and records sound, sends and
/// receives DTMF, and prints the statistics of its own RTP.
#[derive(Clone, Debug, Parser)]
#[command(name = "tandem-ua", version, after_help = EXAMPLES)]
pub struct Cli {
    /// Who and where.
    #[command(flatten)]
    pub options: Options,
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// Transport of SIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SipTransport {
    /// Datagrams.
    #[default]
    Udp,
    /// A connection.
    Tcp,
}

/// Codec on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// G.711 μ-law.
    #[value(name = "PCMU", alias = "pcmu")]
    Pcmu,
    /// G.711 A-law.
    #[value(name = "PCMA", alias = "pcma")]
    Pcma,
}

impl Codec {
    /// The companding law.
    #[must_use]
    pub const fn law(self) -> Law {
        match self {
            Self::Pcmu => Law::Mu,
            Self::Pcma => Law::A,
        }
    }
}

/// Options of all actions.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of the phone")]
pub struct Options {
    /// User part of the own address.
    #[arg(long, global = true, default_value = "tandem-ua", value_name = "NAME")]
    pub user: String,
    /// Password for digest authentication (MD5 or SHA-256, as the server asks).
    #[arg(long, global = true, value_name = "TEXT")]
    pub password: Option<String>,
    /// File whose first line is the password, which other users of the machine then cannot see.
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "password")]
    pub password_file: Option<PathBuf>,
    /// Name for authentication, if it differs from --user.
    #[arg(long, global = true, value_name = "NAME")]
    pub auth_user: Option<String>,
    /// Registrar and outbound proxy: a host, or host:port.
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub server: Option<String>,
    /// Domain of the own address, if it differs from the host of --server.
    #[arg(long, global = true, value_name = "HOST")]
    pub domain: Option<String>,
    /// Transport of SIP.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub transport: SipTransport,
    /// Local address for SIP; media uses the same address. Default: the one that leads to the
    /// server, any free port.
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub bind: Option<SocketAddr>,
    /// Codecs on offer, the first is preferred.
    #[arg(long, global = true, value_enum, value_delimiter = ',', default_values = ["PCMU", "PCMA"])]
    pub codec: Vec<Codec>,
    /// Duration of one RTP packet, ms.
    #[arg(long, global = true, default_value_t = 20, value_name = "MS",
          value_parser = clap::value_parser!(u16).range(5..=120))]
    pub ptime: u16,
    /// Offer RTP and RTCP on one port (RFC 5761).
    #[arg(long, global = true)]
    pub rtcp_mux: bool,
    /// Mean interval of RTCP reports, ms.
    #[arg(long, global = true, default_value_t = 5000, value_name = "MS",
          value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub rtcp_interval_ms: u64,
    /// Expiry asked for in registrations, s; refreshed in good time.
    #[arg(long, global = true, default_value_t = 3600, value_name = "S")]
    pub expires: u32,
    /// Print one JSON object on standard output instead of text.
    #[arg(long, global = true)]
    pub json: bool,
    /// Show every SIP message on standard error.
    #[arg(long, short, global = true)]
    pub verbose: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Register, stay so for a time, unregister at the end.
    Register(RegisterArgs),
    /// Take the registration back (the exit does it by itself).
    Unregister,
    /// Place a call.
    Call(CallArgs),
    /// Wait for calls and answer, or reject, them; registers first if there is a --server.
    Answer(AnswerArgs),
    /// Send OPTIONS and show the answer.
    Options {
        /// Who to ask; default: the server.
        target: Option<String>,
    },
    /// Do nothing for a time (in scripts).
    Wait {
        /// How long, s.
        #[arg(value_parser = seconds)]
        seconds: Duration,
    },
    /// Run the actions of a file, one a line; '-' reads standard input, '#' begins a comment.
    Script {
        /// The file.
        file: PathBuf,
    },
    /// Say what a WAV file sounds like: tone, level, DTMF.
    Listen {
        /// The file.
        file: PathBuf,
    },
}

/// Options of `register`.
#[derive(Clone, Debug, Default, Args)]
pub struct RegisterArgs {
    /// Stay registered for this time, s.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Leave the registration to expire instead of taking it back at exit.
    #[arg(long)]
    pub keep: bool,
}

/// What happens in an answered call.
#[derive(Clone, Debug, Default, Args)]
pub struct InCall {
    /// Hang up this long after the answer, s; else wait for the other side to do it.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Play a sine of this frequency.
    #[arg(long, value_name = "HZ", conflicts_with = "play")]
    pub tone: Option<f64>,
    /// Play a WAV file, over and over.
    #[arg(long, value_name = "FILE.wav")]
    pub play: Option<PathBuf>,
    /// Record what is received (of several calls each its own, numbered, file).
    #[arg(long, value_name = "FILE.wav")]
    pub record: Option<PathBuf>,
    /// Send these digits as telephone events (RFC 4733).
    #[arg(long, value_name = "DIGITS", value_parser = digits)]
    pub dtmf: Option<String>,
    /// Send them this long after the answer, s.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub dtmf_after: Duration,
    /// Put the other side on hold this long after the answer, s.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub hold_after: Option<Duration>,
    /// Resume this long after the answer, s.
    #[arg(long, value_name = "S", value_parser = seconds, requires = "hold_after")]
    pub resume_after: Option<Duration>,
}

impl InCall {
    /// What to play.
    #[must_use]
    pub fn source(&self) -> Play {
        match (&self.play, self.tone) {
            (Some(path), _) => Play::File(path.clone()),
            (None, Some(hz)) => Play::Tone(hz),
            (None, None) => Play::Silence,
        }
    }
}

/// Options of `call`.
#[derive(Clone, Debug, Default, Args)]
pub struct CallArgs {
    /// Who to call: a SIP URI, or a user or number at the own domain.
    pub target: String,
    /// What happens in the call.
    #[command(flatten)]
    pub in_call: InCall,
    /// Register before the call.
    #[arg(long)]
    pub register: bool,
    /// Give up (CANCEL) after ringing this long, s.
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    pub ring_timeout: Duration,
}

/// Options of `answer`.
#[derive(Clone, Debug, Default, Args)]
pub struct AnswerArgs {
    /// What happens in each call.
    #[command(flatten)]
    pub in_call: InCall,
    /// End after this many calls; they may overlap.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub calls: u32,
    /// Ring this long before answering, ms.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub ring_ms: u64,
    /// Refuse with this status (after ringing) instead of answering, for example 486.
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(300..=699))]
    pub reject: Option<u16>,
    /// Fail if nobody calls for this long, s; else wait for ever.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub wait: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| format!("'{text}' is not a number of seconds"))?;
    Duration::try_from_secs_f64(number).map_err(|e| e.to_string())
}

fn digits(text: &str) -> Result<String, String> {
    match text.chars().find(|c| tandem_dsp::dtmf::event_code(*c).is_none()) {
        Some(wrong) => Err(format!("'{wrong}' is no DTMF digit; use 0-9, *, #, A-D")),
        None => Ok(text.to_ascii_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_help_are_valid() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let joined = EXAMPLES.replace("\\\n", " ");
        let lines = joined.lines().filter_map(|line| line.split_once("tandem-ua ")).map(|it| it.1);
        let mut seen = 0;
        for line in lines {
            let words = std::iter::once("tandem-ua").chain(line.split_whitespace());
            Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
            seen += 1;
        }
        assert_eq!(seen, 6);
    }

    #[test]
    fn wrong_values_are_refused() {
        for line in ["call sip:b@x --dtmf 12x", "answer --reject 200", "call sip:b@x --seconds x"] {
            assert!(Cli::try_parse_from(format!("tandem-ua {line}").split(' ')).is_err(), "{line}");
        }
    }
}

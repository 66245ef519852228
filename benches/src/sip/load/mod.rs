//! The load generator: one socket that registers users, calls and answers. Commands come by lines,
//! each is answered with one line of JSON.
//!
//! | command | what it does |
//! | --- | --- |
//! | `register FIRST COUNT` | registers users, with digest where it is asked for |
//! | `calls USER COUNT RATE` | INVITE, 200, ACK, BYE, 200 |
//! | `hold USER COUNT RATE` | INVITE, 200, ACK |
//! | `release RATE` | BYE, 200 of all that are held |

mod text;
mod work;

use clap::Args;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use work::{Task, Worker};

/// `tandem-bench sip-load`: the benchmark's own helper.
#[derive(Clone, Debug, Args)]
pub struct LoadArgs {
    /// Where the server listens
    #[arg(long)]
    server: SocketAddr,

    /// Own address
    #[arg(long)]
    local: SocketAddr,
}

/// Does what standard input says, until its end.
///
/// # Errors
/// A message for people.
pub fn run(args: &LoadArgs) -> Result<(), String> {
    let mut worker = Worker::new(args.local, args.server)?;
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| error.to_string())?;
        let task = parse(&line).ok_or_else(|| format!("\"{line}\" is no command"))?;
        let done = worker.run(task)?;
        let text = serde_json::to_string(&done).map_err(|error| error.to_string())?;
        writeln!(output, "{text}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn parse(line: &str) -> Option<Task> {
    let mut words = line.split_whitespace();
    let name = words.next()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    Some(match name {
        "register" => Task::Register { first: number()?, count: number()? },
        "calls" => Task::Call { user: number()?, count: number()?, rate: number()?, hold: false },
        "hold" => Task::Call { user: number()?, count: number()?, rate: number()?, hold: true },
        "release" => Task::Release { rate: number()? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        assert_eq!(parse("register 5 10"), Some(Task::Register { first: 5, count: 10 }));
        let held = Task::Call { user: 0, count: 2, rate: 3, hold: true };
        assert_eq!(parse("hold 0 2 3"), Some(held));
        assert_eq!(parse("hold 0 2"), None);
        assert_eq!(parse("dance 1"), None);
    }
}

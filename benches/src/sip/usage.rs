//! What processes use, out of `/proc`.

use std::fs;

/// Ticks of the times in `/proc/PID/stat` in a second: part of the kernel's interface.
const TICKS_PER_S: f64 = 100.0;

/// Processor time and memory of a group of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time since they began, s.
    pub(super) cpu_s: f64,
    /// Memory, shared pages divided by who shares them, octets.
    pub(super) memory: f64,
}

/// Usage of control (SIP) and of media.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Split {
    pub(super) control: Usage,
    pub(super) media: Usage,
}

impl Split {
    /// Reads all processes; `is_media` tells by the name which of them carry media.
    pub(super) fn of(pids: &[u32], is_media: impl Fn(&str) -> bool) -> Self {
        let mut split = Self::default();
        for pid in pids {
            // It may end between listing and reading; then it is counted no more.
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let group = if is_media(name.trim()) { &mut split.media } else { &mut split.control };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
            group.cpu_s += cpu_s(&stat).unwrap_or(0.0);
            group.memory += pss(&rollup.unwrap_or_default()).unwrap_or(0.0);
        }
        split
    }

    /// Processor time of both, s.
    pub(super) fn cpu_s(&self) -> f64 {
        self.control.cpu_s + self.media.cpu_s
    }
}

/// utime and stime: fields 14 and 15, counted behind the name, which may hold spaces.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_PER_S)
}

/// Proportional set size, octets.
fn pss(rollup: &str) -> Option<f64> {
    let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 99";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert_eq!(cpu_s("12 (a"), None);
    }

    #[test]
    fn memory_is_in_kibibytes() {
        assert_eq!(pss("Rss:  9 kB\nPss:       2 kB\nPss_Dirty: 1 kB\n"), Some(2048.0));
    }

    #[test]
    fn the_own_process_uses_something() {
        let split = Split::of(&[std::process::id()], |_| false);
        assert!(split.control.memory > 100_000.0);
        assert_eq!(split.media, Usage::default());
    }
}

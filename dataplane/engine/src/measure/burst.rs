//! Bursts and gaps of loss (RFC 3611 §4.7.2), fed with lost sequence numbers in order.
//!
//! A burst begins and ends with a lost packet and has no Gmin or more received packets in a row
//! inside; a single lost packet belongs to the gap around it. The counts are those of the
//! algorithm in RFC 3611 §4.7.2, without its table of transitions.

/// Received packets in a row that end a burst (RFC 3611 §4.7.2 recommends 16).
const GMIN: u64 = 16;

/// Counts of bursts and of the losses in them and between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Burst {
    /// First and last loss of the run that is not yet closed; no run if `losses` is 0.
    first: u64,
    last: u64,
    losses: u64,
    pub(super) burst_lost: u64,
    pub(super) burst_packets: u64,
    pub(super) bursts: u64,
    pub(super) gap_lost: u64,
    pub(super) loss_runs: u64,
}

impl Burst {
    /// Counts the loss of an extended sequence number above all before.
    pub(super) fn lose(&mut self, ext: u64) {
        if self.losses > 0 && ext - self.last <= GMIN {
            self.losses += 1;
            self.loss_runs += u64::from(ext != self.last + 1);
        } else {
            self.close();
            (self.first, self.losses) = (ext, 1);
            self.loss_runs += 1;
        }
        self.last = ext;
    }

    /// Ends the run: what follows does not continue it.
    pub(super) fn close(&mut self) {
        match self.losses {
            0 => {}
            1 => self.gap_lost += 1,
            losses => {
                self.bursts += 1;
                self.burst_lost += losses;
                self.burst_packets += self.last - self.first + 1;
            }
        }
        self.losses = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(lost: &[u64]) -> Burst {
        let mut burst = Burst::default();
        lost.iter().for_each(|&ext| burst.lose(ext));
        burst.close();
        burst
    }

    #[test]
    fn a_single_loss_belongs_to_the_gap() {
        let burst = count(&[100, 200, 300]);
        assert_eq!((burst.gap_lost, burst.bursts, burst.loss_runs), (3, 0, 3));
    }

    #[test]
    fn fewer_than_gmin_received_keep_a_burst_together() {
        // 15 received between 100 and 116, 16 between 116 and 133.
        let burst = count(&[100, 116, 133]);
        assert_eq!((burst.bursts, burst.burst_lost, burst.burst_packets), (1, 2, 17));
        assert_eq!(burst.gap_lost, 1);
    }

    #[test]
    fn consecutive_losses_are_one_run() {
        let burst = count(&[10, 11, 12, 20, 21]);
        assert_eq!((burst.bursts, burst.burst_lost, burst.burst_packets), (1, 5, 12));
        assert_eq!(burst.loss_runs, 2);
    }
}

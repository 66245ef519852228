//! Figures, the budget they are held to, table and JSON.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The committed budget.
const BUDGETS: &str = include_str!("../../budgets.json");

#[derive(Clone, Copy, Debug, Deserialize)]
struct Budgets {
    engine: EngineBudget,
}

/// What a relayed packet may cost.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct EngineBudget {
    /// Instructions per relayed packet, measurement included.
    pub instructions_per_packet: f64,
    /// Allocations of a whole run.
    pub allocations: u64,
}

/// What one run measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Relay contexts of two terminations.
    pub contexts: u32,
    /// Packets relayed.
    pub packets: u64,
    /// Allocations while relaying.
    pub allocations: u64,
    /// Time of the turns, ns per packet: tells about this machine.
    pub ns_per_packet: f64,
    /// Instructions of the turns per packet.
    pub instructions_per_packet: Option<f64>,
}

/// All runs, with the budget.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    runs: Vec<Figures>,
    budget: Option<EngineBudget>,
}

impl Report {
    /// A report with the committed budget.
    #[must_use]
    pub fn new(runs: Vec<Figures>) -> Self {
        let budgets: Option<Budgets> = serde_json::from_str(BUDGETS).ok();
        Self { runs, budget: budgets.map(|budgets| budgets.engine) }
    }

    /// Whether every run keeps to the budget; what was not counted is not held to it.
    #[must_use]
    pub fn within_budget(&self) -> bool {
        let Some(budget) = self.budget else { return false };
        let fits = |run: &Figures| {
            let instructions = run.instructions_per_packet.unwrap_or(0.0);
            run.allocations <= budget.allocations && instructions <= budget.instructions_per_packet
        };
        self.runs.iter().all(fits)
    }

    /// As one JSON object.
    ///
    /// # Errors
    /// When a figure is no number.
    pub fn to_json(&self) -> Result<String, String> {
        serde_json::to_string_pretty(self).map_err(|error| error.to_string())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["contexts", "packets", "allocations", "ns/packet", "instructions/packet"];
        writeln!(
            f,
            "{:>9} {:>10} {:>12} {:>10} {:>20}",
            head[0], head[1], head[2], head[3], head[4]
        )?;
        for run in &self.runs {
            let instructions =
                run.instructions_per_packet.map_or("not counted".to_owned(), |i| format!("{i:.1}"));
            writeln!(
                f,
                "{:>9} {:>10} {:>12} {:>10.1} {:>20}",
                run.contexts, run.packets, run.allocations, run.ns_per_packet, instructions
            )?;
        }
        let Some(budget) = self.budget else {
            return writeln!(f, "budgets.json is not readable: nothing is within budget");
        };
        let verdict = if self.within_budget() { "kept" } else { "EXCEEDED" };
        writeln!(
            f,
            "budget: {} instructions per packet, {} allocations: {verdict}",
            budget.instructions_per_packet, budget.allocations
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(instructions: Option<f64>, allocations: u64) -> Report {
        Report::new(vec![Figures {
            contexts: 1,
            packets: 1,
            allocations,
            ns_per_packet: 1.0,
            instructions_per_packet: instructions,
        }])
    }

    #[test]
    fn the_committed_budget_is_that_of_the_design() {
        let budget = report(None, 0).budget.unwrap();
        assert!(budget.instructions_per_packet <= 350.0);
        assert_eq!(budget.allocations, 0);
    }

    #[test]
    fn the_gate_closes() {
        assert!(report(Some(350.0), 0).within_budget());
        assert!(!report(Some(350.1), 0).within_budget());
        assert!(!report(None, 1).within_budget());
    }
}

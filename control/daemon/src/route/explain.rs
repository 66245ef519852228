//! A decision in words: what `tandem route` and the API show.

use super::decide::{By, Decision, Outcome, Router, Rule, Target, Who};
use super::number::Kind;
use serde::{Deserialize, Serialize};

/// A decision for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// What was dialled.
    pub dialled: String,
    /// Who dials: a user, or `trunk:NAME`.
    pub from: Option<String>,
    /// The number in its normal form, if it is one.
    pub number: Option<String>,
    /// What kind of number it is.
    pub kind: Option<Kind>,
    /// Why, one sentence for each step.
    pub steps: Vec<String>,
    /// `user`, `trunks` or `nobody`.
    pub outcome: String,
    /// The status that the caller gets if the call goes nowhere.
    pub status: Option<u16>,
    /// The user who rings.
    pub user: Option<String>,
    /// The trunks that are tried, in this order.
    pub candidates: Vec<CandidateView>,
    /// The trunks that are not tried.
    pub excluded: Vec<ExcludedView>,
}

/// A trunk that is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateView {
    /// Its name.
    pub trunk: String,
    /// Prefix of the rule.
    pub prefix: String,
    /// The lowest first.
    pub priority: u16,
    /// Share among equal priorities.
    pub weight: u16,
    /// The number as the trunk gets it.
    pub number: String,
    /// On which answers the next one is tried.
    pub failover: String,
}

/// A trunk that is not tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExcludedView {
    /// Its name.
    pub trunk: String,
    /// Why.
    pub why: String,
}

/// The status for a call that goes nowhere.
#[must_use]
pub const fn status(outcome: &Outcome) -> Option<u16> {
    match outcome {
        Outcome::User { .. } | Outcome::Trunks(_) => None,
        Outcome::Nobody => Some(404),
        Outcome::NoTrunk => Some(503),
    }
}

impl Router {
    /// The decision step by step.
    #[must_use]
    pub fn explain(&self, decision: &Decision, from: Option<&str>) -> RouteView {
        let mut view = RouteView {
            dialled: decision.dialled.clone(),
            from: from.map(str::to_owned),
            number: decision.normalised.as_ref().map(|it| it.number.clone()),
            kind: decision.normalised.as_ref().map(|it| it.kind),
            steps: self.steps(decision),
            outcome: "nobody".to_owned(),
            status: status(&decision.outcome),
            user: None,
            candidates: Vec::new(),
            excluded: decision
                .excluded
                .iter()
                .map(|(rule, why)| ExcludedView { trunk: self.target(*rule), why: why.clone() })
                .collect(),
        };
        match &decision.outcome {
            Outcome::User { name, .. } => {
                view.outcome = "user".to_owned();
                view.user = Some(name.clone());
            }
            Outcome::Trunks(candidates) => {
                view.outcome = "trunks".to_owned();
                view.candidates = candidates
                    .iter()
                    .map(|it| {
                        let rule = &self.rules()[it.rule];
                        CandidateView {
                            trunk: self.target(it.rule),
                            prefix: rule.prefix.clone(),
                            priority: rule.rank.priority,
                            weight: rule.rank.weight,
                            number: it.number.clone(),
                            failover: it.failover.to_string(),
                        }
                    })
                    .collect();
            }
            Outcome::Nobody | Outcome::NoTrunk => {}
        }
        view
    }

    fn steps(&self, decision: &Decision) -> Vec<String> {
        let mut steps = Vec::new();
        let dialled = &decision.dialled;
        if let Outcome::User { by: By::Name, .. } = decision.outcome {
            steps.push(format!("`{dialled}` is the name of a user: the user's contacts ring"));
            return steps;
        }
        let Some(it) = &decision.normalised else {
            steps.push(format!("`{dialled}` is neither a user nor a number: 404"));
            return steps;
        };
        let kind = match it.kind {
            Kind::Emergency => "an emergency number, which no limit stops",
            Kind::Global => "an international number",
            Kind::Local => "a local number",
        };
        steps.push(format!("`{dialled}` is read as {}, {kind}: {}", it.number, it.how));
        if let Outcome::User { name, by: By::Number } = &decision.outcome {
            steps.push(format!("{} belongs to the user {name}, whose contacts ring", it.number));
            return steps;
        }
        steps.push("no user has this name or number".to_owned());
        for &rule in &decision.passed_over {
            let whom = self.whom(&self.rules()[rule]);
            steps.push(format!("{} fits, and is passed over: {whom}", self.title(rule)));
        }
        if decision.any_rule {
            steps.push("an emergency call takes a rule even if it is for others".to_owned());
        }
        self.outcome_steps(decision, &mut steps);
        steps
    }

    fn outcome_steps(&self, decision: &Decision, steps: &mut Vec<String>) {
        match decision.matched {
            Some(length) => {
                let number = decision.normalised.as_ref().map_or("", |it| it.number.as_str());
                let prefix = number.get(..length).unwrap_or(number);
                let shown = if prefix.is_empty() { "the empty prefix" } else { prefix };
                steps.push(format!("the longest prefix with a [[route]] is {shown}"));
            }
            None => steps.push("no [[route]] fits this number and this caller: 404".to_owned()),
        }
        for (rule, why) in &decision.excluded {
            steps.push(format!("trunk {} is left out: {why}", self.target(*rule)));
        }
        for (rule, why) in &decision.put_last {
            steps.push(format!("trunk {} comes last: {why}", self.target(*rule)));
        }
        match &decision.outcome {
            Outcome::User { name, .. } => {
                steps.push(format!("the [[route]] leads to the user {name}, whose contacts ring"));
            }
            Outcome::Trunks(candidates) => {
                for (at, it) in candidates.iter().enumerate() {
                    let rank = self.rules()[it.rule].rank;
                    steps.push(format!(
                        "{}. trunk {} gets {} (priority {}, weight {})",
                        at + 1,
                        self.target(it.rule),
                        it.number,
                        rank.priority,
                        rank.weight
                    ));
                }
                if candidates.len() > 1 {
                    let causes = &candidates[0].failover;
                    steps.push(format!("the next one is tried after {causes}, or no answer"));
                }
            }
            Outcome::NoTrunk => steps.push("no trunk is left: 503".to_owned()),
            Outcome::Nobody => {}
        }
    }

    fn title(&self, rule: usize) -> String {
        let it = &self.rules()[rule];
        format!("[[route]] {} (prefix \"{}\" to {})", rule + 1, it.prefix, self.target(rule))
    }

    fn target(&self, rule: usize) -> String {
        match &self.rules()[rule].target {
            Target::Trunk(trunk) => {
                self.trunks().get(*trunk).map(|it| it.name.clone()).unwrap_or_default()
            }
            Target::User(name) => format!("user {name}"),
        }
    }

    /// Whom a rule is for.
    fn whom(&self, rule: &Rule) -> String {
        if rule.from.is_empty() {
            return "it is for users, not for calls from a trunk".to_owned();
        }
        let names: Vec<String> = rule
            .from
            .iter()
            .map(|who| match who {
                Who::User(name) => name.clone(),
                Who::Trunk(trunk) => {
                    format!("trunk:{}", self.trunks().get(*trunk).map_or("", |it| &it.name))
                }
            })
            .collect();
        format!("it is for {} alone", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::decide::{Directory, Origin, Standing, TrunkHead};
    use crate::route::failover::Failover;
    use crate::route::number::{NumberFormat, NumberPlan};
    use crate::route::order::Rank;

    struct Nobody;

    impl Directory for Nobody {
        fn knows(&self, user: &str) -> bool {
            user == "bob"
        }

        fn owner_of(&self, _: &str) -> Option<String> {
            None
        }
    }

    fn router() -> Router {
        let plan = NumberPlan {
            country_code: "49".into(),
            national_prefix: "0".into(),
            ..NumberPlan::default()
        };
        let head = |name: &str| TrunkHead {
            name: name.into(),
            format: NumberFormat::E164,
            failover: Failover::new(&Failover::defaults()),
        };
        let rule = |prefix: &str, trunk, priority| Rule {
            prefix: prefix.into(),
            target: Target::Trunk(trunk),
            rank: Rank { priority, weight: 1 },
            strip: 0,
            add: String::new(),
            from: Vec::new(),
            failover: None,
        };
        let alice = Rule { from: vec![Who::User("alice".into())], ..rule("+4930", 0, 1) };
        let rules = vec![rule("+49", 0, 1), rule("+49", 1, 2), rule("+49", 2, 3), alice];
        Router::new(plan, vec![head("first"), head("second"), head("third")], rules)
    }

    fn explain(dialled: &str) -> RouteView {
        let router = router();
        let down = |trunk, _| match trunk {
            0 => Standing::Out("not registered".to_owned()),
            1 => Standing::Last("it did not answer".to_owned()),
            _ => Standing::Ready,
        };
        let decision = router.decide(&Nobody, dialled, Origin::User("bob"), &down, 1);
        router.explain(&decision, Some("bob"))
    }

    #[test]
    fn every_step_is_said() {
        let view = explain("0301234");
        assert_eq!(
            view.steps,
            [
                "`0301234` is read as +49301234, an international number: \
                 numbers.national_prefix becomes numbers.country_code",
                "no user has this name or number",
                "[[route]] 4 (prefix \"+4930\" to first) fits, and is passed over: \
                 it is for alice alone",
                "the longest prefix with a [[route]] is +49",
                "trunk first is left out: not registered",
                "trunk second comes last: it did not answer",
                "1. trunk third gets +49301234 (priority 3, weight 1)",
                "2. trunk second gets +49301234 (priority 2, weight 1)",
                "the next one is tried after 408, 5xx, or no answer",
            ]
        );
        assert_eq!((&*view.outcome, view.status), ("trunks", None));
        assert_eq!(view.excluded[0].trunk, "first");
        let json = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<RouteView>(&json).unwrap(), view);
    }

    #[test]
    fn users_and_unknown_numbers_are_said_too() {
        let bob = explain("bob");
        assert_eq!((&*bob.outcome, bob.user.as_deref()), ("user", Some("bob")));
        let carol = explain("carol");
        assert_eq!((&*carol.outcome, carol.status), ("nobody", Some(404)));
        assert!(carol.steps[0].contains("neither a user nor a number"));
        let abroad = explain("+441234");
        assert_eq!(
            abroad.steps.last().unwrap(),
            "no [[route]] fits this number and this caller: 404"
        );
    }
}

//! From what was dialled and who dials to where the call goes.

use super::failover::Failover;
use super::number::{Kind, Normalised, NumberFormat, NumberPlan};
use super::order::{Rank, order};
use super::tree::PrefixTree;

/// Who is known by name and by number.
pub trait Directory {
    /// Whether there is a user of this name.
    fn knows(&self, user: &str) -> bool;

    /// The user whom a number belongs to.
    fn owner_of(&self, number: &str) -> Option<String>;
}

/// Where a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin<'a> {
    /// One of our users; an empty name for one of whom nothing is known.
    User(&'a str),
    /// The trunk of this index.
    Trunk(usize),
}

/// Who may use a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This user.
    User(String),
    /// Calls from the trunk of this index.
    Trunk(usize),
}

impl Who {
    fn is(&self, origin: Origin<'_>) -> bool {
        match (self, origin) {
            (Self::User(name), Origin::User(user)) => name == user,
            (Self::Trunk(index), Origin::Trunk(trunk)) => *index == trunk,
            _ => false,
        }
    }
}

/// Where a rule leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The trunk of this index.
    Trunk(usize),
    /// A user of ours.
    User(String),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What the number begins with.
    pub prefix: String,
    /// Where it leads.
    pub target: Target,
    /// Order and share among the rules of the same prefix.
    pub rank: Rank,
    /// Symbols that are taken from the front of the number, `+` included.
    pub strip: usize,
    /// What is put in front of it then.
    pub add: String,
    /// Who may use it; empty for all users and no trunk.
    pub from: Vec<Who>,
    /// Its own causes instead of the trunk's.
    pub failover: Option<Failover>,
}

impl Rule {
    /// Whether a caller may use it. A call from a trunk goes out again only where a rule names that
    /// trunk: else anybody out there could call at our cost. To a user of ours it may go.
    fn serves(&self, origin: Origin<'_>) -> bool {
        if self.from.is_empty() {
            return matches!(origin, Origin::User(_)) || matches!(self.target, Target::User(_));
        }
        self.from.iter().any(|who| who.is(origin))
    }

    fn rewrite(&self, number: &str) -> String {
        let rest: String = number.chars().skip(self.strip).collect();
        format!("{}{rest}", self.add)
    }
}

/// Whether a trunk can take a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can.
    Ready,
    /// After all others, and why: it failed lately.
    Last(String),
    /// It cannot, and why.
    Out(String),
}

/// What rules know of a trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkHead {
    /// Its name.
    pub name: String,
    /// How it wants numbers.
    pub format: NumberFormat,
    /// On which answers the next one is tried.
    pub failover: Failover,
}

/// One way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Index of its rule.
    pub rule: usize,
    /// Index of its trunk.
    pub trunk: usize,
    /// The number as the trunk gets it.
    pub number: String,
    /// On which answers the next one is tried.
    pub failover: Failover,
}

/// Why a call goes to a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// It was the user's name that was dialled.
    Name,
    /// The number belongs to the user.
    Number,
    /// The rule of this index.
    Rule(usize),
}

/// Where a call goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To a user of ours.
    User {
        /// The name.
        name: String,
        /// Why.
        by: By,
    },
    /// Out, to the first of these that takes it.
    Trunks(Vec<Candidate>),
    /// Nowhere: it is neither a user nor a number with a rule.
    Nobody,
    /// Nowhere now: every trunk that a rule names is excluded.
    NoTrunk,
}

/// A decision with all that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was dialled.
    pub dialled: String,
    /// How it was read; `None` if it is no number, or was a user's name.
    pub normalised: Option<Normalised>,
    /// Length of the prefix that decided.
    pub matched: Option<usize>,
    /// Rules that fit the number and not the caller.
    pub passed_over: Vec<usize>,
    /// The caller has no rule of his own, and an emergency number takes anybody's.
    pub any_rule: bool,
    /// Rules whose trunk cannot take the call, and why.
    pub excluded: Vec<(usize, String)>,
    /// Rules whose trunk is tried after the others, and why.
    pub put_last: Vec<(usize, String)>,
    /// Where the call goes.
    pub outcome: Outcome,
}

impl Decision {
    /// Whether no limit may stop this call.
    #[must_use]
    pub fn is_emergency(&self) -> bool {
        self.normalised.as_ref().is_some_and(|it| it.kind == Kind::Emergency)
    }
}

/// The number plan and all rules.
#[derive(Clone, Debug, Default)]
pub struct Router {
    plan: NumberPlan,
    rules: Vec<Rule>,
    trunks: Vec<TrunkHead>,
    tree: PrefixTree,
}

impl Router {
    /// A router; targets of rules are indices into `trunks`.
    #[must_use]
    pub fn new(plan: NumberPlan, trunks: Vec<TrunkHead>, rules: Vec<Rule>) -> Self {
        let mut tree = PrefixTree::default();
        for (index, rule) in rules.iter().enumerate() {
            tree.insert(&rule.prefix, index);
        }
        Self { plan, rules, trunks, tree }
    }

    /// The number plan.
    #[must_use]
    pub const fn plan(&self) -> &NumberPlan {
        &self.plan
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What rules know of the trunks.
    #[must_use]
    pub fn trunks(&self) -> &[TrunkHead] {
        &self.trunks
    }

    /// Decides. `standing` says whether a trunk can take a call now; it is told whether the number
    /// is an emergency number, which no limit stops. `random` decides among equals.
    #[must_use]
    pub fn decide(
        &self,
        directory: &dyn Directory,
        dialled: &str,
        origin: Origin<'_>,
        standing: &dyn Fn(usize, bool) -> Standing,
        random: u64,
    ) -> Decision {
        let mut decision = Decision {
            dialled: dialled.to_owned(),
            normalised: None,
            matched: None,
            passed_over: Vec::new(),
            any_rule: false,
            excluded: Vec::new(),
            put_last: Vec::new(),
            outcome: Outcome::Nobody,
        };
        if directory.knows(dialled) {
            decision.outcome = Outcome::User { name: dialled.to_owned(), by: By::Name };
            return decision;
        }
        let Some(normalised) = self.plan.normalise(dialled) else { return decision };
        let owner = directory.owner_of(&normalised.number);
        let number = normalised.number.clone();
        decision.normalised = Some(normalised);
        if let Some(name) = owner {
            decision.outcome = Outcome::User { name, by: By::Number };
            return decision;
        }
        let rules = self.fitting(&number, origin, &mut decision);
        let ranks: Vec<Rank> = rules.iter().map(|&rule| self.rules[rule].rank).collect();
        let ordered: Vec<usize> = order(&ranks, random).into_iter().map(|at| rules[at]).collect();
        decision.outcome = self.outcome(&ordered, &number, standing, &mut decision);
        decision
    }

    /// The rules of the longest prefix that has one for this caller.
    fn fitting(&self, number: &str, origin: Origin<'_>, decision: &mut Decision) -> Vec<usize> {
        let matches = self.tree.matches(number);
        for (length, rules) in &matches {
            let (mine, others): (Vec<usize>, Vec<usize>) =
                rules.iter().partition(|&&rule| self.rules[rule].serves(origin));
            decision.passed_over.extend(others);
            if !mine.is_empty() {
                decision.matched = Some(*length);
                return mine;
            }
        }
        // Nobody of ours is left without help because the rules are for others.
        match matches.first() {
            Some((length, rules))
                if decision.is_emergency() && matches!(origin, Origin::User(_)) =>
            {
                decision.matched = Some(*length);
                decision.any_rule = true;
                rules.to_vec()
            }
            _ => Vec::new(),
        }
    }

    fn outcome(
        &self,
        ordered: &[usize],
        number: &str,
        standing: &dyn Fn(usize, bool) -> Standing,
        decision: &mut Decision,
    ) -> Outcome {
        let emergency = decision.is_emergency();
        let (mut candidates, mut last) = (Vec::new(), Vec::new());
        for &index in ordered {
            let rule = &self.rules[index];
            let trunk = match &rule.target {
                Target::Trunk(trunk) => *trunk,
                // Behind a trunk it would never ring: a trunk's answers are final or not its own.
                Target::User(_) if !candidates.is_empty() || !last.is_empty() => continue,
                Target::User(name) => {
                    return Outcome::User { name: name.clone(), by: By::Rule(index) };
                }
            };
            let Some(head) = self.trunks.get(trunk) else { continue };
            let place = match standing(trunk, emergency) {
                Standing::Ready => &mut candidates,
                Standing::Last(why) => {
                    decision.put_last.push((index, why));
                    &mut last
                }
                Standing::Out(why) => {
                    decision.excluded.push((index, why));
                    continue;
                }
            };
            place.push(Candidate {
                rule: index,
                trunk,
                number: self.plan.format(&rule.rewrite(number), head.format),
                failover: rule.failover.clone().unwrap_or_else(|| head.failover.clone()),
            });
        }
        candidates.append(&mut last);
        match (candidates.is_empty(), decision.excluded.is_empty()) {
            (false, _) => Outcome::Trunks(candidates),
            (true, false) => Outcome::NoTrunk,
            (true, true) => Outcome::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::failover::Cause;

    struct People;

    impl Directory for People {
        fn knows(&self, user: &str) -> bool {
            matches!(user, "alice" | "bob" | "20")
        }

        fn owner_of(&self, number: &str) -> Option<String> {
            (number == "+49301234567").then(|| "bob".to_owned())
        }
    }

    const ALICE: Origin<'static> = Origin::User("alice");

    fn rule(prefix: &str, trunk: usize) -> Rule {
        Rule {
            prefix: prefix.into(),
            target: Target::Trunk(trunk),
            rank: Rank { priority: 10, weight: 1 },
            strip: 0,
            add: String::new(),
            from: Vec::new(),
            failover: None,
        }
    }

    fn router(rules: Vec<Rule>) -> Router {
        let plan = NumberPlan {
            country_code: "49".into(),
            international_prefix: "00".into(),
            national_prefix: "0".into(),
            local_digits: 4,
            emergency: vec!["112".into()],
            ..NumberPlan::default()
        };
        let head = |name: &str, format| TrunkHead {
            name: name.into(),
            format,
            failover: Failover::new(&Failover::defaults()),
        };
        let trunks = vec![head("a", NumberFormat::E164), head("b", NumberFormat::National)];
        Router::new(plan, trunks, rules)
    }

    fn decide(router: &Router, dialled: &str, origin: Origin<'_>) -> Decision {
        router.decide(&People, dialled, origin, &|_, _| Standing::Ready, 1)
    }

    fn trunks(decision: &Decision) -> Vec<(usize, &str)> {
        match &decision.outcome {
            Outcome::Trunks(list) => list.iter().map(|it| (it.trunk, it.number.as_str())).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn users_come_before_rules_by_name_and_by_number() {
        let router = router(vec![rule("", 0)]);
        let by_name = decide(&router, "20", ALICE);
        assert_eq!(by_name.outcome, Outcome::User { name: "20".into(), by: By::Name });
        let by_number = decide(&router, "0301234567", ALICE);
        assert_eq!(by_number.outcome, Outcome::User { name: "bob".into(), by: By::Number });
        assert_eq!(decide(&router, "carol", ALICE).outcome, Outcome::Nobody);
    }

    #[test]
    fn the_longest_prefix_decides_alone() {
        let router = router(vec![rule("+", 0), rule("+49", 1), rule("+4930", 0)]);
        assert_eq!(trunks(&decide(&router, "03099", ALICE)), [(0, "+493099")]);
        assert_eq!(trunks(&decide(&router, "08999", ALICE)), [(1, "08999")]);
        let abroad = decide(&router, "0044123456", ALICE);
        assert_eq!((trunks(&abroad), abroad.matched), (vec![(0, "+44123456")], Some(1)));
        assert_eq!(decide(&router, "4711", ALICE).outcome, Outcome::Nobody);
    }

    #[test]
    fn priorities_order_the_trunks_and_digits_are_rewritten() {
        let second = Rule {
            rank: Rank { priority: 20, weight: 1 },
            strip: 3,
            add: "7749".into(),
            ..rule("+49", 0)
        };
        let router = router(vec![second, rule("+49", 1)]);
        let decision = decide(&router, "+498999", ALICE);
        assert_eq!(trunks(&decision), [(1, "08999"), (0, "77498999")]);
    }

    #[test]
    fn rules_may_be_for_some_callers_alone() {
        let mine = Rule { from: vec![Who::User("alice".into())], ..rule("+4930", 1) };
        let router = router(vec![rule("+49", 0), mine]);
        assert_eq!(trunks(&decide(&router, "+493099", ALICE))[0].0, 1);
        let other = decide(&router, "+493099", Origin::User("bob"));
        assert_eq!((trunks(&other)[0].0, &*other.passed_over), (0, &[1][..]));
    }

    #[test]
    fn calls_from_a_trunk_go_out_only_where_a_rule_names_it() {
        let transit = Rule { from: vec![Who::Trunk(0)], ..rule("+4940", 1) };
        let number = Rule { target: Target::User("alice".into()), ..rule("+495511", 0) };
        let router = router(vec![rule("", 0), transit, number]);
        assert_eq!(decide(&router, "+498999", Origin::Trunk(0)).outcome, Outcome::Nobody);
        assert_eq!(trunks(&decide(&router, "+494099", Origin::Trunk(0)))[0].0, 1);
        assert_eq!(decide(&router, "+494099", Origin::Trunk(1)).outcome, Outcome::Nobody);
        let inward = decide(&router, "+495511", Origin::Trunk(1)).outcome;
        assert_eq!(inward, Outcome::User { name: "alice".into(), by: By::Rule(2) });
    }

    #[test]
    fn trunks_that_cannot_serve_are_left_out_with_the_reason() {
        let second = Rule { rank: Rank { priority: 20, weight: 1 }, ..rule("+49", 1) };
        let router = router(vec![rule("+49", 0), second]);
        let down = |trunk: usize, _| match trunk {
            0 => Standing::Out("not registered".to_owned()),
            _ => Standing::Ready,
        };
        let decision = router.decide(&People, "+498999", ALICE, &down, 1);
        assert_eq!(trunks(&decision)[0].0, 1);
        assert_eq!(decision.excluded, [(0, "not registered".to_owned())]);
        let full = |_, _| Standing::Out("full".into());
        let none = router.decide(&People, "+498999", ALICE, &full, 1);
        assert_eq!((none.outcome, none.excluded.len()), (Outcome::NoTrunk, 2));
        let failed = |trunk: usize, _| match trunk {
            0 => Standing::Last("no answer".to_owned()),
            _ => Standing::Ready,
        };
        let decision = router.decide(&People, "+498999", ALICE, &failed, 1);
        assert_eq!(trunks(&decision), [(1, "08999"), (0, "+498999")]);
        assert_eq!(decision.put_last, [(0, "no answer".to_owned())]);
    }

    #[test]
    fn emergency_numbers_pass_limits_and_take_anybodys_rule() {
        let others = Rule { from: vec![Who::User("bob".into())], ..rule("112", 0) };
        let router = router(vec![others]);
        let full = |_, emergency: bool| match emergency {
            true => Standing::Ready,
            false => Standing::Out("max_calls".to_owned()),
        };
        let decision = router.decide(&People, "112", ALICE, &full, 1);
        assert!(decision.is_emergency() && decision.any_rule);
        assert_eq!(trunks(&decision), [(0, "112")]);
        assert_eq!(decide(&router, "112", Origin::Trunk(0)).outcome, Outcome::Nobody);
    }

    #[test]
    fn a_rules_own_causes_come_before_the_trunks() {
        let own = Failover::new(&[Cause::Status(486)]);
        let router =
            router(vec![Rule { failover: Some(own.clone()), ..rule("+49", 0) }, rule("+43", 0)]);
        let causes = |number| match decide(&router, number, ALICE).outcome {
            Outcome::Trunks(mut list) => list.remove(0).failover,
            other => panic!("{other:?}"),
        };
        assert_eq!(causes("+498999"), own);
        assert!(causes("+438999").goes_on(503, None));
    }
}

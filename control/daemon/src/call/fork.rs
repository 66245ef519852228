//! Ringing several contacts: which branch is called when, who wins, which failure is the caller's
//! answer (RFC 3261 §16.7). Pure: events in, actions out.
//!
//! | state of a branch | Provisional | Answer | Failure | Cancel by us |
//! | --- | --- | --- | --- | --- |
//! | `Waiting` | – | – | – | `Done` |
//! | `Calling` | `Ringing` | `Answered` | `Done` | `Cancelling` |
//! | `Ringing` | `Ringing` | `Answered` | `Done` | `Cancelling` |
//! | `Cancelling` | `Cancelling` | release, or win if nothing is decided | `Done` | `Cancelling` |
//! | `Answered`, `Done` | – | – | – | – |

/// Contacts that one call rings at most.
pub const MAX_BRANCHES: usize = 16;

/// Actions in the order in which they are to be done.
pub type Actions = Vec<Action>;

/// Where a branch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its group has not had its turn.
    Waiting,
    /// The INVITE was sent, nothing came.
    Calling,
    /// A provisional response came.
    Ringing,
    /// A CANCEL was asked for, the final response is missing.
    Cancelling,
    /// It won.
    Answered,
    /// A final response came, or it was never called.
    Done,
}

/// What happens to a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Call the first group.
    Start,
    /// A provisional response other than 100.
    Provisional {
        /// Index of the branch.
        branch: usize,
    },
    /// A 2xx.
    Answer {
        /// Index of the branch.
        branch: usize,
    },
    /// A final response of 300 or more; 408 stands for no response at all.
    Failure {
        /// Index of the branch.
        branch: usize,
        /// Its status.
        status: u16,
    },
    /// A trunk failed: a final response of 300 or more, or none at all.
    TrunkFailure {
        /// Index of the branch.
        branch: usize,
        /// Its status.
        status: u16,
        /// Whether the next one is tried; else this is the answer.
        goes_on: bool,
    },
    /// A trunk gave no sign at all in its time: the next one has its turn.
    NoResponse {
        /// Index of the branch.
        branch: usize,
    },
    /// A 3xx that is followed: its targets are the branches from `first` on, see [`Fork::add`].
    Redirected {
        /// Index of the branch.
        branch: usize,
        /// Index of the first target.
        first: usize,
        /// Its status, if it names targets too that are not followed: then it counts as a failure.
        status: Option<u16>,
    },
    /// The group rang long enough: the next one has its turn.
    NoAnswer,
    /// The call rang long enough, whoever is still to be called.
    GiveUp,
    /// The caller gave up, or the call is being ended: nothing counts any more.
    Abandon,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send the INVITE of a branch.
    Call(usize),
    /// Send CANCEL for it.
    Cancel(usize),
    /// Pass its provisional response on to the caller.
    Relay(usize),
    /// It won: pass its 2xx on.
    Answer(usize),
    /// Its 2xx came too late: ACK, then BYE.
    Release(usize),
    /// (Re)start the no-answer timer: a group was called.
    StartTimer,
    /// All failed: answer the caller with this status, in the words of that branch (none if
    /// nobody answered in time).
    Fail {
        /// Status for the caller.
        status: u16,
        /// Whose response it is.
        branch: Option<usize>,
    },
}

/// The branches of one call.
#[derive(Clone, Debug)]
pub struct Fork {
    branches: Vec<Branch>,
    decided: bool,
    best: Option<(u16, Option<usize>)>,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    q_milli: u16,
    state: State,
}

impl Fork {
    /// Branches with these priorities, highest first; equal ones ring together. At most
    /// [`MAX_BRANCHES`] are kept.
    #[must_use]
    pub fn new(q_milli: &[u16]) -> Self {
        let branches = q_milli
            .iter()
            .take(MAX_BRANCHES)
            .map(|&q_milli| Branch { q_milli, state: State::Waiting })
            .collect();
        Self { branches, decided: false, best: None }
    }

    /// Further branches, which wait; gives the index of the first. At most [`MAX_BRANCHES`] are
    /// kept in all.
    pub fn add(&mut self, q_milli: &[u16]) -> usize {
        let first = self.branches.len();
        let room = MAX_BRANCHES.saturating_sub(first);
        let more = q_milli.iter().take(room);
        self.branches.extend(more.map(|&q_milli| Branch { q_milli, state: State::Waiting }));
        first
    }

    /// The fork of a call that branch `winner` has answered: the others are over.
    #[must_use]
    pub fn won(winner: usize) -> Self {
        let state = |at| if at == winner { State::Answered } else { State::Done };
        let branches = (0..=winner).map(|at| Branch { q_milli: 0, state: state(at) }).collect();
        Self { decided: true, ..Self { branches, ..Self::new(&[]) } }
    }

    /// State of a branch.
    #[must_use]
    pub fn state(&self, branch: usize) -> Option<State> {
        self.branches.get(branch).map(|branch| branch.state)
    }

    /// Whether the caller has a final answer.
    #[must_use]
    pub const fn decided(&self) -> bool {
        self.decided
    }

    /// Whether no branch waits for a final response.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.branches.iter().all(|b| matches!(b.state, State::Answered | State::Done))
    }

    /// Whether a group waits for its turn.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.branches.iter().any(|b| b.state == State::Waiting)
    }

    /// Takes one event.
    #[must_use]
    pub fn handle(&mut self, event: Event) -> Actions {
        let mut actions = Actions::new();
        match event {
            Event::Start => self.next_group(&mut actions),
            Event::Provisional { branch } => self.provisional(branch, &mut actions),
            Event::Answer { branch } => self.answer(branch, &mut actions),
            Event::Failure { branch, status } => self.failure(branch, status, &mut actions),
            Event::Redirected { branch, first, status } => {
                self.redirected(branch, first, status, &mut actions);
            }
            Event::TrunkFailure { branch, status, goes_on } => {
                self.trunk_failure(branch, status, goes_on, &mut actions);
            }
            Event::NoResponse { branch } => self.no_response(branch, &mut actions),
            Event::NoAnswer => self.no_answer(&mut actions),
            Event::GiveUp => {
                for branch in self.branches.iter_mut().filter(|b| b.state == State::Waiting) {
                    branch.state = State::Done;
                }
                self.no_answer(&mut actions);
            }
            Event::Abandon => {
                self.decided = true;
                self.cancel_others(None, &mut actions);
            }
        }
        actions
    }

    fn provisional(&mut self, index: usize, actions: &mut Actions) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        if matches!(branch.state, State::Calling | State::Ringing) {
            branch.state = State::Ringing;
            if !self.decided {
                actions.push(Action::Relay(index));
            }
        }
    }

    fn answer(&mut self, index: usize, actions: &mut Actions) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        match branch.state {
            State::Calling | State::Ringing | State::Cancelling if !self.decided => {
                branch.state = State::Answered;
                self.decided = true;
                actions.push(Action::Answer(index));
                self.cancel_others(Some(index), actions);
            }
            State::Calling | State::Ringing | State::Cancelling => {
                branch.state = State::Done;
                actions.push(Action::Release(index));
            }
            State::Waiting | State::Answered | State::Done => {}
        }
    }

    fn failure(&mut self, index: usize, status: u16, actions: &mut Actions) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let cancelled = branch.state == State::Cancelling;
        if matches!(branch.state, State::Answered | State::Done | State::Waiting) {
            return;
        }
        branch.state = State::Done;
        if self.decided {
            return;
        }
        // A branch that we cancelled ends by 487: that is our doing, not an answer.
        if !(cancelled && status == 487) {
            self.note(status, Some(index));
        }
        if status >= 600 {
            // RFC 3261 §16.7 step 5: a 6xx ends all of them.
            self.decided = true;
            self.cancel_others(Some(index), actions);
            actions.push(Action::Fail { status, branch: Some(index) });
            return;
        }
        self.group_over(actions);
    }

    /// The best targets are called at once, beside whoever rings: the one who moved wants to be
    /// found there. The others wait for their turn.
    fn redirected(
        &mut self,
        index: usize,
        first: usize,
        status: Option<u16>,
        actions: &mut Actions,
    ) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        if !matches!(branch.state, State::Calling | State::Ringing) {
            return;
        }
        branch.state = State::Done;
        if self.decided {
            return;
        }
        if let Some(status) = status {
            self.note(status, Some(index));
        }
        let targets = self.branches.iter_mut().enumerate().skip(first);
        let mut waiting: Vec<_> = targets.filter(|(_, b)| b.state == State::Waiting).collect();
        let best = waiting.iter().map(|(_, branch)| branch.q_milli).max();
        for (index, branch) in &mut waiting {
            if Some(branch.q_milli) == best {
                branch.state = State::Calling;
                actions.push(Action::Call(*index));
            }
        }
        if best.is_some() {
            actions.push(Action::StartTimer);
        } else {
            self.group_over(actions);
        }
    }

    fn trunk_failure(&mut self, index: usize, status: u16, goes_on: bool, actions: &mut Actions) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        let cancelled = branch.state == State::Cancelling;
        if !cancelled && !matches!(branch.state, State::Calling | State::Ringing) {
            return;
        }
        branch.state = State::Done;
        // One that was given up has been counted, whatever it says now.
        if self.decided || cancelled {
            if !self.decided {
                self.group_over(actions);
            }
            return;
        }
        self.note(status, Some(index));
        if goes_on {
            return self.group_over(actions);
        }
        self.decided = true;
        self.cancel_others(Some(index), actions);
        actions.push(Action::Fail { status, branch: Some(index) });
    }

    fn no_response(&mut self, index: usize, actions: &mut Actions) {
        let Some(branch) = self.branches.get_mut(index) else { return };
        if self.decided || branch.state != State::Calling {
            return;
        }
        branch.state = State::Cancelling;
        actions.push(Action::Cancel(index));
        self.note(408, None);
        self.group_over(actions);
    }

    fn no_answer(&mut self, actions: &mut Actions) {
        if self.decided {
            return;
        }
        self.note(480, None);
        for (index, branch) in self.branches.iter_mut().enumerate() {
            if matches!(branch.state, State::Calling | State::Ringing) {
                branch.state = State::Cancelling;
                actions.push(Action::Cancel(index));
            }
        }
        self.group_over(actions);
    }

    /// Calls the next group if nothing of this one can still answer.
    fn group_over(&mut self, actions: &mut Actions) {
        let open = |b: &Branch| matches!(b.state, State::Calling | State::Ringing);
        if !self.branches.iter().any(open) {
            self.next_group(actions);
        }
    }

    fn next_group(&mut self, actions: &mut Actions) {
        let waiting = self.branches.iter().filter(|b| b.state == State::Waiting);
        let Some(q_milli) = waiting.map(|b| b.q_milli).max() else {
            self.decided = true;
            let (status, branch) = self.best.unwrap_or((480, None));
            actions.push(Action::Fail { status, branch });
            return;
        };
        for (index, branch) in self.branches.iter_mut().enumerate() {
            if branch.state == State::Waiting && branch.q_milli == q_milli {
                branch.state = State::Calling;
                actions.push(Action::Call(index));
            }
        }
        actions.push(Action::StartTimer);
    }

    fn cancel_others(&mut self, winner: Option<usize>, actions: &mut Actions) {
        for (index, branch) in self.branches.iter_mut().enumerate() {
            match branch.state {
                _ if Some(index) == winner => {}
                State::Waiting => branch.state = State::Done,
                State::Calling | State::Ringing => {
                    branch.state = State::Cancelling;
                    actions.push(Action::Cancel(index));
                }
                State::Cancelling | State::Answered | State::Done => {}
            }
        }
    }

    fn note(&mut self, status: u16, branch: Option<usize>) {
        if self.best.is_none_or(|(best, _)| rank(status) < rank(best)) {
            self.best = Some((status, branch));
        }
    }
}

/// Order of preference among final responses (RFC 3261 §16.7 step 6): 6xx, then the lowest class;
/// within 4xx first those that tell the caller how to do better, then those that a person gave.
pub(crate) const fn rank(status: u16) -> u16 {
    let class = status / 100;
    let within = match status {
        415 | 420 | 484 => 0,
        486 | 488 | 606 => 1,
        // Our own view or a bystander's: anything that a phone says is better.
        408 | 480 | 487 => 8,
        401 | 407 | 503 => 9,
        _ => 5,
    };
    if class == 6 { within } else { class * 10 + within }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(fork: &mut Fork, events: &[Event]) -> Vec<Action> {
        events.iter().flat_map(|event| fork.handle(*event)).collect()
    }

    fn calling(q: &[u16]) -> Fork {
        let mut fork = Fork::new(q);
        let _ = fork.handle(Event::Start);
        fork
    }

    #[test]
    fn equal_priorities_ring_together_and_lower_ones_wait() {
        let mut fork = Fork::new(&[500, 1000, 1000]);
        assert_eq!(
            fork.handle(Event::Start),
            [Action::Call(1), Action::Call(2), Action::StartTimer]
        );
        assert_eq!(fork.handle(Event::Failure { branch: 1, status: 486 }), []);
        assert_eq!(
            fork.handle(Event::Failure { branch: 2, status: 404 }),
            [Action::Call(0), Action::StartTimer]
        );
        assert_eq!(
            fork.handle(Event::Failure { branch: 0, status: 480 }),
            [Action::Fail { status: 486, branch: Some(1) }]
        );
        assert!(fork.quiet());
    }

    #[test]
    fn the_first_answer_wins_and_the_losers_are_cancelled() {
        let mut fork = calling(&[1000, 1000, 1000, 10]);
        let actions =
            run(&mut fork, &[Event::Provisional { branch: 1 }, Event::Answer { branch: 1 }]);
        assert_eq!(
            actions,
            [Action::Relay(1), Action::Answer(1), Action::Cancel(0), Action::Cancel(2)]
        );
        assert!(!fork.quiet());
        assert_eq!(fork.handle(Event::Failure { branch: 0, status: 487 }), []);
        assert_eq!(fork.handle(Event::Answer { branch: 2 }), [Action::Release(2)]);
        assert!(fork.quiet());
    }

    #[test]
    fn an_answer_after_the_callers_cancel_is_released() {
        let mut fork = calling(&[1000]);
        assert_eq!(fork.handle(Event::Abandon), [Action::Cancel(0)]);
        assert_eq!(fork.handle(Event::Provisional { branch: 0 }), []);
        assert_eq!(fork.handle(Event::Answer { branch: 0 }), [Action::Release(0)]);
    }

    #[test]
    fn no_answer_goes_to_the_next_group_then_to_480() {
        let mut fork = calling(&[1000, 500]);
        assert_eq!(
            fork.handle(Event::NoAnswer),
            [Action::Cancel(0), Action::Call(1), Action::StartTimer]
        );
        assert_eq!(fork.handle(Event::Failure { branch: 0, status: 487 }), []);
        assert_eq!(
            fork.handle(Event::NoAnswer),
            [Action::Cancel(1), Action::Fail { status: 480, branch: None }]
        );
        assert_eq!(fork.handle(Event::NoAnswer), []);
    }

    #[test]
    fn giving_up_calls_nobody_else() {
        let mut fork = calling(&[1000, 500]);
        assert!(fork.has_waiting());
        assert_eq!(
            fork.handle(Event::GiveUp),
            [Action::Cancel(0), Action::Fail { status: 480, branch: None }]
        );
        assert_eq!(fork.handle(Event::Answer { branch: 0 }), [Action::Release(0)]);
    }

    #[test]
    fn an_answer_that_crosses_the_no_answer_cancel_still_wins() {
        let mut fork = calling(&[1000, 500]);
        let _ = fork.handle(Event::NoAnswer);
        assert_eq!(
            fork.handle(Event::Answer { branch: 0 }),
            [Action::Answer(0), Action::Cancel(1)]
        );
    }

    #[test]
    fn a_global_failure_ends_all() {
        let mut fork = calling(&[1000, 1000, 500]);
        assert_eq!(
            fork.handle(Event::Failure { branch: 0, status: 603 }),
            [Action::Cancel(1), Action::Fail { status: 603, branch: Some(0) }]
        );
        assert_eq!(fork.handle(Event::Failure { branch: 1, status: 487 }), []);
        assert!(fork.quiet());
    }

    #[test]
    fn responses_rank_as_the_rfc_says() {
        for (better, worse) in
            [(603, 302), (302, 404), (415, 486), (486, 408), (404, 480), (480, 500), (480, 407)]
        {
            assert!(rank(better) < rank(worse), "{better} before {worse}");
        }
    }

    #[test]
    fn targets_of_a_redirection_ring_beside_the_others() {
        let mut fork = calling(&[1000, 1000, 500]);
        let first = fork.add(&[700, 300, 700]);
        assert_eq!(first, 3);
        assert_eq!(
            fork.handle(Event::Redirected { branch: 0, first, status: None }),
            [Action::Call(3), Action::Call(5), Action::StartTimer]
        );
        let ends = [1, 3, 5].map(|branch| Event::Failure { branch, status: 486 });
        assert_eq!(run(&mut fork, &ends), [Action::Call(2), Action::StartTimer]);
        let ends = [2, 4].map(|branch| Event::Failure { branch, status: 404 });
        assert_eq!(
            run(&mut fork, &ends),
            [Action::Call(4), Action::StartTimer, Action::Fail { status: 486, branch: Some(1) }]
        );
    }

    #[test]
    fn a_redirection_that_is_not_followed_as_a_whole_is_the_answer_when_all_else_fails() {
        let mut fork = calling(&[1000]);
        let first = fork.add(&[1000]);
        let _ = fork.handle(Event::Redirected { branch: 0, first, status: Some(302) });
        assert_eq!(
            fork.handle(Event::Failure { branch: 1, status: 486 }),
            [Action::Fail { status: 302, branch: Some(0) }]
        );
    }

    #[test]
    fn a_redirection_to_nobody_new_leaves_the_others() {
        let mut fork = calling(&[1000]);
        let first = fork.add(&[]);
        assert_eq!(
            fork.handle(Event::Redirected { branch: 0, first, status: Some(302) }),
            [Action::Fail { status: 302, branch: Some(0) }]
        );
        let mut fork = calling(&[1000; MAX_BRANCHES]);
        assert_eq!(fork.add(&[1000]), MAX_BRANCHES);
        let _ = fork.handle(Event::Abandon);
        let late = Event::Redirected { branch: 0, first: MAX_BRANCHES, status: None };
        assert_eq!(fork.handle(late), []);
    }

    #[test]
    fn the_next_trunk_is_tried_where_the_causes_say_so() {
        let mut fork = calling(&[1000, 999, 998]);
        let failure = |branch, status, goes_on| Event::TrunkFailure { branch, status, goes_on };
        assert_eq!(fork.handle(failure(0, 503, true)), [Action::Call(1), Action::StartTimer]);
        // Even a 6xx, if the operator says so.
        assert_eq!(fork.handle(failure(1, 603, true)), [Action::Call(2), Action::StartTimer]);
        assert_eq!(
            fork.handle(failure(2, 486, false)),
            [Action::Fail { status: 486, branch: Some(2) }]
        );
        let mut fork = calling(&[1000, 999]);
        assert_eq!(
            fork.handle(failure(0, 404, false)),
            [Action::Fail { status: 404, branch: Some(0) }]
        );
        assert!(fork.quiet() && fork.decided());
    }

    #[test]
    fn a_trunk_without_a_sign_is_given_up_and_may_still_win() {
        let mut fork = calling(&[1000, 999]);
        assert_eq!(
            fork.handle(Event::NoResponse { branch: 0 }),
            [Action::Cancel(0), Action::Call(1), Action::StartTimer]
        );
        let late = Event::TrunkFailure { branch: 0, status: 486, goes_on: false };
        let mut other = fork.clone();
        assert_eq!(other.handle(late), []);
        assert_eq!(other.handle(Event::NoResponse { branch: 0 }), []);
        assert_eq!(
            other.handle(Event::NoResponse { branch: 1 }),
            [Action::Cancel(1), Action::Fail { status: 408, branch: None }]
        );
        assert_eq!(
            fork.handle(Event::Answer { branch: 0 }),
            [Action::Answer(0), Action::Cancel(1)]
        );
    }

    #[test]
    fn unknown_branches_and_repeated_events_change_nothing() {
        let mut fork = calling(&[1000]);
        assert_eq!(fork.handle(Event::Answer { branch: 7 }), []);
        assert_eq!(fork.handle(Event::Answer { branch: 0 }), [Action::Answer(0)]);
        assert_eq!(fork.handle(Event::Answer { branch: 0 }), []);
        assert_eq!(fork.handle(Event::Failure { branch: 0, status: 500 }), []);
        assert_eq!(fork.handle(Event::NoAnswer), []);
    }

    #[test]
    fn without_contacts_it_fails_at_once() {
        let mut fork = Fork::new(&[]);
        assert_eq!(fork.handle(Event::Start), [Action::Fail { status: 480, branch: None }]);
    }
}

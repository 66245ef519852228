//! The transaction machines of RFC 3261 §17 and RFC 6026, and the order of reliable provisional
//! responses (RFC 3262), as tables: every state × every event, on unreliable and on reliable
//! transports. A change of a machine shows as a change of its table.

use std::fmt::{Debug, Write};
use tandem_signalling::stack::machine::{
    Reliability, Step, client_invite, client_request, server_invite, server_request,
};

/// One machine as text: where it starts, then a row per state and event. Rows that change nothing
/// are left out and counted.
fn table<S: Copy + Debug + PartialEq, E: Copy + Debug>(
    start: Step<S>,
    states: &[S],
    events: &[E],
    step: impl Fn(S, E) -> Step<S>,
) -> String {
    let mut out = format!("start -> {:?} {:?}\n", start.state, start.actions);
    for state in states {
        let mut ignored = Vec::new();
        writeln!(out, "\n{state:?}").unwrap();
        for event in events {
            let next = step(*state, *event);
            if next.state == *state && next.actions.is_empty() {
                ignored.push(format!("{event:?}"));
            } else {
                let (event, target) = (format!("{event:?}"), format!("{:?}", next.state));
                writeln!(out, "  {event:<16} -> {target:<11} {:?}", next.actions).unwrap();
            }
        }
        if !ignored.is_empty() {
            writeln!(out, "  ignored: {}", ignored.join(", ")).unwrap();
        }
    }
    out
}

fn both(render: impl Fn(Reliability) -> String) -> String {
    format!(
        "UNRELIABLE\n{}\nRELIABLE\n{}",
        render(Reliability::Unreliable),
        render(Reliability::Reliable)
    )
}

#[test]
fn invite_client_transaction() {
    use client_invite::{Event, State, start, step};
    insta::assert_snapshot!(both(|reliability| {
        table(start(reliability), &State::ALL, &Event::ALL, |s, e| step(s, e, reliability))
    }));
}

#[test]
fn non_invite_client_transaction() {
    use client_request::{Event, State, start, step};
    insta::assert_snapshot!(both(|reliability| {
        table(start(reliability), &State::ALL, &Event::ALL, |s, e| step(s, e, reliability))
    }));
}

#[test]
fn invite_server_transaction() {
    use server_invite::{Event, State, start, step};
    insta::assert_snapshot!(both(|reliability| {
        table(start(), &State::ALL, &Event::ALL, |s, e| step(s, e, reliability))
    }));
}

#[test]
fn non_invite_server_transaction() {
    use server_request::{Event, State, start, step};
    insta::assert_snapshot!(both(|reliability| {
        table(start(), &State::ALL, &Event::ALL, |s, e| step(s, e, reliability))
    }));
}

#[test]
fn reliable_provisional_responses() {
    use tandem_signalling::stack::machine::provisional::{Event, State, step};
    let mut out = String::new();
    for state in State::ALL {
        writeln!(out, "\n{state:?}").unwrap();
        for event in Event::ALL {
            let next = step(state, event);
            if next.state != state || !next.actions.is_empty() {
                let (event, target) = (format!("{event:?}"), format!("{:?}", next.state));
                writeln!(out, "  {event:<16} -> {target:<12} {:?}", next.actions).unwrap();
            }
        }
    }
    insta::assert_snapshot!(out);
}

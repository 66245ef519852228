//! Which number a trunk sees for the caller. Pure.

use super::spec::TrunkSpec;
use crate::config::trunk::CallerId;
use crate::route::number::NumberPlan;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Party<'a> {
    /// User name, or the number of a caller from another trunk.
    pub user: &'a str,
    /// Numbers of the user; the first is the one that is shown.
    pub numbers: &'a [String],
    /// The number that the user would like to be shown (P-Preferred-Identity).
    pub preferred: Option<&'a str>,
    /// Whether it is a user of ours.
    pub ours: bool,
}

/// The user part that a trunk sees. A user of ours can only show a number that is its own.
#[must_use]
pub fn shown(spec: &TrunkSpec, plan: &NumberPlan, party: &Party<'_>) -> String {
    let main = || {
        let number = Some(&spec.number).filter(|number| !number.is_empty());
        number.map(|number| plan.format(number, spec.format))
    };
    let line = || Some(spec.username.clone()).filter(|name| !name.is_empty());
    let own = || {
        let preferred = party.preferred.and_then(|it| plan.normalise(it)).map(|it| it.number);
        let mut numbers = party.numbers.iter();
        let chosen = match preferred {
            Some(wanted) => numbers.clone().find(|it| **it == wanted).or_else(|| numbers.next()),
            None => numbers.next(),
        };
        chosen.map(|number| plan.format(number, spec.format))
    };
    let transit = || {
        let number = plan.normalise(party.user).filter(|_| !party.ours)?;
        Some(plan.format(&number.number, spec.format))
    };
    let chosen = match spec.caller_id {
        CallerId::Pass | CallerId::Anonymous => own().or_else(transit).or_else(main).or_else(line),
        CallerId::Replace => main().or_else(line),
    };
    chosen.unwrap_or_else(|| party.user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::trunk::spec::Routing;
    use std::sync::Arc;

    fn shown_with(rows: &str, party: &Party<'_>) -> String {
        let text = format!(
            "[numbers]\ncountry_code = \"49\"\n[[trunk]]\nname = \"a\"\npeer = \"sip:192.0.2.9\"\n{rows}"
        );
        let routing = Routing::new(&Config::parse(&text).unwrap());
        let spec: &Arc<TrunkSpec> = &routing.trunks[0];
        shown(spec, &routing.plan, party)
    }

    fn alice(numbers: &[String]) -> Party<'_> {
        Party { user: "alice", numbers, preferred: None, ours: true }
    }

    #[test]
    fn a_user_shows_a_number_of_its_own() {
        let numbers = ["+4930123".to_owned(), "+4930124".to_owned()];
        let it = alice(&numbers);
        assert_eq!(shown_with("", &it), "+4930123");
        assert_eq!(shown_with("number_format = \"national\"\n", &it), "030123");
        let second = Party { preferred: Some("030124"), ..it.clone() };
        assert_eq!(shown_with("", &second), "+4930124");
        let forged = Party { preferred: Some("+4930999"), ..it };
        assert_eq!(shown_with("", &forged), "+4930123");
    }

    #[test]
    fn without_a_number_the_trunks_is_shown() {
        let main = "number = \"+4930100\"\nusername = \"line1\"\n";
        assert_eq!(shown_with(main, &alice(&[])), "+4930100");
        assert_eq!(shown_with("username = \"line1\"\n", &alice(&[])), "line1");
        assert_eq!(shown_with("", &alice(&[])), "alice");
        let numbers = ["+4930123".to_owned()];
        let replace = format!("{main}caller_id = \"replace\"\n");
        assert_eq!(shown_with(&replace, &alice(&numbers)), "+4930100");
    }

    #[test]
    fn a_call_that_passes_through_keeps_its_number() {
        let far = Party { user: "+441632960000", numbers: &[], preferred: None, ours: false };
        let main = "number = \"+4930100\"\nnumber_format = \"digits\"\n";
        assert_eq!(shown_with(main, &far), "441632960000");
        let unknown = Party { user: "anonymous", ..far };
        assert_eq!(shown_with(main, &unknown), "4930100");
    }
}

//! The number plan: what people dial becomes E.164 (`+4930123456`), and E.164 what a trunk wants.

use serde::{Deserialize, Serialize};

/// Digits of an E.164 number at most (ITU-T E.164 §6).
pub const MAX_E164_DIGITS: usize = 15;
/// Digits of anything that is dialled, at most.
pub const MAX_DIALLED: usize = 40;

/// How digits are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberPlan {
    /// Country code without `+`; empty if national numbers are not completed.
    pub country_code: String,
    /// What is dialled before a country code.
    pub international_prefix: String,
    /// What is dialled before an area code.
    pub national_prefix: String,
    /// Area code that numbers without any get; empty for none.
    pub area_code: String,
    /// Length of a national number that is dialled without prefix (10 in North America); 0 for none.
    pub national_digits: usize,
    /// Numbers up to this length stay as they are.
    pub local_digits: usize,
    /// Numbers that no limit stops.
    pub emergency: Vec<String>,
}

/// What kind of number it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An emergency number, as it was dialled.
    Emergency,
    /// E.164, with `+`.
    Global,
    /// An extension or a short code, as it was dialled.
    Local,
}

/// A number in the form that rules are written for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normalised {
    /// `+` and digits, or the digits of a local number.
    pub number: String,
    /// Its kind.
    pub kind: Kind,
    /// Why it is read like this.
    pub how: &'static str,
}

/// How a trunk wants numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberFormat {
    /// `+4930123456`.
    #[default]
    E164,
    /// `4930123456`.
    Digits,
    /// `004930123456`, with numbers.international_prefix.
    International,
    /// `030123456` for numbers of our country, else as `international`.
    National,
}

/// The digits of the user part of a URI: visual separators (RFC 3966 §5.1.1) and parameters are
/// left out; `None` if it is no number.
#[must_use]
pub fn digits_of(user: &str) -> Option<String> {
    let user = user.split_once(';').map_or(user, |(user, _)| user);
    let (plus, rest) = match user.strip_prefix('+') {
        Some(rest) => ("+", rest),
        None => ("", user),
    };
    let is_digit = |c: &char| c.is_ascii_digit() || matches!(c, '*' | '#');
    let mut number = plus.to_owned();
    for c in rest.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')) {
        if !is_digit(&c) || number.len() >= MAX_DIALLED {
            return None;
        }
        number.push(c);
    }
    (number.len() > plus.len()).then_some(number)
}

impl NumberPlan {
    /// Whether what is dialled is an emergency number: no limit applies to such a call.
    #[must_use]
    pub fn is_emergency(&self, user: &str) -> bool {
        !self.emergency.is_empty()
            && digits_of(user).is_some_and(|digits| self.emergency.contains(&digits))
    }

    /// Reads the user part of a URI; `None` if it is no number.
    #[must_use]
    pub fn normalise(&self, user: &str) -> Option<Normalised> {
        let dialled = digits_of(user)?;
        let of = |number: String, kind, how| Some(Normalised { number, kind, how });
        if self.emergency.contains(&dialled) {
            return of(dialled, Kind::Emergency, "it is in numbers.emergency");
        }
        if let Some(digits) = dialled.strip_prefix('+') {
            let fits =
                digits.len() <= MAX_E164_DIGITS && digits.bytes().all(|c| c.is_ascii_digit());
            return if fits { of(dialled, Kind::Global, "it begins with +") } else { None };
        }
        if dialled.len() <= self.local_digits {
            let how = "it is no longer than numbers.local_digits";
            return of(dialled, Kind::Local, how);
        }
        match self.complete(&dialled) {
            Some((number, how)) => of(number, Kind::Global, how),
            None => of(dialled, Kind::Local, "no rule of [numbers] completes it"),
        }
    }

    /// Country and area code for digits without `+`.
    fn complete(&self, dialled: &str) -> Option<(String, &'static str)> {
        if !dialled.bytes().all(|c| c.is_ascii_digit()) {
            return None;
        }
        let strip = |prefix: &str| dialled.strip_prefix(prefix).filter(|_| !prefix.is_empty());
        let fits = |number: String, how| {
            (number.len() > 3 && number.len() <= MAX_E164_DIGITS + 1).then_some((number, how))
        };
        if let Some(rest) = strip(&self.international_prefix) {
            return fits(format!("+{rest}"), "numbers.international_prefix becomes +");
        }
        let country = &self.country_code;
        if country.is_empty() {
            return None;
        }
        if self.national_digits > 0 && dialled.len() == self.national_digits {
            let how = "it has numbers.national_digits digits: numbers.country_code is added";
            return fits(format!("+{country}{dialled}"), how);
        }
        if let Some(rest) = strip(&self.national_prefix) {
            let how = "numbers.national_prefix becomes numbers.country_code";
            return fits(format!("+{country}{rest}"), how);
        }
        if !self.area_code.is_empty() {
            let how = "numbers.country_code and numbers.area_code are added";
            return fits(format!("+{country}{}{dialled}", self.area_code), how);
        }
        if self.national_prefix.is_empty() && self.national_digits == 0 {
            return fits(format!("+{country}{dialled}"), "numbers.country_code is added");
        }
        None
    }

    /// A number as a trunk wants it; local and emergency numbers go as they are.
    #[must_use]
    pub fn format(&self, number: &str, format: NumberFormat) -> String {
        let Some(digits) = number.strip_prefix('+') else { return number.to_owned() };
        match format {
            NumberFormat::E164 => number.to_owned(),
            NumberFormat::Digits => digits.to_owned(),
            NumberFormat::International => format!("{}{digits}", self.international_prefix),
            NumberFormat::National => {
                let country = Some(self.country_code.as_str()).filter(|code| !code.is_empty());
                match country.and_then(|code| digits.strip_prefix(code)) {
                    Some(rest) => format!("{}{rest}", self.national_prefix),
                    None => format!("{}{digits}", self.international_prefix),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn germany() -> NumberPlan {
        NumberPlan {
            country_code: "49".into(),
            international_prefix: "00".into(),
            national_prefix: "0".into(),
            area_code: "30".into(),
            national_digits: 0,
            local_digits: 4,
            emergency: vec!["112".into(), "110".into()],
        }
    }

    fn north_america() -> NumberPlan {
        NumberPlan {
            country_code: "1".into(),
            international_prefix: "011".into(),
            national_prefix: "1".into(),
            national_digits: 10,
            local_digits: 5,
            emergency: vec!["911".into()],
            ..NumberPlan::default()
        }
    }

    fn read(plan: &NumberPlan, dialled: &str) -> (String, Kind) {
        let it = plan.normalise(dialled).unwrap_or_else(|| panic!("{dialled} is no number"));
        (it.number, it.kind)
    }

    #[test]
    fn what_is_dialled_in_germany_becomes_e164() {
        for (dialled, number, kind) in [
            ("+4930123456", "+4930123456", Kind::Global),
            ("+49-30-12(34)56", "+4930123456", Kind::Global),
            ("+4930123456;phone-context=x", "+4930123456", Kind::Global),
            ("0049301234", "+49301234", Kind::Global),
            ("00441632960000", "+441632960000", Kind::Global),
            ("030123456", "+4930123456", Kind::Global),
            ("0891234567", "+49891234567", Kind::Global),
            ("123456", "+4930123456", Kind::Global),
            ("4711", "4711", Kind::Local),
            ("0", "0", Kind::Local),
            ("*21*4711#", "*21*4711#", Kind::Local),
            ("112", "112", Kind::Emergency),
            ("110", "110", Kind::Emergency),
        ] {
            assert_eq!(read(&germany(), dialled), (number.into(), kind), "{dialled}");
        }
    }

    #[test]
    fn north_american_numbers_need_no_prefix() {
        for (dialled, number, kind) in [
            ("2125550100", "+12125550100", Kind::Global),
            ("12125550100", "+12125550100", Kind::Global),
            ("011442071234567", "+442071234567", Kind::Global),
            ("911", "911", Kind::Emergency),
            ("5551234", "5551234", Kind::Local),
        ] {
            assert_eq!(read(&north_america(), dialled), (number.into(), kind), "{dialled}");
        }
    }

    #[test]
    fn closed_plans_have_no_national_prefix() {
        let spain = NumberPlan { country_code: "34".into(), ..NumberPlan::default() };
        assert_eq!(read(&spain, "912345678").0, "+34912345678");
        let none = NumberPlan::default();
        assert_eq!(read(&none, "912345678"), ("912345678".into(), Kind::Local));
        assert_eq!(read(&none, "+34912345678").1, Kind::Global);
    }

    #[test]
    fn names_and_nonsense_are_no_numbers() {
        for user in ["alice", "", "+", "12a", "+12345678901234567", "+*21", "1+2"] {
            assert_eq!(germany().normalise(user), None, "{user}");
        }
        assert_eq!(germany().normalise(&"1".repeat(41)), None);
    }

    #[test]
    fn emergency_numbers_are_known_however_they_are_written() {
        assert!(germany().is_emergency("112"));
        assert!(germany().is_emergency("1-1-2"));
        assert!(!germany().is_emergency("1123"));
        assert!(!NumberPlan::default().is_emergency("112"));
    }

    #[test]
    fn trunks_get_the_form_that_they_want() {
        let plan = germany();
        for (format, own, foreign) in [
            (NumberFormat::E164, "+4930123456", "+441632960000"),
            (NumberFormat::Digits, "4930123456", "441632960000"),
            (NumberFormat::International, "004930123456", "00441632960000"),
            (NumberFormat::National, "030123456", "00441632960000"),
        ] {
            assert_eq!(plan.format("+4930123456", format), own);
            assert_eq!(plan.format("+441632960000", format), foreign);
            assert_eq!(plan.format("112", format), "112");
        }
    }

    #[test]
    fn what_a_trunk_gets_reads_back() {
        let plan = germany();
        for format in [NumberFormat::E164, NumberFormat::International, NumberFormat::National] {
            for number in ["+4930123456", "+441632960000"] {
                assert_eq!(read(&plan, &plan.format(number, format)).0, number);
            }
        }
    }
}

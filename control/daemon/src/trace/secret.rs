//! What of a message is not for everybody's eyes: answers to digest challenges, and media keys.

/// Headers with credentials, in lower case; their parameters of [`PARAMETERS`] are hidden.
const HEADERS: [&str; 2] = ["authorization:", "proxy-authorization:"];
/// What a password could be guessed with.
const PARAMETERS: [&str; 2] = ["response=", "cnonce="];
/// What is put in their place.
const HIDDEN: &str = "(hidden)";

/// The text of a message for people; octets that are no UTF-8 are replaced.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split_inclusive('\n').map(shown_line).collect()
}

fn shown_line(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    if HEADERS.iter().any(|header| lower.starts_with(header)) {
        return PARAMETERS.iter().fold(line.to_owned(), |line, name| without(&line, name));
    }
    // RFC 4568 §9.1, RFC 8839 §5.4, RFC 4566 §5.12.
    if lower.starts_with("a=crypto:") {
        return without_key(line);
    }
    for name in ["a=ice-pwd:", "k="] {
        if lower.starts_with(name) {
            return format!("{}{HIDDEN}{}", &line[..name.len()], end(line));
        }
    }
    line.to_owned()
}

/// The line end of a line.
fn end(line: &str) -> &str {
    &line[line.trim_end_matches(['\r', '\n']).len()..]
}

/// Hides the value of a parameter, quoted or not.
fn without(line: &str, name: &str) -> String {
    // Part of another name, as in `xresponse=`, is none of ours.
    let Some(at) = line
        .to_ascii_lowercase()
        .match_indices(name)
        .map(|(at, _)| at)
        .find(|at| line[..*at].ends_with([' ', ',', '\t']))
    else {
        return line.to_owned();
    };
    let value_at = at + name.len();
    let value = &line[value_at..];
    let len = match value.strip_prefix('"') {
        Some(quoted) => quoted.find('"').map_or(value.len(), |close| close + 2),
        None => value.find([',', '\r', '\n']).unwrap_or(value.len()),
    };
    format!("{}{HIDDEN}{}", &line[..value_at], &value[len..])
}

/// Hides the keys of an SDES line.
fn without_key(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("inline:") {
        let (before, key) = rest.split_at(at + "inline:".len());
        out.push_str(before);
        out.push_str(HIDDEN);
        rest = &key[key.find(['|', ';', ' ', '\r', '\n']).unwrap_or(key.len())..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_keys_are_hidden() {
        let text = b"REGISTER sip:a SIP/2.0\r\n\
            Authorization: Digest username=\"bob\", response=\"6629fae4\", nc=00000001, cnonce=\"0a4f\", qop=auth\r\n\
            X-Response: response=stays\r\n\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwg|2^20|1:4\r\n\
            a=ice-pwd:asd88fgpdd777uzjYhagZg\r\n";
        let shown = shown(text);
        for secret in ["6629fae4", "0a4f", "WVNfX19zZW1jdGwg", "asd88fgpdd777uzjYhagZg"] {
            assert!(!shown.contains(secret), "{shown}");
        }
        for rest in
            ["nc=00000001", "qop=auth", "response=stays", "|2^20|1:4\r\n", "a=ice-pwd:(hidden)\r\n"]
        {
            assert!(shown.contains(rest), "{rest} in {shown}");
        }
    }

    #[test]
    fn broken_lines_stay_text() {
        for text in [
            "Authorization: Digest response=\"",
            "Authorization: response=",
            "a=crypto:1 x inline:",
            "\u{e4}a=ice-pwd:\n",
            "k=",
        ] {
            let _ = shown(text.as_bytes());
        }
        assert_eq!(shown(b"\xff\n"), "\u{fffd}\n");
    }
}

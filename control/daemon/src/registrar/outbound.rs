//! Flows that their phones keep alive (RFC 5626).

use core::time::Duration;
use tandem_signalling::header::Header;
use tandem_signalling::message::Message;
use tandem_signalling::name_addr::Contact;
use tandem_signalling::stack::Reply;

/// The answer to a REGISTER with what its phone must know of its flow: that it is used by the rules
/// of RFC 5626, and how often it has to show a sign of life. `None` when the phone asks for no such
/// flow, or another one is between it and us (§4.4.1: the first hop announces the timer).
#[must_use]
pub fn announce(request: &Message, reply: &Reply, flow_timer: Option<Duration>) -> Option<Reply> {
    let timer = flow_timer.filter(|_| reply.status() == 200)?;
    let is_flow = request.contacts().flatten().any(|contact| match contact {
        Contact::Address(_) => contact.reg_id().is_some() && contact.instance().is_some(),
        Contact::Star => false,
    });
    let asks = is_flow
        && request.lists(Header::Supported, "outbound")
        && request.expires() != Some(0)
        && request.vias().count() == 1;
    let seconds = timer.as_secs().to_string();
    asks.then(|| reply.clone().header("Require", "outbound").header("Flow-Timer", seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phones_that_keep_their_flow_are_told_how_often() {
        let request = |supported: &str, contact: &str, via: &str| {
            let text = format!(
                "REGISTER sip:tandem SIP/2.0\r\n{via}Via: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
                 From: <sip:a@tandem>;tag=1\r\nTo: <sip:a@tandem>\r\nCall-ID: x\r\n\
                 CSeq: 1 REGISTER\r\nSupported: {supported}\r\nContact: {contact}\r\n\r\n"
            );
            Message::parse(text.as_bytes()).unwrap()
        };
        let contact = "<sip:a@10.0.0.1;ob>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"";
        let full = request("path, outbound", contact, "");
        let timer = Some(Duration::from_secs(120));
        let told = announce(&full, &Reply::new(200), timer);
        let expected = Reply::new(200).header("Require", "outbound").header("Flow-Timer", "120");
        assert_eq!(told, Some(expected));
        assert_eq!(announce(&full, &Reply::new(401), timer), None);
        assert_eq!(announce(&full, &Reply::new(200), None), None);
        for other in [
            request("path", contact, ""),
            request("outbound", "<sip:a@10.0.0.1>", ""),
            request("outbound", contact, "Via: SIP/2.0/UDP edge;branch=z9hG4bK2\r\n"),
        ] {
            assert_eq!(announce(&other, &Reply::new(200), timer), None);
        }
    }
}

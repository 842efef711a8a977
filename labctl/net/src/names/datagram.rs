//! How long an answer in a datagram may be (RFC 1035, 4.2.1; RFC 6891, 6.2.3).

use hickory_proto::op::Message;

use super::reply_to;

/// Longest answer to a client that does not say how much it takes.
const PLAIN: u16 = 512;

/// The answer to a question, or if it is longer than the client takes in a datagram, one without records that says so: the client then asks
/// over TCP (RFC 7766). Nothing if the question is no message.
pub(crate) fn fit(question: &[u8], answer: Vec<u8>) -> Option<Vec<u8>> {
    if answer.len() <= usize::from(PLAIN) {
        return Some(answer);
    }
    let question = Message::from_vec(question).ok()?;
    let most = question.edns.as_ref().map_or(PLAIN, |edns| edns.max_payload().max(PLAIN));
    if answer.len() <= usize::from(most) {
        return Some(answer);
    }
    let mut reply = reply_to(&question);
    // Whether the name exists is known even without its records.
    if let Ok(whole) = Message::from_vec(&answer) {
        reply.metadata.response_code = whole.metadata.response_code;
        reply.metadata.authoritative = whole.metadata.authoritative;
    }
    reply.metadata.truncation = true;
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{Edns, OpCode, Query};
    use hickory_proto::rr::{Name, RData, Record, RecordType};

    use super::*;

    fn question(takes: Option<u16>) -> Message {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii("all.demo.").unwrap(), RecordType::A));
        question.edns = takes.map(|takes| {
            let mut edns = Edns::new();
            edns.set_max_payload(takes);
            edns
        });
        question
    }

    /// An answer with that many addresses.
    fn answer(question: &Message, addresses: u8) -> Vec<u8> {
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.add_query(question.queries[0].clone());
        for last in 0..addresses {
            let name = question.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(name, 5, RData::A(Ipv4Addr::new(10, 77, 0, last).into())));
        }
        answer.to_vec().unwrap()
    }

    #[test]
    fn an_answer_is_as_long_as_its_client_takes() {
        // Sixteen bytes for each address, after a header and the question.
        for (takes, addresses, whole) in [
            (None, 29, true),
            (None, 31, false),
            (Some(100), 29, true),
            (Some(1232), 31, true),
            (Some(1232), 80, false),
            (Some(4096), 200, true),
        ] {
            let question = question(takes);
            let long = answer(&question, addresses);
            let sent = fit(&question.to_vec().unwrap(), long.clone()).unwrap();
            assert!(sent.len() <= usize::from(takes.unwrap_or(PLAIN).max(PLAIN)));
            assert_eq!(sent == long, whole, "{takes:?} {addresses}: {} bytes", long.len());
            let sent = Message::from_vec(&sent).unwrap();
            assert_eq!((sent.metadata.truncation, sent.answers.is_empty()), (!whole, !whole));
            assert_eq!((sent.metadata.id, &sent.queries), (question.metadata.id, &question.queries));
            assert_eq!(sent.edns.is_some(), takes.is_some() && !whole);
        }
        assert_eq!(fit(b"noise", vec![0; 600]), None);
    }
}

use std::net::Ipv4Addr;

use super::*;

fn names(internet: bool) -> Names {
    let network = Network {
        subnet: "10.77.0.0/24".parse().unwrap(),
        gateway: Ipv4Addr::new(10, 77, 0, 1),
        domain: "demo".to_owned(),
        internet,
        host_loopback: false,
        ipv6: None,
        proxy: None,
        ca: Vec::new(),
    };
    let address = |last| IpAddr::from([10, 77, 0, last]);
    let six = |last| IpAddr::from([0xfd01, 2, 3, 0, 0, 0, 0, last]);
    let names = [
        ("root-server".to_owned(), address(11)),
        ("root.server.demo".to_owned(), address(11)),
        ("client1".to_owned(), address(21)),
        ("dual".to_owned(), address(22)),
        ("dual".to_owned(), six(22)),
        ("all.demo".to_owned(), address(11)),
        ("all.demo".to_owned(), address(21)),
    ];
    Names::new(&network, &names, Vec::new())
}

fn ask(names: &Names, name: &str, kind: RecordType) -> Option<Message> {
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    question.metadata.recursion_desired = true;
    match names.answer(&question.to_vec().unwrap()) {
        Answer::Reply(reply) => {
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(reply.metadata.id, question.metadata.id);
            assert_eq!(reply.queries, question.queries);
            Some(reply)
        }
        Answer::Forward => None,
        Answer::Nothing => panic!("a question must be answered or forwarded"),
    }
}

fn addresses(reply: &Message) -> Vec<String> {
    reply.answers.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn lab_names_have_authority() {
    let names = names(true);
    for name in ["root-server.", "root-server.demo.", "root.server.demo.", "ROOT.Server.demo."] {
        let reply = ask(&names, name, RecordType::A).unwrap();
        assert_eq!(addresses(&reply), ["10.77.0.11"], "{name}");
        assert!(reply.metadata.authoritative && reply.metadata.recursion_available);
    }
    assert_eq!(addresses(&ask(&names, "all.demo.", RecordType::A).unwrap()), ["10.77.0.11", "10.77.0.21"]);
    assert_eq!(addresses(&ask(&names, "gateway.demo.", RecordType::A).unwrap()), ["10.77.0.1"]);
}

#[test]
fn what_the_lab_lacks_is_denied_with_the_zone() {
    let names = names(true);
    for (name, kind, code) in [
        ("nobody.demo.", RecordType::A, ResponseCode::NXDomain),
        ("nobody.", RecordType::A, ResponseCode::NXDomain),
        ("client1.demo.", RecordType::AAAA, ResponseCode::NoError),
        ("server.demo.", RecordType::A, ResponseCode::NoError),
        ("demo.", RecordType::A, ResponseCode::NoError),
        ("99.0.77.10.in-addr.arpa.", RecordType::PTR, ResponseCode::NXDomain),
    ] {
        let reply = ask(&names, name, kind).unwrap();
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (code, 0), "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{name}");
    }
}

#[test]
fn nodes_have_addresses_of_both_kinds() {
    let names = names(true);
    for name in ["dual.", "dual.demo."] {
        assert_eq!(addresses(&ask(&names, name, RecordType::A).unwrap()), ["10.77.0.22"]);
        assert_eq!(addresses(&ask(&names, name, RecordType::AAAA).unwrap()), ["fd01:2:3::16"]);
    }
    let reverse = |last: &str| format!("{last}.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.3.0.0.0.2.0.0.0.1.0.d.f.ip6.arpa.");
    let reply = ask(&names, &reverse("6.1.0"), RecordType::PTR).unwrap();
    assert_eq!(addresses(&reply), ["dual.demo."]);
    assert_eq!(ask(&names, &reverse("7.1.0"), RecordType::PTR).unwrap().metadata.response_code, ResponseCode::NXDomain);
    assert!(ask(&names, "8.b.d.0.1.0.0.2.ip6.arpa.", RecordType::PTR).is_none(), "another's");
}

#[test]
fn the_zone_answers_for_itself() {
    let names = names(true);
    for (kind, answer) in [(RecordType::SOA, "gateway.demo. gateway.demo. 1 3600 600 86400 5"), (RecordType::NS, "gateway.demo.")] {
        let reply = ask(&names, "Demo.", kind).unwrap();
        assert_eq!((addresses(&reply), reply.authorities.len()), (vec![answer.to_owned()], 0), "{kind}");
        assert!(reply.metadata.authoritative);
    }
}

#[test]
fn a_node_may_be_called_like_the_domain() {
    let without = names(true);
    let mut names = names(true);
    names.add("demo", IpAddr::from([10, 77, 0, 30]));
    for name in ["demo.", "demo.demo."] {
        assert_eq!(addresses(&ask(&names, name, RecordType::A).unwrap()), ["10.77.0.30"], "{name}");
    }
    assert_eq!(ask(&names, "demo.", RecordType::SOA).unwrap().answers.len(), 1);
    assert_eq!(ask(&without, "demo.", RecordType::A).unwrap().answers.len(), 0);
}

#[test]
fn addresses_have_names() {
    let names = names(true);
    let reply = ask(&names, "11.0.77.10.in-addr.arpa.", RecordType::PTR).unwrap();
    assert_eq!(addresses(&reply), ["root-server.demo."]);
}

#[test]
fn the_rest_is_forwarded_only_with_internet() {
    for name in ["deb.debian.org.", "1.2.0.192.in-addr.arpa.", "demo.example."] {
        assert!(ask(&names(true), name, RecordType::A).is_none(), "{name}");
        let reply = ask(&names(false), name, RecordType::A).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
}

/// Questions whose names are compressed: written out in full, they are twenty times as long.
#[test]
fn an_answer_is_not_much_longer_than_its_question() {
    let label = |letter: u8| [&[63][..], &[letter; 63]].concat();
    let long = [label(b'a'), label(b'b'), label(b'c'), vec![0]].concat();
    let count: u16 = 300;
    let header = [&[0, 7, 1, 0][..], &count.to_be_bytes(), &[0; 6]].concat();
    let mut question = [&header[..], &long, &[0, 1, 0, 1]].concat();
    for number in 1..count {
        // Another first label each, then a pointer to the rest.
        question.extend([&[3][..], format!("{number:03x}").as_bytes(), &[0xc0, 12, 0, 1, 0, 1]].concat());
    }
    let Answer::Reply(reply) = names(true).answer(&question) else { panic!("no reply") };
    assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::FormErr);
    assert!(reply.len() <= 32, "{} bytes", reply.len());
}

#[test]
fn noise_gets_no_answer() {
    assert_eq!(names(true).answer(b"x"), Answer::Nothing);
    let reply = Message::response(7, OpCode::Query).to_vec().unwrap();
    assert_eq!(names(true).answer(&reply), Answer::Nothing);
}

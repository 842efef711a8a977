//! Tests of messages, marshalled and read back.

use super::super::reader::read_message;
use super::*;

/// What dbus-send(1) 1.14 wrote to a socket for `GetUnit("a.service")`.
const RECORDED: &[u8] = b"l\x01\x00\x01\x0e\x00\x00\x00\x01\x00\x00\x00\x97\x00\x00\x00\
    \x01\x01o\x00\x19\x00\x00\x00/org/freedesktop/systemd1\x00\x00\x00\x00\x00\x00\x00\
    \x02\x01s\x00 \x00\x00\x00org.freedesktop.systemd1.Manager\x00\x00\x00\x00\x00\x00\x00\x00\
    \x03\x01s\x00\x07\x00\x00\x00GetUnit\x00\
    \x06\x01s\x00\x18\x00\x00\x00org.freedesktop.systemd1\x00\x00\x00\x00\x00\x00\x00\x00\
    \x08\x01g\x00\x01s\x00\x00\
    \x09\x00\x00\x00a.service\x00";

#[test]
fn calls_are_marshalled_as_others_do() {
    let fields = [
        (1, 'o', "/org/freedesktop/systemd1"),
        (2, 's', "org.freedesktop.systemd1.Manager"),
        (3, 's', "GetUnit"),
        (6, 's', "org.freedesktop.systemd1"),
    ];
    let bytes = marshal(1, 1, 0, &fields, &Body::default().text("a.service"));
    assert_eq!(bytes, RECORDED);
    let message = read_message(&mut &bytes[..]).unwrap();
    assert_eq!((message.member.as_str(), message.serial), ("GetUnit", 1));
    assert_eq!(message.body, [Arg::Text("a.service".into())]);
}

#[test]
fn arrays_and_flags_come_back() {
    let body = Body::default().texts(&["a", "bcd"]).flag(true).text("x");
    let bytes = marshal(4, 7, 9, &[(3, 's', "M")], &body);
    let message = read_message(&mut &bytes[..]).unwrap();
    assert_eq!(message.reply_to, 9);
    let list = Arg::List(vec![Arg::Text("a".into()), Arg::Text("bcd".into())]);
    assert_eq!(message.body, [list, Arg::Bool(true), Arg::Text("x".into())]);
}

#[test]
fn damaged_messages_are_errors() {
    let bytes = marshal(1, 1, 0, &[(3, 's', "M")], &Body::default().texts(&["a"]));
    for cut in 0..bytes.len() {
        assert!(read_message(&mut &bytes[..cut]).is_err(), "cut at {cut}");
    }
    for at in 16..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x7f;
        let _ = read_message(&mut &wrong[..]);
    }
}

//! HTTP, TCP and commands.

use labctl_spec::scenario::{Check, Command, ExecCheck, HttpCheck, TcpCheck};

use super::Answer;
use super::canned::Canned;
use crate::target::ExecAnswer;

fn http(path: Option<&str>, status: Option<u16>, contains: Option<&str>) -> Check {
    Check::Http(HttpCheck { node: "lb".into(), port: 80, path: path.map(str::to_owned), status, contains: contains.map(str::to_owned) })
}

#[tokio::test]
async fn http_judges_status_and_text() {
    let lab =
        Canned::default().answer("80 /", 204, "").answer("80 /fib?n=20", 200, "fib(20) = 6765").answer("80 /moved", 301, "<h1>Moved</h1>");
    let table = [
        (http(None, None, None), true, "status 204, 0 bytes"),
        (http(None, Some(200), None), false, "status 204 instead of 200: "),
        (http(Some("/fib?n=20"), None, Some("6765")), true, "status 200, 14 bytes"),
        (http(Some("/fib?n=20"), None, Some("6766")), false, "status 200, but `6766` is not in the response: fib(20) = 6765"),
        (http(Some("/moved"), None, None), false, "status 301 instead of 2xx: <h1>Moved</h1>"),
        (http(Some("/moved"), Some(301), None), true, "status 301, 14 bytes"),
        (http(Some("/x"), None, None), false, "lb:80/x refuses"),
    ];
    for (check, holds, words) in table {
        let answer = lab.ask(check).await;
        assert_eq!(answer, Answer { holds, words: words.into() });
    }
}

#[tokio::test]
async fn tcp_judges_the_connection() {
    let lab = Canned::default();
    let check = |port| Check::Tcp(TcpCheck { node: "lb".into(), port });
    assert_eq!(lab.ask(check(22)).await, Answer::yes("lb:22 accepts connections"));
    assert_eq!(lab.ask(check(23)).await, Answer::no("lb:23 refuses"));
}

#[tokio::test]
async fn commands_are_judged_by_exit_code_or_text() {
    let lab = |code, stdout: &str, stderr: &str| Canned {
        exec: ExecAnswer { code, stdout: stdout.into(), stderr: stderr.into() },
        ..Canned::default()
    };
    let check = |contains: Option<&str>| {
        Check::Exec(ExecCheck { node: "lb".into(), command: Command::Shell("nginx -t".into()), contains: contains.map(str::to_owned) })
    };
    assert_eq!(lab(0, "", "").ask(check(None)).await, Answer::yes("exit code 0"));
    assert_eq!(lab(1, "out", "bad\nworse").ask(check(None)).await, Answer::no("exit code 1: bad"));
    assert_eq!(lab(1, "all ok", "").ask(check(Some("ok"))).await, Answer::yes("printed `ok`"));
    assert_eq!(lab(0, "meh", "").ask(check(Some("ok"))).await, Answer::no("`ok` is not in its output, exit code 0: meh"));
    let missing = Check::Exec(ExecCheck { node: "lb".into(), command: Command::Argv(vec!["missing".into()]), contains: None });
    assert_eq!(lab(0, "", "").ask(missing).await, Answer::no("missing: no such program"));
}

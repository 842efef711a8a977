//! What each path answers.

use samples::http::{Request, Response};
use samples::identity::Identity;
use samples::json::quoted;

use crate::numbers::{LARGEST, fibonacci};

/// The answer to one request.
pub fn answer(request: &Request, identity: &Identity) -> Response {
    if request.method != "GET" && request.method != "HEAD" {
        return failure(405, "only GET and HEAD are understood");
    }
    match request.path.as_str() {
        "/fib" | "/fib/" => number(&request.query, identity),
        "/health" => Response::text("ok\n"),
        path => failure(404, &format!("nothing at {path}: ask /fib?n=20 or /health")),
    }
}

fn number(query: &str, identity: &Identity) -> Response {
    let asked = match query.split('&').find_map(|pair| pair.strip_prefix("n=")) {
        Some(asked) => asked,
        None => return failure(400, "which number? ask /fib?n=20"),
    };
    // A number beyond u32 is as much too large as one just past the bound.
    let digits = !asked.is_empty() && asked.bytes().all(|b| b.is_ascii_digit());
    let n = if digits {
        asked.parse().unwrap_or(u32::MAX)
    } else {
        return failure(400, &format!("n={asked} is not a whole number"));
    };
    match fibonacci(n) {
        Some(value) => Response::json(format!("{{\"n\":{n},\"fib\":{value},{}}}\n", identity.members())),
        None => failure(400, &format!("n={asked} is too large: at most {LARGEST}")),
    }
}

fn failure(status: u16, reason: &str) -> Response {
    Response::json(format!("{{\"error\":{}}}\n", quoted(reason))).with_status(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &str, target: &str) -> (u16, String) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = Request { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), keep_alive: true };
        let identity = Identity { instance: "1a2b3c4d".to_owned(), node: "client1".to_owned(), address: "10.77.0.12:23456".to_owned() };
        let response = answer(&request, &identity);
        (response.status, response.body)
    }

    #[test]
    fn numbers_come_with_their_instance() {
        assert_eq!(
            ask("GET", "/fib?n=20"),
            (200, "{\"n\":20,\"fib\":6765,\"instance\":\"1a2b3c4d\",\"node\":\"client1\",\"address\":\"10.77.0.12:23456\"}\n".to_owned())
        );
        assert!(ask("GET", "/fib?x=1&n=0").1.starts_with("{\"n\":0,\"fib\":0,"));
        assert!(ask("GET", "/fib?n=186").1.contains("\"fib\":332825110087067562321196029789634457848,"));
    }

    #[test]
    fn bad_numbers_are_refused_with_a_reason() {
        for (target, reason) in [
            ("/fib", "which number?"),
            ("/fib?n=", "not a whole number"),
            ("/fib?n=-1", "not a whole number"),
            ("/fib?n=+1", "not a whole number"),
            ("/fib?n=187", "at most 186"),
            ("/fib?n=99999999999999999999", "at most 186"),
        ] {
            let (status, body) = ask("GET", target);
            assert_eq!(status, 400, "{target}");
            assert!(body.contains(reason), "{target}: {body}");
        }
    }

    #[test]
    fn other_paths_and_methods() {
        assert_eq!(ask("GET", "/health"), (200, "ok\n".to_owned()));
        assert_eq!(ask("GET", "/").0, 404);
        assert_eq!(ask("POST", "/fib?n=1").0, 405);
    }
}

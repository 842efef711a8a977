//! The demo lab's service: Fibonacci numbers, and which instance computed them.
//!
//! `GET /fib?n=20` answers `{"n":20,"fib":6765,"instance":"1a2b3c4d","node":"client1","address":"10.77.0.12:23456"}`.

mod answer;
mod numbers;

use std::process::ExitCode;

use samples::run;

fn main() -> ExitCode {
    run::service("fib", |identity| Box::new(move |request| answer::answer(request, &identity)))
}

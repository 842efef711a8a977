//! The escape from a session whose guest no longer answers: `~.` at the start of a line, as in ssh(1). `~~` sends one `~`.

/// Looks for the escape in typed input.
#[derive(Debug)]
pub struct Escape {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Tilde,
    Within,
}

impl Escape {
    /// At the start of a line.
    pub fn new() -> Self {
        Self { state: State::LineStart }
    }

    /// The part of `typed` to send to the guest; none if the user wants to leave.
    pub fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(typed.len() + 1);
        for byte in typed {
            self.state = match (self.state, byte) {
                (State::LineStart, b'~') => State::Tilde,
                (State::Tilde, b'.') => return None,
                (State::Tilde, b'~') => {
                    passed.push(b'~');
                    State::Within
                }
                (before, byte) => {
                    if before == State::Tilde {
                        passed.push(b'~');
                    }
                    passed.push(*byte);
                    if matches!(byte, b'\r' | b'\n') { State::LineStart } else { State::Within }
                }
            };
        }
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tilde_dot_at_the_start_of_a_line_leaves() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["~."], None),
            (&["ls\r", "~", "."], None),
            (&["ls ~."], Some("ls ~.")),
            (&["~~."], Some("~.")),
            (&["~/x\r"], Some("~/x\r")),
            (&["a~.\r~", "x"], Some("a~.\r~x")),
        ];
        for (typed, wanted) in cases {
            let mut escape = Escape::new();
            let passed: Option<Vec<u8>> =
                typed.iter().map(|typed| escape.pass(typed.as_bytes())).collect::<Option<Vec<_>>>().map(|parts| parts.concat());
            assert_eq!(passed.as_deref(), wanted.map(str::as_bytes), "{typed:?}");
        }
    }
}

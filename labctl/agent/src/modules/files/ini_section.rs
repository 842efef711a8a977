//! Edits one section of an INI file as Ansible's `ini_file` does (`do_ini` in community.general).

/// The wanted contents of the section.
pub(crate) struct Wanted<'a> {
    /// Its name; none for the part above the first section.
    pub(crate) section: Option<&'a str>,
    /// Options with one of their values (any if none are given) that select one of several sections of that name.
    pub(crate) has_values: Vec<(String, Vec<String>)>,
    pub(crate) option: Option<&'a str>,
    /// Each appears once.
    pub(crate) values: Vec<String>,
    pub(crate) present: bool,
    /// Whether other values of the option are removed.
    pub(crate) exclusive: bool,
    /// The separator between option and value.
    pub(crate) equals: &'static str,
    pub(crate) ignore_spaces: bool,
    pub(crate) allow_no_value: bool,
    /// Whether a commented-out option counts as well.
    pub(crate) modify_inactive: bool,
}

/// An option in a line.
struct Found<'a> {
    commented: bool,
    value: &'a str,
}

const BLANK: [char; 2] = [' ', '\t'];

fn find<'a>(option: &str, line: &'a str, inactive: bool) -> Option<Found<'a>> {
    let line = line.strip_suffix('\n').unwrap_or(line).trim_start_matches(BLANK);
    let plain = |text: &'a str, commented: bool| {
        let rest = text.strip_prefix(option)?.trim_start_matches(BLANK);
        let value = if rest.is_empty() { rest } else { rest.strip_prefix('=')?.trim_start_matches(BLANK) };
        Some(Found { commented, value })
    };
    let behind = line.strip_prefix(['#', ';']).filter(|_| inactive);
    behind.and_then(|text| plain(text.trim_start_matches(BLANK), true)).or_else(|| plain(line, false))
}

/// Neither blank nor a comment.
fn counts(line: &str) -> bool {
    let bare = line.trim_end_matches('\n').trim_start_matches(BLANK);
    !bare.is_empty() && !bare.starts_with(['#', ';'])
}

fn is_header(line: &str, name: &str) -> bool {
    let inner = line.strip_prefix('[').and_then(|rest| rest.trim_start().strip_prefix(name.trim()));
    inner.is_some_and(|rest| rest.trim_start().starts_with(']'))
}

impl Wanted<'_> {
    /// Edits the lines, each with its line end; returns what was done, `OK` for nothing.
    pub(crate) fn apply(mut self, lines: &mut Vec<String>) -> &'static str {
        let Some((start, end)) = self.bounds(lines) else {
            return if self.present { self.append(lines) } else { "OK" };
        };
        let mut part: Vec<String> = lines[start..end].to_vec();
        let msg = match (self.present, self.option) {
            (true, Some(option)) => self.put(option, &mut part),
            (true, None) => "OK",
            (false, Some(option)) => self.remove(option, &mut part),
            // The top of a file is removed together with its options, like any section.
            (false, None) if part.is_empty() => "OK",
            (false, None) => {
                part.clear();
                "section removed"
            }
        };
        lines.splice(start..end, part);
        msg
    }

    /// Lines of the section, including its header.
    fn bounds(&self, lines: &[String]) -> Option<(usize, usize)> {
        let next = |from: usize| (from..lines.len()).find(|at| lines[*at].starts_with('[')).unwrap_or(lines.len());
        let fits = |part: &[String]| {
            self.has_values.iter().all(|(option, values)| {
                let mut found = part.iter().filter_map(|line| find(option, line, true));
                found.any(|found| values.is_empty() || values.iter().any(|value| value == found.value))
            })
        };
        let Some(name) = self.section else {
            return Some((0, next(0))).filter(|(start, end)| fits(&lines[*start..*end]));
        };
        let headers = (0..lines.len()).filter(|at| is_header(&lines[*at], name));
        headers.map(|at| (at, next(at + 1))).find(|(start, end)| fits(&lines[*start..*end]))
    }

    fn line(&self, option: &str, value: &str) -> String {
        format!("{option}{}{value}\n", self.equals)
    }

    fn put(&mut self, option: &str, part: &mut Vec<String>) -> &'static str {
        let mut msg = "OK";
        let mut settled = vec![false; part.len()];
        let mut bare = false;
        let ignore_spaces = self.ignore_spaces;
        let mut update = |part: &mut Vec<String>, settled: &mut Vec<bool>, at: usize, new: String| {
            let differs = match find(option, &part[at], true).filter(|old| ignore_spaces && !old.commented) {
                Some(old) => find(option, &new, true).is_none_or(|new| new.value != old.value),
                None => part[at] != new,
            };
            if differs {
                part[at] = new;
                msg = "option changed";
            }
            settled[at] = true;
        };
        for at in 0..part.len() {
            let Some(value) = find(option, &part[at], self.modify_inactive).map(|found| found.value.to_owned()) else { continue };
            if let Some(which) = self.values.iter().position(|wanted| *wanted == value) {
                let new = if value.is_empty() && self.allow_no_value { format!("{option}\n") } else { self.line(option, &value) };
                bare |= value.is_empty() && self.allow_no_value;
                update(part, &mut settled, at, new);
                self.values.remove(which);
            } else if self.values.is_empty() && self.allow_no_value {
                update(part, &mut settled, at, format!("{option}\n"));
                bare = true;
                break;
            }
        }
        if self.exclusive && !self.allow_no_value {
            for at in 0..part.len() {
                if self.values.is_empty() {
                    break;
                }
                if !settled[at] && find(option, &part[at], self.modify_inactive).is_some() {
                    let value = self.values.remove(0);
                    let new = self.line(option, &value);
                    update(part, &mut settled, at, new);
                }
            }
            for at in (0..part.len()).rev() {
                if !settled[at] && find(option, &part[at], self.modify_inactive).is_some() {
                    part.remove(at);
                    msg = "option changed";
                }
            }
        }
        let mut missing: Vec<String> = self.values.iter().map(|value| self.line(option, value)).collect();
        if missing.is_empty() && self.allow_no_value && !bare {
            missing.push(format!("{option}\n"));
        }
        if !missing.is_empty() {
            let after = part.iter().rposition(|line| counts(line)).map_or(0, |at| at + 1);
            part.splice(after..after, missing);
            msg = "option added";
        }
        msg
    }

    fn remove(&self, option: &str, part: &mut Vec<String>) -> &'static str {
        let before = part.len();
        part.retain(|line| {
            let gone =
                find(option, line, false).is_some_and(|found| self.exclusive || self.values.iter().any(|value| value == found.value));
            !gone
        });
        if part.len() == before { "OK" } else { "option changed" }
    }

    fn append(&mut self, lines: &mut Vec<String>) -> &'static str {
        lines.push(format!("[{}]\n", self.section.unwrap_or_default()));
        for (option, values) in std::mem::take(&mut self.has_values) {
            if Some(option.as_str()) != self.option {
                lines.extend(values.iter().map(|value| self.line(&option, value)));
                if values.is_empty() && self.allow_no_value {
                    lines.push(format!("{option}\n"));
                }
            } else if !self.exclusive {
                let more: Vec<String> = values.into_iter().filter(|value| !self.values.contains(value)).collect();
                self.values.extend(more);
            }
        }
        let Some(option) = self.option else { return "only section added" };
        if self.values.is_empty() {
            if !self.allow_no_value {
                return "only section added";
            }
            lines.push(format!("{option}\n"));
        }
        lines.extend(self.values.iter().map(|value| self.line(option, value)));
        "section and option added"
    }
}

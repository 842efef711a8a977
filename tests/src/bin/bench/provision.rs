//! Provisioning five nodes with a role of 30 tasks: labctl compared with ansible-core with pipelining, the same with Mitogen, and a shell
//! script over ssh, first run and unchanged run, each from the same snapshot of the same lab.
//!
//! `BENCH_PEERS=labctl,script,mitogen,ansible` selects what runs; `ANSIBLE_VENV` is a Python environment with ansible-core and Mitogen
//! (`make install-ansible`). Peers need Python in the guests, which is installed before anything is timed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use labctl_tests::{Sandbox, program, repository};

const LAB: &str = "name: bench-provision\nnodes:\n  - {name: \"n{index}\", count: 5, memory: 512M}\nprovision:\n  - hosts: all\n    gather_facts: false\n    roles: [{role: bench, prefix: a}]\n";

/// How long each run took.
struct Taken {
    first: Duration,
    again: Duration,
    /// Peak resident memory of the controller's processes, in MiB.
    memory: u64,
}

/// Runs the benchmark and prints its table.
pub fn run(_runtime: &tokio::runtime::Runtime) {
    let wanted = std::env::var("BENCH_PEERS").unwrap_or_else(|_| "labctl,script,mitogen,ansible".to_owned());
    let sandbox = Sandbox::new();
    prepare(&sandbox);
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for name in ["labctl", "script", "mitogen", "ansible"] {
        if !wanted.split(',').any(|peer| peer.trim() == name) {
            continue;
        }
        match measure(&sandbox, name) {
            Ok(taken) => {
                println!("{name}: first {:.2} s, unchanged {:.2} s", taken.first.as_secs_f64(), taken.again.as_secs_f64());
                rows.push((name, taken));
            }
            Err(why) => failed.push(format!("{name}: {why}")),
        }
    }
    table(&rows);
    if wanted.contains("labctl") {
        growth(&sandbox);
    }
    // A comparison that lacks a requested peer is useless.
    assert!(failed.is_empty(), "these could not be measured:\n{}\nBENCH_PEERS names those to measure", failed.join("\n"));
}

fn prepare(sandbox: &Sandbox) {
    sandbox.write("lab.yml", LAB);
    sandbox.write("roles/bench/tasks/main.yml", &tasks());
    sandbox.write("roles/bench/handlers/main.yml", HANDLERS);
    for (name, text) in [("config.j2", CONFIG), ("unit.j2", UNIT)] {
        sandbox.write(&format!("roles/bench/templates/{name}"), text);
    }
    for number in 1..=4 {
        sandbox.write(&format!("roles/bench/files/file{number}"), &format!("content {number}\n").repeat(200));
    }
    sandbox.write("site.yml", "- hosts: all\n  gather_facts: false\n  roles: [{role: bench, prefix: a}]\n");
    sandbox.write("ten.yml", &format!("- hosts: all\n  gather_facts: false\n  roles: [{}]\n", ten()));
    sandbox.write("script.sh", &script());
    sandbox.good(&["up", "--no-provision"]);
    let install = "command -v python3 >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-apt; } >/dev/null";
    sandbox.good(&["exec", "all", "--", "sh", "-c", install]);
    let config = sandbox.good(&["ssh-config"]);
    // ssh without prompts, and one connection for all commands of a run, as anyone who cares about speed would configure it.
    let common = format!(
        "{config}\nHost *\n  BatchMode yes\n  ControlMaster auto\n  ControlPersist 60s\n  ControlPath {}/cm-%C\n",
        sandbox.folder().display()
    );
    sandbox.write("ssh.conf", &common);
    let ssh = sandbox.folder().join("ssh.conf");
    sandbox.write(
        "hosts",
        &format!("n[1:5]\n[all:vars]\nansible_ssh_common_args=-F {}\nansible_python_interpreter=/usr/bin/python3\n", ssh.display()),
    );
    sandbox.good(&["snapshot", "save", "clean"]);
}

fn ten() -> String {
    ('a'..='j').map(|prefix| format!("{{role: bench, prefix: {prefix}}}")).collect::<Vec<_>>().join(", ")
}

/// First and unchanged run from the snapshot; medians if a run takes only seconds.
fn measure(sandbox: &Sandbox, name: &str) -> Result<Taken, String> {
    let rounds = if matches!(name, "labctl" | "script") { 3 } else { 1 };
    let (mut firsts, mut agains, mut memory) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        sandbox.good(&["snapshot", "restore", "clean"]);
        let (first, peak) = timed(command(sandbox, name)?)?;
        firsts.push(first);
        memory = memory.max(peak);
        let (again, peak) = timed(command(sandbox, name)?)?;
        agains.push(again);
        memory = memory.max(peak);
    }
    close_connections(sandbox);
    firsts.sort_unstable();
    agains.sort_unstable();
    Ok(Taken { first: firsts[rounds / 2], again: agains[rounds / 2], memory })
}

/// A snapshot's machines do not know connections that were opened since.
fn close_connections(sandbox: &Sandbox) {
    for node in 1..=5 {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(sandbox.folder().join("ssh.conf")).args(["-O", "exit", &format!("n{node}")]);
        let _ = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn command(sandbox: &Sandbox, name: &str) -> Result<Command, String> {
    close_connections(sandbox);
    if name == "labctl" {
        return Ok(sandbox.command(&["play", "-q", "site.yml"]));
    }
    if name == "script" {
        let mut shell = Command::new("sh");
        let line = "for n in n1 n2 n3 n4 n5; do ssh -F ssh.conf $n sh -s < script.sh & pids=\"$pids $!\"; done; for p in $pids; do wait $p || exit 1; done";
        shell.args(["-c", line]).current_dir(sandbox.folder()).stdin(Stdio::null());
        return Ok(at_home(shell, sandbox));
    }
    let venv = venv();
    let playbook = venv.join("bin/ansible-playbook");
    if !playbook.is_file() {
        return Err(format!("there is no {}; make install-ansible", playbook.display()));
    }
    let mut ansible = Command::new(playbook);
    ansible.args(["-i", "hosts", "-f", "5", "site.yml"]).current_dir(sandbox.folder()).stdin(Stdio::null());
    ansible
        .env("ANSIBLE_PIPELINING", "1")
        .env("ANSIBLE_HOST_KEY_CHECKING", "1")
        // Five Pythons that start at once in emulated guests take longer than the usual 10 s.
        .env("ANSIBLE_TIMEOUT", "120")
        .env("ANSIBLE_NOCOLOR", "1")
        .env("ANSIBLE_HOME", sandbox.folder().join("ansible"));
    if name == "mitogen" {
        let strategy = strategy(&venv).ok_or_else(|| format!("there is no Mitogen in {}", venv.display()))?;
        ansible.env("ANSIBLE_STRATEGY_PLUGINS", strategy).env("ANSIBLE_STRATEGY", "mitogen_linear");
    }
    Ok(at_home(ansible, sandbox))
}

/// ssh reaches the nodes through labctl, which must find its home.
fn at_home(mut command: Command, sandbox: &Sandbox) -> Command {
    command.env("LABCTL_HOME", sandbox.home()).env("XDG_RUNTIME_DIR", sandbox.folder());
    command
}

fn venv() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from);
    std::env::var_os("ANSIBLE_VENV").map_or_else(|| target.join("ansible-venv"), PathBuf::from)
}

fn strategy(venv: &Path) -> Option<PathBuf> {
    let pythons = fs::read_dir(venv.join("lib")).ok()?;
    pythons.flatten().map(|entry| entry.path().join("site-packages/ansible_mitogen/plugins/strategy")).find(|path| path.is_dir())
}

/// Runs the command until it exits: how long it took, and the peak memory of all its processes together in MiB.
fn timed(mut command: Command) -> Result<(Duration, u64), String> {
    let log = tempfile::NamedTempFile::new().map_err(|why| why.to_string())?;
    let out = log.reopen().map_err(|why| why.to_string())?;
    let errors = log.reopen().map_err(|why| why.to_string())?;
    command.stdout(out).stderr(errors);
    let begin = Instant::now();
    let mut child = command.spawn().map_err(|why| why.to_string())?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|why| why.to_string())? {
            break status;
        }
        peak = peak.max(memory(child.id()));
        std::thread::sleep(Duration::from_millis(20));
    };
    let took = begin.elapsed();
    if !status.success() {
        let said = fs::read_to_string(log.path()).unwrap_or_default();
        return Err(format!("{status}: {}", said.lines().rev().take(12).collect::<Vec<_>>().join(" | ")));
    }
    Ok((took, peak >> 10))
}

/// Resident KiB of a process and its children, with shared pages counted proportionally.
fn memory(root: u32) -> u64 {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).and_then(|parent| parent.parse().ok());
        parents.push((pid, parent.unwrap_or(0)));
    }
    let mut all = vec![root];
    let mut at = 0;
    while at < all.len() {
        let parent = all[at];
        all.extend(parents.iter().filter(|(_, other)| *other == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    let share = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default().to_owned();
        line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0)
    };
    all.iter().map(share).sum()
}

fn table(rows: &[(&str, Taken)]) {
    println!("\nprovisioning five nodes of 512 MiB, 30 tasks");
    println!("  {:<10}{:>10}{:>12}{:>14}", "", "first", "unchanged", "controller");
    for (name, taken) in rows {
        println!("  {name:<10}{:>8.2} s{:>10.2} s{:>10} MiB", taken.first.as_secs_f64(), taken.again.as_secs_f64(), taken.memory);
    }
    let Some((_, own)) = rows.iter().find(|(name, _)| *name == "labctl") else { return };
    for (name, first, again) in [("script", 1.0, 5.0), ("mitogen", 6.0, 30.0), ("ansible", 6.0, 30.0)] {
        if let Some((_, peer)) = rows.iter().find(|(peer, _)| *peer == name) {
            let ratio = |peer: Duration, own: Duration| peer.as_secs_f64() / own.as_secs_f64();
            println!(
                "  faster than {name}: first run {:.1} times (goal {first}), unchanged run {:.1} times (goal {again})",
                ratio(peer.first, own.first),
                ratio(peer.again, own.again)
            );
        }
    }
}

/// The cost of ten times the tasks and five times the nodes.
fn growth(sandbox: &Sandbox) {
    println!("\n  growth of labctl    first   unchanged   controller");
    for (title, playbook, limit) in
        [("30 tasks, 1 node", "site.yml", "n1"), ("30 tasks, 5 nodes", "site.yml", "all"), ("300 tasks, 5 nodes", "ten.yml", "all")]
    {
        sandbox.good(&["snapshot", "restore", "clean"]);
        let mut runs = (0..2).map(|_| timed(sandbox.command(&["play", "-q", "--limit", limit, playbook])));
        match (runs.next(), runs.next()) {
            (Some(Ok(first)), Some(Ok(again))) => {
                println!("  {title:<19}{:>5.2} s {:>9.2} s {:>8} MiB", first.0.as_secs_f64(), again.0.as_secs_f64(), first.1.max(again.1));
            }
            (one, two) => println!("  {title}: {:?}", [one, two].into_iter().flatten().find_map(Result::err)),
        }
        let peak = sandbox.good(&["exec", "n1", "--", "sh", "-c", "grep VmHWM /proc/$(systemctl show -P MainPID labctl-agent)/status"]);
        println!("    agent's peak: {}", peak.split_whitespace().skip(1).collect::<Vec<_>>().join(" "));
    }
    println!("  labctl is {}", program().display());
}

const HANDLERS: &str = r"
- {name: 'sysctl {{ prefix }}', command: 'sysctl -q -p /etc/sysctl.d/90-{{ prefix }}.conf'}
- {name: 'restart {{ prefix }}', systemd: {name: 'bench-{{ prefix }}', state: restarted}}
";

const CONFIG: &str =
    "# {{ prefix }} {{ item_name }}\n{% for number in range(20) %}\nvalue_{{ number }} = {{ prefix }}{{ number }}\n{% endfor %}\n";

const UNIT: &str =
    "[Unit]\nDescription=bench {{ prefix }}\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

/// The role's 30 tasks.
fn tasks() -> String {
    let mut out = String::new();
    let mut task = |text: String| out.push_str(&format!("- {text}\n"));
    for letter in ["x", "y"] {
        task(format!("{{name: group {letter}, group: {{name: 'g{{{{ prefix }}}}{letter}'}}}}"));
    }
    for letter in ["x", "y", "z"] {
        task(format!(
            "{{name: user {letter}, user: {{name: 'u{{{{ prefix }}}}{letter}', groups: 'g{{{{ prefix }}}}x', create_home: false, shell: /bin/false}}}}"
        ));
    }
    for name in ["", "/conf", "/data", "/data/deep", "/log"] {
        task(format!(
            "{{name: 'folder {name}', file: {{path: '/srv/{{{{ prefix }}}}{name}', state: directory, owner: 'u{{{{ prefix }}}}x', mode: '0750'}}}}"
        ));
    }
    for number in 1..=5 {
        task(format!(
            "{{name: template {number}, template: {{src: config.j2, dest: '/srv/{{{{ prefix }}}}/conf/{number}.conf', mode: '0640'}}, vars: {{item_name: c{number}}}, notify: 'restart {{{{ prefix }}}}'}}"
        ));
    }
    for number in 1..=4 {
        task(format!("{{name: copy {number}, copy: {{src: file{number}, dest: '/srv/{{{{ prefix }}}}/data/{number}', mode: '0644'}}}}"));
    }
    task("{name: unit, template: {src: unit.j2, dest: '/etc/systemd/system/bench-{{ prefix }}.service', mode: '0644'}, register: unit, notify: 'restart {{ prefix }}'}".to_owned());
    task("{name: sysctl, copy: {content: \"vm.swappiness = 10\\n\", dest: '/etc/sysctl.d/90-{{ prefix }}.conf', mode: '0644'}, notify: 'sysctl {{ prefix }}'}".to_owned());
    for (number, file) in ["/etc/profile", "/etc/issue", "/etc/environment", "/etc/securetty"].iter().enumerate() {
        task(format!("{{name: line {number}, lineinfile: {{path: {file}, line: '# {{{{ prefix }}}} {number}', create: true}}}}"));
    }
    task("{name: hosts, blockinfile: {path: /etc/hosts, marker: '# {mark} {{ prefix }}', block: \"10.9.9.1 one.{{ prefix }}\\n10.9.9.2 two.{{ prefix }}\"}}".to_owned());
    task("{name: link, file: {src: '/srv/{{ prefix }}/conf', dest: '/srv/{{ prefix }}-link', state: link}}".to_owned());
    for number in 1..=2 {
        task(format!(
            "{{name: command {number}, command: {{cmd: 'touch /srv/{{{{ prefix }}}}/made{number}', creates: '/srv/{{{{ prefix }}}}/made{number}'}}}}"
        ));
    }
    task(
        "{name: service, systemd: {name: 'bench-{{ prefix }}', state: started, enabled: true, daemon_reload: '{{ unit.changed }}'}}"
            .to_owned(),
    );
    out
}

/// The same by hand: each step checks first, as a careful author would write it.
fn script() -> String {
    let mut out = String::from(
        r##"set -e
p=a; restart=; sysctl=
put() { # FILE MODE, content on standard input; true if it changed
  cat > "$1.new"
  if cmp -s "$1.new" "$1"; then rm "$1.new"; chmod "$2" "$1"; return 1; fi
  chmod "$2" "$1.new"; mv "$1.new" "$1"
}
line() { [ -e "$1" ] || : > "$1"; grep -qxF "$2" "$1" || echo "$2" >> "$1"; }
for g in x y; do getent group g$p$g >/dev/null || groupadd g$p$g; done
for u in x y z; do
  id u$p$u >/dev/null 2>&1 || useradd -M -s /bin/false u$p$u
  id -nG u$p$u | grep -qw g${p}x || usermod -aG g${p}x u$p$u
done
for d in "" /conf /data /data/deep /log; do
  [ "$(stat -c '%U %a' /srv/$p$d 2>/dev/null)" = "u${p}x 750" ] || install -d -o u${p}x -m 0750 /srv/$p$d
done
for n in 1 2 3 4 5; do
  { echo "# $p c$n"; for v in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do echo "value_$v = $p$v"; done; } | put /srv/$p/conf/$n.conf 0640 && restart=1
done
"##,
    );
    for number in 1..=4 {
        let content = format!("content {number}\n").repeat(200);
        out.push_str(&format!("put /srv/$p/data/{number} 0644 <<'END' || true\n{content}END\n"));
    }
    out.push_str(
        r##"put /etc/systemd/system/bench-$p.service 0644 <<END && { systemctl daemon-reload; restart=1; }
[Unit]
Description=bench $p
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
END
echo "vm.swappiness = 10" | put /etc/sysctl.d/90-$p.conf 0644 && sysctl=1
n=0; for f in /etc/profile /etc/issue /etc/environment /etc/securetty; do line $f "# $p $n"; n=$((n+1)); done
grep -q "BEGIN $p" /etc/hosts || printf '# BEGIN %s\n10.9.9.1 one.%s\n10.9.9.2 two.%s\n# END %s\n' $p $p $p $p >> /etc/hosts
[ "$(readlink /srv/$p-link)" = /srv/$p/conf ] || ln -sfn /srv/$p/conf /srv/$p-link
for n in 1 2; do [ -e /srv/$p/made$n ] || touch /srv/$p/made$n; done
systemctl is-enabled -q bench-$p || systemctl enable -q bench-$p
systemctl is-active -q bench-$p || { systemctl start bench-$p; }
[ -z "$sysctl" ] || sysctl -q -p /etc/sysctl.d/90-$p.conf
[ -z "$restart" ] || systemctl restart bench-$p
"##,
    );
    out
}

#!/usr/bin/env python3
"""Runs playbook cases by ansible-core and by labctl, each in a mount namespace of its own, and compares what they do.

    run.py --labctl PROGRAM [--cache FOLDER] [--jobs N] [--show] [NAME...]

Compared are, per host, the tasks in their order with status, items and values shown by `debug`, the recap, whether the run
succeeded, and the files that are there afterwards. NAME chooses the cases whose name contains it. What Ansible gave is kept in the
cache folder by the content of the case. Needs a Python that has ansible-core.
"""

import argparse
import difflib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import case as cases  # noqa: E402
import namespace  # noqa: E402

LIMIT = 120
EVENTS = "/mnt/events"
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": namespace.HOME,
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    # Ansible keeps some lists as sets: their order is not to differ from run to run.
    "PYTHONHASHSEED": "0",
    "ORACLE": "yes",
    "ORACLE_OUT": EVENTS,
    "LABCTL_HOME": "/mnt/labctl",
    "XDG_RUNTIME_DIR": "/mnt/labctl-run",
    "ANSIBLE_CALLBACK_PLUGINS": os.path.join(HERE, "plugins"),
    "ANSIBLE_STDOUT_CALLBACK": "oracle",
    "ANSIBLE_LOCAL_TEMP": "/mnt/local",
    "ANSIBLE_REMOTE_TMP": "/mnt/remote",
    "ANSIBLE_ASYNC_DIR": "/mnt/async",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    "ANSIBLE_RETRY_FILES_ENABLED": "0",
    "ANSIBLE_LOCALHOST_WARNING": "0",
    "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0",
    "ANSIBLE_SYSTEM_WARNINGS": "0",
    "ANSIBLE_DEPRECATION_WARNINGS": "0",
}


def sources():
    """The text of this harness, for the cache's keys."""
    texts = []
    for name in ["run.py", "namespace.py", "plugins/oracle.py"]:
        with open(os.path.join(HERE, name), encoding="utf-8") as file:
            texts.append(file.read())
    return texts


def ansible(arguments):
    """ansible-playbook in this process, whose parent has loaded it already."""
    from ansible import constants
    from ansible.cli.playbook import PlaybookCLI

    # Made when Ansible was loaded, in the parent's namespace.
    os.makedirs(constants.DEFAULT_LOCAL_TMP, mode=0o700, exist_ok=True)
    PlaybookCLI.cli_executor(["ansible-playbook", *arguments])


def inside(case, tool, labctl, out):
    """Runs in a child process: the case, and then the report of it."""
    namespace.enter(case.needs)
    case.write(namespace.CASE)
    os.chdir(namespace.CASE)
    os.umask(0o022)
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    before = namespace.snapshot(case.needs)
    inventory = [] if "-i" in case.args else ["-i", "hosts"]
    arguments = [*inventory, *case.args, "site.yml"]
    with open("/mnt/said", "w") as said:
        if tool == "ansible":
            # Its own child: what ansible-playbook does to this process at its end must not be met.
            pid = os.fork()
            if pid == 0:
                os.dup2(said.fileno(), 1)
                os.dup2(said.fileno(), 2)
                code = 250
                try:
                    ansible(arguments)
                    code = 0
                except SystemExit as end:
                    code = end.code if isinstance(end.code, int) else 1
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            with open(EVENTS, "w") as events:
                code = subprocess.run([labctl, "play", "--json", *arguments], stdin=subprocess.DEVNULL, stdout=events, stderr=said).returncode
    with open("/mnt/said", encoding="utf-8", errors="replace") as file:
        said = file.read()
    lines = []
    if os.path.exists(EVENTS):
        with open(EVENTS, encoding="utf-8", errors="replace") as file:
            lines = [json.loads(line) for line in file if line.startswith("{")]
    files = namespace.changes(before, namespace.snapshot(case.needs))
    report = {"code": code, "events": lines, "said": said[-6000:], "files": files}
    with open(out, "w", encoding="utf-8") as file:
        json.dump(report, file)


def run(case, tool, labctl, folder):
    """The report of a case by one of the tools, made by a forked child in a process group of its own."""
    out = os.path.join(folder, f"{tool}-{os.getpid()}-{case.name.replace('/', '-')}.json")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            inside(case, tool, labctl, out)
            code = 0
        except BaseException as why:  # noqa: BLE001
            print(f"{case.name}: {tool}: {why!r}", file=sys.stderr)
        finally:
            os._exit(code)
    deadline = time.monotonic() + LIMIT
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return {"code": -9, "events": [], "said": f"took longer than {LIMIT} s", "files": {}}
        time.sleep(0.02)
    try:
        with open(out, encoding="utf-8") as file:
            report = json.load(file)
        os.unlink(out)
    except FileNotFoundError:
        report = {"code": -1, "events": [], "said": f"the run ended without a report ({status})", "files": {}}
    return report


STATUS = {"rescued": "failed"}


def labctl_events(report):
    """labctl's events in the form of the callback plugin's."""
    out, task, actions = [], "", {}
    for event in report["events"]:
        kind = event.get("event")
        if kind == "task_start":
            task = event["name"]
            actions[task] = event["action"]
        elif kind in ("host_result", "item_result"):
            status = STATUS.get(event["status"], event["status"])
            out.append({"event": kind.split("_")[0], "host": event["host"], "task": event.get("task") or task,
                        "action": actions.get(event.get("task") or task, ""), "status": status, "item": event.get("item"), "result": event["result"]})
        elif kind == "recap":
            out.append({"event": "recap", "hosts": event["recap"]["hosts"]})
    return out


NOT_SHOWN = {"changed", "failed", "skip_reason", "skipped", "false_condition", "warnings", "deprecations", "failed_when_result", "attempts",
             "exception", "item", "ansible_loop_var", "ansible_index_var", "ansible_loop", "retries"}


def value(case, event):
    """What a result says that must be the same."""
    result = event["result"]
    keys = case.options.get("results", "").split()
    if event["status"] in ("skipped", "unreachable"):
        return None
    if event["action"] == "debug" and "results" not in result and event["status"] in ("ok", "changed"):
        return {key: one for key, one in result.items() if key not in NOT_SHOWN}
    if event["action"] in ("fail", "assert") and event["status"] in ("failed", "ignored"):
        return result.get("msg")
    out = {key: result[key] for key in keys if key in result}
    if "diff" in case.options and "diff" in result:
        out.update({"diff": found} if (found := differences(result["diff"])) else {})
    return out or None


def differences(diff):
    parts = diff if isinstance(diff, list) else [diff]
    parts = [{key: part.get(key) or "" for key in ("before", "after", "prepared") if key in part} for part in parts if isinstance(part, dict)]
    for part in parts:
        for side in part.values():
            if isinstance(side, dict):
                for key in ("atime", "mtime", "path_content"):
                    side.pop(key, None)
    return [part for part in parts if part.get("before") != part.get("after") or part.get("prepared")] or None


def label(item):
    return None if item is None else item if isinstance(item, str) else json.dumps(item, sort_keys=True)


def sequences(case, events):
    """Per host, what happened to it."""
    hosts, items = {}, {}
    for event in events:
        host = event.get("host")
        name = event.get("task", "").rsplit(" : ", 1)
        name = " : ".join([*name[:-1], name[-1].removeprefix("ansible.builtin.")])
        # The tools report these at other moments; what they do is seen in the recap and in the tasks that follow.
        if event.get("action") in ("include_role", "include_tasks", "include_vars_dir", "meta"):
            continue
        if event["event"] == "item":
            items.setdefault(host, []).append(["failed" if event["status"] == "ignored" else event["status"], value(case, event)])
        elif event["event"] == "host":
            mine = items.pop(host, [])
            entry = [name, event["status"], value(case, event) if not mine else None]
            hosts.setdefault(host, []).append([*entry, mine] if mine else entry)
    return hosts


def masked(case, something):
    """Texts that differ by nature (temporary names, times) as one word."""
    text = json.dumps(something, sort_keys=True)
    for pattern in [case.options["mask"]] if "mask" in case.options else []:
        text = re.sub(pattern, "MASKED", text)
    return json.loads(text)


def apart(left, right, place=""):
    """The places at which two structures differ, as lines."""
    if isinstance(left, dict) and isinstance(right, dict):
        keys = sorted(set(left) | set(right))
        return [line for key in keys if left.get(key) != right.get(key) for line in apart(left.get(key), right.get(key), f"{place}.{key}")]
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        return [line for at, (one, two) in enumerate(zip(left, right)) if one != two for line in apart(one, two, f"{place}[{at}]")]
    if isinstance(left, str) and isinstance(right, str) and "\n" in left:
        lines = difflib.unified_diff(left.splitlines(), right.splitlines(), "ansible", "labctl", "", "", 0, lineterm="")
        return [f"      at {place or 'all'}:", *(f"        {line}" for line in lines)]
    return [f"      at {place or 'all'}: ansible {json.dumps(left)}", f"      {' ' * len(place)}      labctl  {json.dumps(right)}"]


def compare(case, theirs, ours):
    """The differences, as lines."""
    wrong = []
    their_events, our_events = theirs["events"], labctl_events(ours)
    for title, left, right in [
        ("success", theirs["code"] == 0, ours["code"] == 0),
        ("recap", *[next((e["hosts"] for e in events if e["event"] == "recap"), {}) for events in (their_events, our_events)]),
    ]:
        if left != right:
            wrong.append("\n".join([f"{title}:", *apart(left, right)]))
    left, right = (masked(case, sequences(case, events)) for events in (their_events, our_events))
    for host in sorted(set(left) | set(right)):
        one, two = left.get(host, []), right.get(host, [])
        if "unordered" in case.options:
            one, two = (sorted(side, key=json.dumps) for side in (one, two))
        for index in range(max(len(one), len(two))):
            a, b = one[index] if index < len(one) else None, two[index] if index < len(two) else None
            if a != b:
                wrong.append("\n".join([f"{host}, task {index + 1}, {(a or b)[0]}:", *apart(a, b)]))
                if len(one) != len(two) or (a and b and a[0] != b[0]):
                    break
    skip = re.compile(case.options["skip-tree"]) if "skip-tree" in case.options else None
    left, right = (masked(case, {path: state for path, state in side["files"].items() if not (skip and skip.search(path))}) for side in (theirs, ours))
    for path in sorted(set(left) | set(right)):
        if left.get(path) != right.get(path):
            wrong.append("\n".join([f"{path}:", *apart(left.get(path), right.get(path))]))
    return wrong


def side_by_side(work, items, jobs, folder):
    """The items with what `work` gave for them, in their order; each in a forked process. Threads and forks do not go together."""
    running, done, shown = {}, {}, 0
    waiting = list(enumerate(items))
    while waiting or running:
        while waiting and len(running) < jobs:
            index, item = waiting.pop(0)
            out = os.path.join(folder, f"result-{os.getpid()}-{index}.json")
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    with open(out, "w", encoding="utf-8") as file:
                        json.dump(work(item), file)
                    code = 0
                finally:
                    os._exit(code)
            running[pid] = (index, out)
        pid, _ = os.wait()
        if pid in running:
            index, out = running.pop(pid)
            with open(out, encoding="utf-8") as file:
                text = file.read()
            os.unlink(out)
            done[index] = json.loads(text) if text else [None, None, ["the comparison ended without a result"]]
        while shown in done:
            yield items[shown], *done.pop(shown)
            shown += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labctl", required=True)
    parser.add_argument("--cache", default="/tmp/labctl-oracle")
    parser.add_argument("--cases", default=os.path.join(HERE, "cases"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--show", action="store_true", help="print what both said")
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    labctl = os.path.abspath(asked.labctl)
    os.makedirs(asked.cache, exist_ok=True)
    os.environ.update(ENVIRONMENT)
    import ansible.release

    texts = [*sources(), ansible.release.__version__]

    def theirs_of(case):
        # What the system's own folders hold decides, too, where a case works on them.
        system = json.dumps(namespace.snapshot(case.needs), sort_keys=True) if case.needs else ""
        kept = os.path.join(asked.cache, f"{case.key(*texts, system)}.json")
        if os.path.exists(kept):
            with open(kept, encoding="utf-8") as file:
                return json.load(file)
        report = run(case, "ansible", labctl, asked.cache)
        if report["code"] >= 0:
            with open(kept + ".new", "w", encoding="utf-8") as file:
                json.dump(report, file)
            os.rename(kept + ".new", kept)
        return report

    def both(case):
        """What both did, and the differences."""
        try:
            missing = [name for name in case.options.get("programs", "").split() if not any(os.access(os.path.join(folder, name), os.X_OK) for folder in ENVIRONMENT["PATH"].split(":"))]
            site = sysconfig.get_path("purelib")
            missing += [name for name in case.options.get("collections", "").split() if not os.path.isdir(os.path.join(site, "ansible_collections", *name.split(".")))]
            if missing:
                return None, None, [f"skipped: there is no {', '.join(missing)} here"]
            theirs, ours = theirs_of(case), run(case, "labctl", labctl, asked.cache)
            return theirs, ours, compare(case, theirs, ours)
        except Exception as why:  # noqa: BLE001
            return None, None, [f"the comparison broke: {why!r}"]

    # The slow part of every run is loading Ansible: once here, for all children.
    import ansible.cli.playbook  # noqa: F401
    import ansible.executor.playbook_executor  # noqa: F401
    import ansible.executor.task_executor  # noqa: F401
    import ansible.plugins.action.normal  # noqa: F401
    import ansible.plugins.strategy.linear  # noqa: F401

    agree, differ, skipped = 0, 0, 0
    started = time.monotonic()
    for case, theirs, ours, wrong in side_by_side(both, cases.find(asked.cases, asked.names), asked.jobs, asked.cache):
        if theirs is None and wrong[0].startswith("skipped"):
            skipped += 1
            print(f"skip    {case.name}: {wrong[0]}")
        elif wrong:
            differ += 1
            print(f"DIFFER  {case.name}")
            for text in wrong:
                print(f"    {text}")
            for tool, report in [("ansible", theirs), ("labctl", ours)]:
                if report and report["said"].strip():
                    print(f"    {tool} said: {report['said'].strip()[-800 if not asked.show else -6000:]}")
        else:
            agree += 1
        if asked.show and theirs:
            for tool, events in [("ansible", theirs["events"]), ("labctl", labctl_events(ours))]:
                print(f"  {tool}:")
                for event in events:
                    print(f"    {json.dumps(event)[:1500]}")
        sys.stdout.flush()
    print(f"{agree} cases agree, {differ} differ, {skipped} skipped, {time.monotonic() - started:.0f} s")
    sys.exit(1 if differ or not agree else 0)


if __name__ == "__main__":
    main()

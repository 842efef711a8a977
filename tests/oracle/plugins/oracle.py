"""Writes what ansible-playbook does as JSON lines to $ORACLE_OUT."""

import json
import os

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: oracle
type: stdout
short_description: JSON lines for the oracle test
description: Writes plays, tasks, results and the recap to the file in ORACLE_OUT.
"""


def plain(value):
    """The value as JSON; texts of other kinds (tagged, lazy, unsafe) as texts."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "oracle"

    def __init__(self):
        super().__init__()
        self.out = open(os.environ["ORACLE_OUT"], "w", encoding="utf-8")

    def say(self, **event):
        self.out.write(json.dumps(event, ensure_ascii=True) + "\n")
        self.out.flush()

    def result(self, kind, result, status):
        task = result._task
        values = plain(self._clean(result._result))
        self.say(
            event=kind,
            host=result._host.get_name(),
            task=task.get_name(),
            action=task.action.rsplit(".", 1)[-1],
            status=status,
            item=plain(result._result.get("_ansible_item_label")),
            result=values,
        )

    def _clean(self, result):
        return {key: value for key, value in result.items() if not key.startswith("_ansible_") and key != "invocation"}

    @staticmethod
    def _good(result):
        return "changed" if result._result.get("changed") else "ok"

    def v2_playbook_on_play_start(self, play):
        self.say(event="play", name=play.get_name())

    def v2_runner_on_ok(self, result):
        self.result("host", result, self._good(result))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.result("host", result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result):
        self.result("host", result, "skipped")

    def v2_runner_on_unreachable(self, result):
        self.result("host", result, "unreachable")

    def v2_runner_item_on_ok(self, result):
        self.result("item", result, self._good(result))

    def v2_runner_item_on_failed(self, result):
        self.result("item", result, "failed")

    def v2_runner_item_on_skipped(self, result):
        self.result("item", result, "skipped")

    def v2_playbook_on_stats(self, stats):
        hosts = {}
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            hosts[host] = {("failed" if key == "failures" else key): value for key, value in counts.items()}
        self.say(event="recap", hosts=hosts)

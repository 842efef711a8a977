"""Cases: a playbook, further files below lines `#### file: PATH`, and options in `# word: value` lines at the top."""

import hashlib
import os
import shlex

INVENTORY = """\
[web]
h1
[db]
h2
[all:children]
web
db
[all:vars]
ansible_connection=local
root=/mnt/work
"""

# Files that may not differ between the tools but do: backups carry the time and the process in their names.
WORDS = {"collections", "args", "needs", "skip-tree", "messages", "diff", "mask", "results", "unordered", "programs"}


class Case:
    def __init__(self, path, base):
        self.path = path
        self.name = os.path.relpath(path, base)[: -len(".yml")]
        with open(path, encoding="utf-8") as file:
            self.text = file.read()
        self.files = {}
        self.options = {}
        current, lines = "site.yml", []
        for line in self.text.splitlines(keepends=True):
            if line.startswith("#### file: "):
                self.files[current] = "".join(lines)
                current, lines = line[len("#### file: "):].strip(), []
                continue
            word = line[2:].split(":", 1)[0] if line.startswith("# ") and ":" in line else ""
            if current == "site.yml" and word in WORDS:
                self.options[word] = line.split(":", 1)[1].strip()
            lines.append(line)
        self.files[current] = "".join(lines)

    @property
    def args(self):
        return shlex.split(self.options.get("args", ""))

    @property
    def needs(self):
        return self.options.get("needs", "").split()

    def key(self, *more):
        digest = hashlib.sha256()
        for part in (self.text, INVENTORY, *more):
            digest.update(part.encode() + b"\0")
        return digest.hexdigest()

    def write(self, folder):
        files = dict(self.files)
        files.setdefault("hosts", INVENTORY)
        for path, text in files.items():
            path = os.path.join(folder, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            if text.startswith("#!") and not path.endswith(".j2"):
                os.chmod(path, 0o755)


def find(base, wanted):
    out = []
    for folder, _, files in sorted(os.walk(base)):
        for name in sorted(files):
            if name.endswith(".yml"):
                case = Case(os.path.join(folder, name), base)
                if not wanted or any(part in case.name for part in wanted):
                    out.append(case)
    return out

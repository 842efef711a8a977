"""A mount namespace of a case's own: the case at /mnt/case, its work at /mnt/work, and copies of the folders it may write to."""

import ctypes
import hashlib
import os
import re
import shutil
import stat
import time

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000

CASE, WORK, HOME = "/mnt/case", "/mnt/work", "/mnt/home"

libc = ctypes.CDLL(None, use_errno=True)


def check(code, what):
    if code != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, kind, flags, data=""):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()), f"mount {target}")


def enter(needs):
    """Leaves the host's mounts behind. `needs` are folders of the system that the case writes to."""
    if os.geteuid() == 0:
        check(libc.unshare(CLONE_NEWNS), "unshare")
    else:
        uid, gid = os.geteuid(), os.getegid()
        check(libc.unshare(CLONE_NEWNS | CLONE_NEWUSER), "unshare")
        for name, text in [("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")]:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("tmpfs", "/mnt", "tmpfs", 0, "mode=755")
    for folder in (CASE, WORK, HOME, "/mnt/copies"):
        os.mkdir(folder)
    for folder in needs:
        copy = "/mnt/copies" + folder
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        shutil.copytree(folder, copy, symlinks=True, ignore_dangling_symlinks=True)
        keep_owners(folder, copy)
        mount(copy, folder, "", MS_BIND)


def keep_owners(source, copy):
    for folder, folders, files in os.walk(source):
        there = copy + folder[len(source):]
        for path in [folder] + [os.path.join(folder, name) for name in folders + files]:
            info = os.lstat(path)
            os.chown(copy + path[len(source):], info.st_uid, info.st_gid, follow_symlinks=False)
            if not stat.S_ISLNK(info.st_mode):
                os.chmod(copy + path[len(source):], stat.S_IMODE(info.st_mode))
        del there


def undated(content):
    """A shadow(5) file without the day on which a password was changed, if that is today or was yesterday: one of the two reports may be
    kept from another day than the other's."""
    today = int(time.time() // 86400)
    return re.sub(rb"(?m)^([^:\n]*:[^:\n]*):(?:%d|%d):" % (today, today - 1), rb"\1:today:", content)


def look(path, root):
    """One file as the two tools' results are compared: kind, mode, owner, content."""
    info = os.lstat(path)
    out = {"mode": f"{stat.S_IMODE(info.st_mode):04o}", "owner": f"{info.st_uid}:{info.st_gid}"}
    if stat.S_ISLNK(info.st_mode):
        return {"link": os.readlink(path), "owner": out["owner"]}
    if stat.S_ISDIR(info.st_mode):
        return {"folder": True, **out}
    if not stat.S_ISREG(info.st_mode):
        return {"special": stat.S_IFMT(info.st_mode), **out}
    with open(path, "rb") as file:
        content = file.read()
    if os.path.basename(path) in ("shadow", "shadow-"):
        content = undated(content)
    if info.st_nlink > 1:
        out["links"] = info.st_nlink
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    if text is None or len(text) > 4000:
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), **out}
    return {"text": text, **out}


def tree(root):
    found = {}
    for folder, folders, files in os.walk(root):
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            try:
                found[path[len(root):].lstrip("/")] = look(path, root)
            except FileNotFoundError:
                pass
    return found


def snapshot(needs):
    return {folder: tree(folder) for folder in [WORK, *needs]}


def changes(before, after):
    """What differs between two snapshots: the new state by path, None for what is gone."""
    out = {}
    for root, files in after.items():
        old = before.get(root, {})
        for path in sorted(set(files) | set(old)):
            if files.get(path) != old.get(path):
                out[f"{root}/{path}"] = files.get(path)
    return out

"""Puts the collections whose modules labctl has, too, into a Python environment with ansible-core: they come in the package `ansible`.

    VENV/bin/python tests/oracle/install_collections.py
"""

import glob
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile

# The release that goes with ansible-core 2.19.
PACKAGE = "ansible>=12,<13"
WANTED = ("ansible/posix", "community/general", "community/crypto")


def main():
    site = sysconfig.get_path("purelib")
    there = os.path.join(site, "ansible_collections")
    if os.path.isdir(there):
        return
    with tempfile.TemporaryDirectory(dir=site) as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True)
        with zipfile.ZipFile(glob.glob(os.path.join(folder, "ansible-*.whl"))[0]) as wheel:
            beginnings = tuple(f"ansible_collections/{name}/" for name in WANTED)
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(beginnings)])
        # There only when it is whole.
        os.rename(os.path.join(folder, "ansible_collections"), there)


main()

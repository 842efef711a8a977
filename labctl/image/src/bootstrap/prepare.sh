# Runs before the first package is unpacked; $1 is the new root folder.
set -eu
root=$1
mkdir -p "$root/etc/dpkg/dpkg.cfg.d" "$root/etc/apt/apt.conf.d"

# Documents, manuals and translations are never unpacked, neither now nor when a role installs packages later:
# in a guest without KVM every small file costs milliseconds. force-unsafe-io: a lab's disk is thrown away, not synced.
cat >"$root/etc/dpkg/dpkg.cfg.d/labctl" <<'EOF'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/man/*
path-exclude=/usr/share/info/*
path-exclude=/usr/share/lintian/*
path-exclude=/usr/share/linda/*
path-exclude=/usr/share/groff/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/etc/kernel/postinst.d/tiny-initramfs
path-exclude=/etc/kernel/postrm.d/tiny-initramfs
EOF
cat >"$root/etc/apt/apt.conf.d/90labctl" <<'EOF'
APT::Install-Recommends "false";
APT::Install-Suggests "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dpkg::Use-Pty "false";
EOF

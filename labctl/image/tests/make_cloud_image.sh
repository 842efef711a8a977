#!/bin/sh
# Makes a disk that stands in for a vendor's cloud image: a partition table, GRUB in the master boot record, Debian
# with cloud-init (NoCloud only) and SSH. Nothing of labctl is in it.
#
#   make_cloud_image.sh OUT.qcow2 [SUITE]
#
# Needs root, mmdebstrap, mke2fs and qemu-img. BIOS machines (x86_64) only.
set -eu
out=$1
suite=${2:-bookworm}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root

mmdebstrap --quiet --variant=minbase --mode=root --format=directory \
    --include=linux-image-cloud-amd64,initramfs-tools,systemd-sysv,udev,dbus,openssh-server,iproute2,cloud-init,grub-pc-bin,grub-common \
    --aptopt='APT::Install-Recommends "false"' "$suite" "$root"

printf 'datasource_list: [ NoCloud, None ]\n' >"$root/etc/cloud/cloud.cfg.d/90_datasource.cfg"
echo 'LABEL=cloud-root / ext4 rw 0 1' >"$root/etc/fstab"
: >"$root/etc/machine-id"
rm -f "$root"/etc/ssh/ssh_host_*
chroot "$root" systemctl enable --quiet systemd-networkd.service

kernel=$(basename "$root"/boot/vmlinuz-*)
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<EOF
linux /boot/$kernel root=LABEL=cloud-root ro console=ttyS0
initrd /boot/initrd.img-${kernel#vmlinuz-}
boot
EOF
chroot "$root" grub-mkimage -O i386-pc -o /boot/grub/core.img -p '(hd0,msdos1)/boot/grub' \
    biosdisk part_msdos ext2 normal configfile linux
boot=$root/usr/lib/grub/i386-pc/boot.img
core=$root/boot/grub/core.img
cp "$boot" "$work/boot.img"
cp "$core" "$work/core.img"

# One partition, bootable, Linux, from sector 2048 on, 2 GiB: status, first and last sector by cylinders (not used),
# kind, first sector, number of sectors.
sectors=4194304
disk=$work/disk.raw
truncate -s $(((2048 + sectors) * 512)) "$disk"
# GRUB's first stage and what it loads from sector 1 on; its defaults expect exactly that place.
dd if="$work/boot.img" of="$disk" bs=1 count=440 conv=notrunc status=none
dd if="$work/core.img" of="$disk" bs=512 seek=1 conv=notrunc status=none
printf '\200\376\377\377\203\376\377\377\000\010\000\000\000\000\100\000' | dd of="$disk" bs=1 seek=446 conv=notrunc status=none
printf '\125\252' | dd of="$disk" bs=1 seek=510 conv=notrunc status=none

# GRUB does not know the newest features of ext4.
mke2fs -q -F -t ext4 -L cloud-root -O ^metadata_csum_seed,^orphan_file -d "$root" \
    -E offset=1048576 "$disk" $((sectors / 2))k
qemu-img convert -f raw -O qcow2 "$disk" "$out.new"
mv "$out.new" "$out"

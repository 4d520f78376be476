#!/bin/sh
# Builds the image from its Dockerfile and checks what it contains and what it can do. Needs root, cargo, nft, and
# Debian's packages buildah and mmdebstrap; no container registry, no daemon. In place of the Rust image, which would
# come from a registry, the builder is a fresh Debian 12 into which this machine's toolchain is mounted.
#
# PROFILE=dev builds faster; STORAGE is where images are kept.
set -eu
cd "$(dirname "$0")/.."
PROFILE=${PROFILE:-release}
STORAGE=${STORAGE:-$PWD/target/image}
manifest=$PWD/integration/examples/demo/4-load-balancer.yaml
work=$(mktemp -d)
container=

buildah() { command buildah --storage-driver vfs --root "$STORAGE" --runroot "$work/run" "$@"; }
say() { echo "check-image: $*"; }
fail() { say "$*" >&2; exit 1; }
finish() {
    [ -z "$container" ] || buildah rm "$container" > /dev/null
    # Removes the images that this build replaced.
    buildah rmi --prune > /dev/null 2>&1 || true
    rm -rf "$work"
}
trap finish EXIT

mkdir -p "$STORAGE"
if ! buildah images -q portolan-builder > /dev/null 2>&1; then
    say "making the builder: Debian 12 with a C compiler"
    container=$(buildah from scratch)
    # Output only if it fails: mmdebstrap is chatty.
    mmdebstrap --quiet --variant=apt --include=gcc,libc6-dev bookworm "$(buildah mount "$container")" \
        2> "$work/log" || { cat "$work/log" >&2; exit 1; }
    buildah config --env CARGO_HOME=/cargo --env PATH=/toolchain/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet --rm "$container" portolan-builder > /dev/null
    container=
fi

say "building docker/Dockerfile, profile $PROFILE"
buildah build --quiet --no-cache --force-rm --isolation chroot --network host --file docker/Dockerfile --tag portolan \
    --volume "$(rustc --print sysroot):/toolchain:ro" --volume "${CARGO_HOME:-$HOME/.cargo}:/cargo" \
    --build-arg BUILD_IMAGE=localhost/portolan-builder --build-arg PROFILE="$PROFILE" \
    . > "$work/log" 2>&1 || { cat "$work/log" >&2; fail "the image cannot be built"; }

container=$(buildah from portolan)
root=$(buildah mount "$container")

# Only the binary, the libraries that it links, certificates and licences. A shell or nft would be reported here.
for file in $(cd "$root" && find . ! -type d | sort); do
    case $file in
        ./usr/local/bin/portolan | ./usr/share/doc/*/copyright) ;;
        ./lib/ld-linux-*.so.? | ./lib64/ld-linux-*.so.?) ;;
        ./lib/*-linux-gnu/libc.so.6 | ./lib/*-linux-gnu/libgcc_s.so.1) ;;
        ./lib/*-linux-gnu/libmnl.so.0 | ./lib/*-linux-gnu/libnftnl.so.11) ;;
        ./etc/nsswitch.conf | ./etc/ssl/certs/ca-certificates.crt) ;;
        *) fail "$file has no business in the image" ;;
    esac
done
for package in portolan libnftnl11 libmnl0 libc6 libgcc-s1; do
    [ -s "$root/usr/share/doc/$package/copyright" ] || fail "the licence of $package is missing"
done
[ -s "$root/etc/ssl/certs/ca-certificates.crt" ] || fail "there are no certificates"
entrypoint=$(buildah inspect \
    --format '{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}} {{.OCIv1.Config.User}}' "$container")
[ "$entrypoint" = "[/usr/local/bin/portolan] [run] 0:0" ] || fail "it starts $entrypoint"

# In a network namespace, on a read-only root: every library is found, and nothing is written.
unshare --net --mount sh -euc '
    mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
    chroot "$1" /usr/local/bin/portolan --version
    chroot "$1" /usr/local/bin/portolan run --once -f - --hostname-override node-a < "$2" 2> "$3"
    nft list table ip portolan | grep -q 10.96.0.10
    chroot "$1" /usr/local/bin/portolan cleanup
    ! nft list tables | grep -q portolan
' sh "$root" "$manifest" "$work/log" || { cat "$work/log" >&2; fail "it does not run on a read-only root"; }

# NET_ADMIN is sufficient, under buildah's seccomp profile, and necessary.
run_with() {
    printf '[containers]\ndefault_capabilities = [%s]\n' "$1" > "$work/containers.conf"
    export CONTAINERS_CONF="$work/containers.conf"
    buildah rm "$container" > /dev/null
    container=$(buildah from portolan)
    unshare --net buildah --storage-driver vfs --root "$STORAGE" --runroot "$work/run" \
        run --isolation chroot --volume "$manifest:/manifest.yaml:ro" "$container" -- \
        /usr/local/bin/portolan run --once -f /manifest.yaml --hostname-override node-a > "$work/log" 2>&1
}
size=$(du -sh "$root" | cut -f1)
run_with '"NET_ADMIN"' || { cat "$work/log" >&2; fail "NET_ADMIN is not enough"; }
! run_with '' || fail "it has more capabilities than it was given: this check is worth nothing"
grep -q 'CAP_NET_ADMIN is needed' "$work/log" || { cat "$work/log" >&2; fail "it does not say what it lacks"; }

say "no shell, no nft; $size in all; runs with NET_ADMIN alone, on a read-only root"

#!/bin/sh
# Packs a binary that is already built, unpacks the packages, and checks their contents and that the binary starts.
#
# BINARY is the binary to pack, target/debug/portolan by default. With DIST=DIRECTORY, checks the packages there.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "check-dist: $*" >&2; exit 1; }

if [ -z "${DIST:-}" ]; then
    DIST=$work/dist
    # Prefers speed to size.
    BINARY=${BINARY:-${CARGO_TARGET_DIR:-target}/debug/portolan} GZIP_LEVEL=1 docker/dist.sh "$DIST"
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
architecture=$(dpkg --print-architecture)
(cd "$DIST" && sha256sum --quiet --check SHA256SUMS) || fail "a checksum is wrong"
[ "$(cd "$DIST" && echo *)" = "SHA256SUMS portolan-$version-linux-$architecture.tar.gz portolan-$version.tgz portolan_${version}_$architecture.deb" ] ||
    fail "there are other packages than expected: $(ls "$DIST")"

commands=$(sed -n 's/^| `portolan \([a-z-]*\).*/\1/p' docs/commands.md | sort -u)
[ -n "$commands" ] || fail "docs/commands.md names no commands"

# Checks that the binary in tree $1 starts and that no file is missing; $2 is the licence's name, $3 the folder of zsh's
# completions.
check_tree() {
    [ "$("$1/bin/portolan" --version)" = "portolan $version" ] || fail "$1/bin/portolan is of another version"
    for file in share/bash-completion/completions/portolan "share/zsh/$3/_portolan" \
        share/fish/vendor_completions.d/portolan.fish lib/systemd/system/portolan.service "share/doc/portolan/$2" \
        share/doc/portolan/README.md share/doc/portolan/docs/limits.md share/doc/portolan/examples/config.conf \
        share/doc/portolan/copyright.libnftnl share/doc/portolan/copyright.libmnl; do
        [ -s "$1/$file" ] || fail "$1 has no $file"
    done
    cmp -s LICENSE "$1/share/doc/portolan/$2" || fail "$1 has another licence"
    for page in portolan $(echo "$commands" | sed 's/^/portolan-/'); do
        gzip -dcf "$1/share/man/man1/$page".1* | grep -q '^\.TH' || fail "$1 has no manual page $page"
    done
    # bash can load the completions.
    bash -c '. "$1" && complete -p portolan' bash "$1/share/bash-completion/completions/portolan" > /dev/null ||
        fail "$1: the completions of bash do not load"
    [ -z "$(find "$1" -perm /022)" ] || fail "$1 has files that others may write"
}

tar -xzf "$DIST/portolan-$version-linux-$architecture.tar.gz" -C "$work"
tree=$work/portolan-$version-linux-$architecture
check_tree "$tree" LICENSE site-functions
grep -q '^ExecStart=/usr/local/bin/portolan ' "$tree/lib/systemd/system/portolan.service" || fail "the unit starts something else"

deb=$DIST/portolan_${version}_$architecture.deb
dpkg-deb -x "$deb" "$work/deb"
check_tree "$work/deb/usr" copyright vendor-completions
grep -q '^ExecStart=/usr/bin/portolan ' "$work/deb/usr/lib/systemd/system/portolan.service" || fail "the package's unit starts something else"
[ "$(dpkg-deb -f "$deb" Version Architecture | sed 's/.*: //' | paste -sd' ')" = "$version $architecture" ] ||
    fail "the package is of another version or architecture"
# The package's dependencies are the libraries that its binary links, and are installed here.
depends=$(dpkg-deb -f "$deb" Depends)
for package in $(echo "$depends" | sed 's/([^)]*)//g; s/,/ /g'); do
    dpkg -s "$package" > /dev/null 2>&1 || fail "the package depends on $package, which is not installed"
done
echo "$depends" | grep -q 'libc6 (>= [0-9]' || fail "the package depends on no version of libc6: $depends"
[ -z "$(dpkg-deb -c "$deb" | awk '$2 != "root/root"')" ] || fail "the package has files of another owner"
# dpkg installs the package in a separate directory, without checking dependencies.
mkdir -p "$work/root/var/lib/dpkg/info" "$work/root/var/lib/dpkg/updates"
: > "$work/root/var/lib/dpkg/status"
dpkg --root="$work/root" --force-depends --force-not-root --force-script-chrootless --log=/dev/null -i "$deb" > "$work/log" 2>&1 ||
    { cat "$work/log" >&2; fail "dpkg does not install the package"; }
[ "$("$work/root/usr/bin/portolan" --version)" = "portolan $version" ] || fail "what dpkg installed does not start"
(cd "$work/root" && md5sum --quiet --check var/lib/dpkg/info/portolan.md5sums) || fail "the checksums of the package are wrong"

tar -xzf "$DIST/portolan-$version.tgz" -C "$work"
grep -qx "version: $version" "$work/portolan/Chart.yaml" || fail "the chart is of another version"
grep -qx "appVersion: $version" "$work/portolan/Chart.yaml" || fail "the chart installs another version"
packed=$(cd "$work/portolan" && find . -type f | sort)
wanted=$(cd docker/helm/portolan && find . -type f ! -path './examples/*' | sort)
[ "$packed" = "$wanted" ] || fail "the chart's package does not have the chart's files: $packed"

echo "check-dist: $(cd "$DIST" && echo portolan*)"

#!/bin/sh
# Packs a release for this machine's architecture: a tarball, a Debian package, the chart's package, checksums.
#
#   docker/dist.sh [DIRECTORY]     writes them to DIRECTORY, target/dist by default
#
# Needs cargo, a C compiler with binutils, pkg-config, libnftnl, libmnl and dpkg-deb. libnftnl and libmnl are linked
# statically if the system has their archives (Debian: libnftnl only); glibc and the rest are linked dynamically.
# PROFILE=dev builds faster. BINARY=FILE packs that binary and builds nothing. The same commit gives the same files.
set -eu
cd "$(dirname "$0")/.."
out=${1:-target/dist}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
architecture=$(dpkg --print-architecture)
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct 2> /dev/null || date +%s)}"
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# Prints a directory in which the linker finds only one library, as an archive if there is one.
alone() {
    mkdir -p "target/static/$1"
    system=$(pkg-config --variable=libdir "$1")
    for file in "$system/$1.a" "$system/$1.so"; do
        [ -e "$file" ] || continue
        ln -sf "$file" "target/static/$1/"
        echo "$PWD/target/static/$1"
        return
    done
    echo "dist: $1 is not in $system" >&2
    exit 1
}

if [ -z "${BINARY:-}" ]; then
    LIBNFTNL_LIB_DIR=$(alone libnftnl)
    LIBMNL_LIB_DIR=$(alone libmnl)
    export LIBNFTNL_LIB_DIR LIBMNL_LIB_DIR
    profile=${PROFILE:-release}
    # The commit that `portolan version` shows.
    PORTOLAN_COMMIT=$(git rev-parse HEAD 2> /dev/null || true)
    export PORTOLAN_COMMIT
    cargo build --locked --profile "$profile" --target-dir target/static --bin portolan
    BINARY=target/static/$(echo "$profile" | sed 's/^dev$/debug/')/portolan
fi

# Writes a tree for /usr or /usr/local.
tree() {
    install -D "$BINARY" "$1/bin/portolan"
    strip "$1/bin/portolan"
    mkdir -p "$1/share/man/man1" "$1/share/doc/portolan/docs"
    "$BINARY" man > "$1/share/man/man1/portolan.1"
    for command in $("$BINARY" help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' | grep -v '^help$'); do
        "$BINARY" man "$command" > "$1/share/man/man1/portolan-$command.1"
    done
    mkdir -p "$1/share/bash-completion/completions" "$1/share/zsh/site-functions" "$1/share/fish/vendor_completions.d"
    "$BINARY" completions bash > "$1/share/bash-completion/completions/portolan"
    "$BINARY" completions zsh > "$1/share/zsh/site-functions/_portolan"
    "$BINARY" completions fish > "$1/share/fish/vendor_completions.d/portolan.fish"
    install -D -m 644 docker/systemd/portolan.service "$1/lib/systemd/system/portolan.service"
    install -m 644 README.md CHANGELOG.md SECURITY.md LICENSE "$1/share/doc/portolan/"
    install -m 644 docs/*.md "$1/share/doc/portolan/docs/"
    # The licences of the libraries that the binary links.
    for library in libnftnl libmnl; do
        install -m 644 "/usr/share/doc/$library-dev/copyright" "$1/share/doc/portolan/copyright.$library"
    done
    install -D -m 644 docker/kustomize/base/config.conf "$1/share/doc/portolan/examples/config.conf"
}

# Writes an archive of a directory below $work. It depends only on the directory's files.
archive() {
    tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" "$1" |
        gzip --no-name "-${GZIP_LEVEL:-9}" > "$2"
}

mkdir -p "$out"
rm -f "$out"/portolan* "$out/SHA256SUMS"

name=portolan-$version-linux-$architecture
tree "$work/$name"
archive "$name" "$out/$name.tar.gz"

# The unit is written for /usr/local; a package installs to /usr.
deb=$work/deb
tree "$deb/usr"
sed -i 's#/usr/local/bin/#/usr/bin/#' "$deb/usr/lib/systemd/system/portolan.service"
mv "$deb/usr/share/zsh/site-functions" "$deb/usr/share/zsh/vendor-completions"
mv "$deb/usr/share/doc/portolan/LICENSE" "$deb/usr/share/doc/portolan/copyright"
gzip --no-name -9 "$deb"/usr/share/man/man1/*.1
mkdir "$deb/DEBIAN"
# Tries the path with and without /usr: dpkg's path of a library may differ from the linker's.
owner() { dpkg -S "$1" 2> /dev/null || dpkg -S "${1#/usr}" 2> /dev/null || dpkg -S "/usr$1"; }
packages=$(ldd "$BINARY" | sed -n 's#.*=> \(/[^ ]*\) .*#\1#p' | while read -r library; do owner "$library"; done | cut -d: -f1 | sort -u)
glibc=$(objdump -T "$BINARY" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -V | tail -n 1)
depends=$(for package in $packages; do
    [ "$package" = libc6 ] && echo "libc6 (>= $glibc)" || echo "$package"
done | paste -sd, | sed 's/,/, /g')
cat > "$deb/DEBIAN/control" << EOF
Package: portolan
Version: $version
Section: net
Priority: optional
Architecture: $architecture
Depends: $depends
Installed-Size: $(du -sk "$deb/usr" | cut -f1)
Maintainer: Portolan maintainers <maintainers@portolan.invalid>
Homepage: $(sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml)
Description: Kubernetes service proxy whose nftables rules never grow
 Portolan runs on each node of a Kubernetes cluster and makes Services work
 there, in place of kube-proxy. It also renders, compares and applies the rules
 of manifests without a cluster.
 .
 The systemd unit is not enabled: it needs /etc/portolan/config.conf, for which
 there is an example in /usr/share/doc/portolan/examples.
EOF
cat > "$deb/DEBIAN/postinst" << 'EOF'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
EOF
# The rules stay, so that Services keep working; `portolan cleanup` removes them while the package is installed.
cat > "$deb/DEBIAN/prerm" << 'EOF'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --now portolan.service || true; fi
EOF
chmod 755 "$deb/DEBIAN/postinst" "$deb/DEBIAN/prerm"
(cd "$deb" && find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums)
dpkg-deb --root-owner-group "-Zgzip" "-z${GZIP_LEVEL:-9}" --build "$deb" "$out/portolan_${version}_$architecture.deb" > /dev/null

# The same as `helm package`: one folder with the chart's name, without the files that .helmignore names.
mkdir "$work/chart"
cp -r docker/helm/portolan "$work/chart/"
(cd "$work/chart/portolan" && sed '/^#/d; /^$/d' .helmignore | xargs rm -r)
chart=$(sed -n 's/^version: //p' docker/helm/portolan/Chart.yaml)
tar --create --directory "$work/chart" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" portolan |
    gzip --no-name -9 > "$out/portolan-$chart.tgz"

(cd "$out" && sha256sum portolan* > SHA256SUMS)

#!/bin/sh
# Sets up everything `make demo` and `make test` need: Debian packages, a virtual environment, pinned Python packages.
# Usage: tools/setup.sh [LIST ...]   (lists of Debian packages; default tools/setup_packages.txt)
set -eu
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- tools/setup_packages.txt

missing=""
for package in $(sed 's/#.*//' "$@"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    root=""
    [ "$(id -u)" = 0 ] || root="sudo"
    echo "setup: installing Debian packages:$missing"
    $root apt-get update -q >/dev/null
    # shellcheck disable=SC2086
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
fi

if [ ! -x .venv/bin/python ]; then
    echo "setup: making the virtual environment .venv"
    python3 -m venv .venv
fi
stamp=.venv/installed
if [ ! -f "$stamp" ] || ! cat requirements.txt requirements-dev.txt | cmp -s - "$stamp"; then
    echo "setup: installing the pinned Python packages (a minute or two)"
    .venv/bin/pip install -q --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
    cat requirements.txt requirements-dev.txt > "$stamp"
fi

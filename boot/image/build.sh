#!/bin/sh
# Builds build/image/tacet-arm64.img unattended; arguments go to the builder (--arch amd64, --out DIR).
set -eu
cd "$(dirname "$0")/../.."
tools/setup.sh tools/setup_packages_image.txt
exec .venv/bin/python -m boot.image.build "$@"

#!/bin/sh
# SPDX-License-Identifier: MIT
# Install what a part of the project needs, where it is missing, and say so: deps.sh build|test|lint|interop
set -eu
cd "$(dirname "$0")/.."

build="build-essential cmake pkg-config libuv1-dev libssl-dev uthash-dev libjansson-dev libpopt-dev zlib1g-dev libdnnl-dev"
test="clang libclang-rt-14-dev libcmocka-dev libmsgpack-dev libprotobuf-c-dev protobuf-c-compiler"
interop="python3 python3-venv python3-torch libopenblas0-pthread"

case "${1:-}" in
build) want=$build ;;
test) want="$build $test" ;;
lint) want="$build $test clang-tidy clang-format" ;;
interop) want="$build $interop" ;;
*) echo "usage: cmake/deps.sh build|test|lint|interop" >&2; exit 2 ;;
esac

missing=""
for package in $want; do
    state=$(dpkg-query -W -f '${Status}' "$package" 2> /dev/null || true)
    [ "$state" = "install ok installed" ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
    sudo=""
    if [ "$(id -u)" != 0 ]; then
        command -v sudo > /dev/null || { echo "deps: as root, run: apt-get install$missing" >&2; exit 1; }
        sudo=sudo
    fi
    echo "deps: installing with apt-get:$missing"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing > /dev/null
fi

[ "$1" = interop ] || exit 0
# Left unfinished, the environment has no mark and is made again.
[ -f build/venv/ready ] && [ build/venv/ready -nt cmake/interop-requirements.txt ] && exit 0
echo "deps: making build/venv with hivemind 1.1.12"
/usr/bin/python3 -m venv --clear --system-site-packages build/venv
build/venv/bin/pip install --quiet --disable-pip-version-check --no-deps hivemind==1.1.12
build/venv/bin/pip install --quiet --disable-pip-version-check -r cmake/interop-requirements.txt
touch build/venv/ready

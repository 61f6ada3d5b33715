#!/usr/bin/env bash
# Installs what the engine or the tests need from Debian, as far as this user may: nothing where all is there.
#
#     deploy/system_packages.sh engine    libnuma, which vLLM's CPU build is linked against
#     deploy/system_packages.sh test      that, and what tests use for real: Prometheus, Chromium, g++, PostgreSQL
#
# Without root or apt it says what is missing and goes on: the tests that need it are then skipped, and say so.
set -euo pipefail

packages=()
python3 -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || packages+=(libnuma1)
if [ "${1:-}" = test ]; then
    command -v prometheus >/dev/null || packages+=(prometheus)
    command -v chromium >/dev/null || packages+=(chromium)
    command -v g++ >/dev/null || packages+=(g++)
    compgen -G "/usr/lib/postgresql/*/bin/postgres" >/dev/null || packages+=(postgresql)
fi
((${#packages[@]})) || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${packages[*]}"
    apt-get update --quiet --quiet
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --quiet --no-install-recommends "${packages[@]}"
else
    echo "missing, and not installable by this user: ${packages[*]} (as root: apt-get install ${packages[*]})" >&2
fi

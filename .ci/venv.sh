# SPDX-License-Identifier: Apache-2.0
# Makes a virtual environment and installs this package into it, or says plainly what is missing.
#
#   sh .ci/venv.sh FOLDER EXTRA [PYTHON]
set -eu

folder=$1
extra=$2
python=${3:-}
missing=0

need() { # what it is, Debian package, macOS command
    echo "Missing: $1" >&2
    echo "    Debian, Ubuntu:  sudo apt-get install $2" >&2
    echo "    macOS:           $3" >&2
    missing=1
}

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "$python" ]; then
    if ! new_enough "$python"; then
        echo "PYTHON=$python does not run or is older than 3.11" >&2
        exit 1
    fi
else
    for candidate in python3 python3.13 python3.12 python3.11 python3.14; do
        if new_enough "$candidate"; then
            python=$candidate
            break
        fi
    done
fi

if [ -z "$python" ]; then
    need "Python 3.11 or later" "python3 python3-venv" "brew install python"
elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    need "Python's venv module" "python3-venv" "brew install python"
fi
# Run, not only found: on macOS stubs stand in for tools that are not installed.
cc --version >/dev/null 2>&1 || gcc --version >/dev/null 2>&1 || clang --version >/dev/null 2>&1 ||
    need "a C compiler" "gcc libc6-dev" "xcode-select --install"
c++ --version >/dev/null 2>&1 || g++ --version >/dev/null 2>&1 || clang++ --version >/dev/null 2>&1 ||
    need "a C++ compiler" "g++" "xcode-select --install"
make --version >/dev/null 2>&1 || need "make" "make" "xcode-select --install"
perl -e 1 >/dev/null 2>&1 || need "perl, which runs Verilator" "perl" "brew install perl"
[ "$missing" = 0 ] || exit 1

if [ ! -x "$folder/bin/python" ]; then
    echo "Making a virtual environment in $folder with $python"
    "$python" -m venv "$folder"
fi
refused() {
    echo "The packages could not be installed: pip's message stands above. It needs a package" >&2
    echo "index (pypi.org, or one set in pip's configuration); then run make again." >&2
    exit 1
}

install() { # what pip shall install
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-compile "$@" || refused
}

echo "Installing ohmtwin[$extra] into $folder; the first time this takes a minute or two"
install --editable ".[$extra]"
# The reference for wire networks, without its drawing: pycairo would have to be compiled.
[ "$extra" != dev ] || install --no-deps badcrossbar==1.1.0

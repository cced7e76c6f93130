#!/bin/sh
# Make .venv and install guerdon there with pinned packages; at once done when that is the state already.
#
#   sh scripts/setup.sh demo    what `make demo` needs
#   sh scripts/setup.sh test    that and the tools of `make test`
#
# PYTHON       the interpreter to use; unset, the newest of the usual names
# TORCH_INDEX  the package index to take torch from; unset, the one pip uses for everything
set -eu
cd "$(dirname "$0")/.."

torch=2.13.0
level=${1:-}
case $level in
    demo) extras=text,feedback rest='145 MB' levels='demo test' ;; # an environment for tests serves the demo too
    test) extras=text,feedback,encoder,molecules,pictures,control,dev,docs,tensorboard rest='510 MB' levels='test' ;;
    *) echo "usage: sh scripts/setup.sh demo|test" >&2 && exit 2 ;;
esac

say() { printf 'guerdon: %s\n' "$*"; }
stop() { say "$*" >&2 && exit 2; }

# Full version of an interpreter; empty where it does not run.
version() { "$1" -c 'import sys; print(sys.version)' 2>/dev/null || true; }

# What the environment was made from.
key() {
    { version .venv/bin/python && echo "${TORCH_INDEX:-}" && pwd -P && cat pyproject.toml constraints.txt scripts/setup.sh; } | cksum
}

torch_version() { .venv/bin/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null || true; }

find_python() {
    no_venv=
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3 python; fi
    for candidate; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        "$candidate" -c 'import ensurepip, venv' 2>/dev/null && python=$candidate && return
        no_venv=$candidate
    done
    [ -z "$no_venv" ] || stop "$no_venv cannot make a virtual environment; type: apt install ${no_venv##*/}-venv (Debian)"
    stop "needs Python 3.11 or newer (tried: $*); type: apt install python3.11 python3-venv (Debian), brew install python (macOS)"
}

# pip takes back what it began when it fails by itself (status 1): the environment is then as it was. After anything else
# (Ctrl-C, a kill, no power) .venv/busy stays, and the next call starts afresh.
install() {
    status=0
    .venv/bin/python -m pip install --no-input --disable-pip-version-check $quiet "$@" </dev/null || status=$?
    [ "$status" -ne 0 ] || return 0
    [ "$status" -ne 1 ] || rm -f .venv/busy
    stop "pip could not install $what (see above); mend the cause and repeat the command"
}

if [ -f .venv/busy ]; then
    other=$(cat .venv/busy)
    if [ -n "$other" ] && kill -0 "$other" 2>/dev/null; then
        stop "process $other is making .venv; wait for it (or, if it is something else: rm -r .venv)"
    fi
    say "the last set-up was interrupted; starting afresh" && rm -rf .venv
fi

if [ -d .venv ]; then
    have=$(version .venv/bin/python)
    if [ -z "$have" ]; then
        say ".venv does not work any more; making it anew" && rm -rf .venv
    elif [ -n "${PYTHON:-}" ] && [ "$have" != "$(version "$PYTHON")" ]; then
        find_python # before anything is removed
        say ".venv has Python ${have%% *}; making it anew with $PYTHON" && rm -rf .venv
    fi
fi

now=$(key)
for mark in $levels; do
    if [ -f ".venv/done-$mark" ] && [ "$(cat ".venv/done-$mark")" = "$now" ]; then exit 0; fi
done

if [ -f .venv/place ] && [ "$(cat .venv/place)" != "$(pwd -P)" ]; then # a virtual environment has its place written inside
    say "this folder was moved; making .venv anew" && rm -rf .venv
fi

[ -d .venv ] || find_python
mkdir -p .venv
echo $$ >.venv/busy
trap 'exit 130' INT  # after pip has ended, with .venv/busy left behind
trap 'exit 143' TERM
pwd -P >.venv/place
for mark in .venv/done-*; do
    [ "$(cat "$mark" 2>/dev/null)" = "$now" ] || rm -f "$mark"
done
if [ ! -x .venv/bin/python ]; then
    say "making .venv with $("$python" --version)"
    "$python" -m venv .venv
fi

quiet=-qq
[ ! -t 1 ] || quiet= # a progress bar for people, silence for logs

# torch first and alone: asked for among others, pip is free to take another build of it.
case $(torch_version) in
    "$torch" | "$torch"+*) ;;
    *)
        case $(uname -s) in
            Darwin) size='110 MB' ;;
            *) size='2.6 GB with CUDA; 190 MB with TORCH_INDEX set to the index of CPU builds that pytorch.org names' ;;
        esac
        say "downloading torch $torch: $size"
        what="torch $torch"
        if [ -n "${TORCH_INDEX:-}" ]; then
            install "torch==$torch" --index-url "$TORCH_INDEX" # such an index lacks some pins; the next step sets them
        else
            install "torch==$torch" -c constraints.txt
        fi
        ;;
esac
build=$(torch_version)
say "downloading other packages: $rest, less what is here or in the cache of pip"
what="guerdon[$extras]"
install -e ".[$extras]" -c constraints.txt
if [ "$level" = test ]; then # its numbers alone are read; the old gym that it asks for is not wanted
    what=icu-sepsis
    install --no-deps icu-sepsis==2.0.1
fi
[ "$(torch_version)" = "$build" ] || stop "torch $build became $(torch_version) while pip installed $what; see what in pyproject.toml asks for it"

key >".venv/done-$level"
rm .venv/busy
say "ready"

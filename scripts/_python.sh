# Sourced by the scripts: finds a Python that can make the environment, tells what is missing where there is none.
# Candidates are tried, not only looked up: a version manager's shim may exist and yet fail.
#
#     find_python NAME    sets $python, or prints one line that begins with NAME and exits with status 1

find_python() {
    without_venv=
    for python in python3.13 python3.12 python3.11 python3 python; do
        "$python" -I -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1 || continue
        "$python" -I -c 'import ensurepip, venv' >/dev/null 2>&1 && return
        without_venv=${without_venv:-$python}
    done
    if [ -n "$without_venv" ]; then
        version=$("$without_venv" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        echo "$1: Python $version has no venv: install the package python3-venv (Debian, Ubuntu: apt install python$version-venv)" >&2
    else
        echo "$1: needs Python 3.11, 3.12 or 3.13 on PATH, found $(python3 -V 2>/dev/null || echo none)" >&2
    fi
    exit 1
}

# Sourced by the scripts, which set $here to their folder and $root to the repository.
#
#     enter NAME FOLDER SETS ARGUMENT...    continue if the environment FOLDER holds SETS; otherwise install them and
#                                           restart the script NAME. Descriptor 9 protects the environment from removal
#                                           until the script, or the command that it becomes, has ended (_install.py).
#     find_python NAME                      set $python to one that can create the environment, or print one line that
#                                           begins with NAME and exit with status 1

enter() {
    name=$1 folder=$2 sets=$3
    shift 3
    # With `command`, a missing folder does not end the shell.
    { command exec 9<"$root/$folder" || exec 9<&-; } 2>/dev/null
    "$root/$folder/bin/python" -I -S "$here/_install.py" --into "$folder" --ready $sets 2>/dev/null && return
    find_python "$name"
    exec "$python" -I "$here/_install.py" --into "$folder" $sets -- "$here/$name" "$@"
}

# Each candidate is run, because the shim of a version manager may exist and still fail.
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

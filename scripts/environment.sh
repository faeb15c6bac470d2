# Sourced by the scripts beside it: makes .venv from requirements.lock and activates it.
# Nothing is installed when the lock and pyproject.toml are those of the last time.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed; set PYTHON to its path." >&2
    return 1
}

make_environment() {
    local python
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        echo "Making .venv with $("$python" --version) ..." >&2
        "$python" -m venv --clear .venv
    fi
    if ! cat requirements.lock pyproject.toml | cmp -s - .venv/installed; then
        echo "Installing the pinned versions into .venv (some minutes the first time) ..." >&2
        rm -f .venv/installed
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --no-deps --no-build-isolation --editable .
        # Written last, so that an interrupted installation is taken up again.
        cat requirements.lock pyproject.toml >.venv/installed
    fi
    export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH"
    unset PYTHONHOME PYTHONPATH
}

make_environment </dev/null

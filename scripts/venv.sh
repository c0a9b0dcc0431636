# Sourced by the other scripts: make the project's virtual environment and install what is asked for.
# usage: prepare EXTRAS      for example: prepare "[test]"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "fedbank needs Python 3.11 or newer; set PYTHON to one." >&2
  exit 2
}

prepare() {
  local begin=$SECONDS stamp=".venv/.installed$1"
  if [ ! -x .venv/bin/python ]; then
    "$(find_python)" -m venv .venv || { echo "The venv module is missing: on Debian, apt-get install python3-venv." >&2; exit 2; }
  fi
  if [ ! -f "$stamp" ] || [ -n "$(find pyproject.toml fedbank/native -newer "$stamp" -type f)" ]; then
    command -v "${CXX:-g++}" > /dev/null || { echo "A C++ compiler is missing: on Debian, apt-get install g++." >&2; exit 2; }
    echo "Installing fedbank$1 into .venv ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
    touch "$stamp"
    echo "Installed in $((SECONDS - begin)) s."
  fi
}

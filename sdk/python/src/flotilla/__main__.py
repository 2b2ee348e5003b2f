"""`python -m flotilla FILE`: runs the agent that a file has."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from flotilla.agent import BaseAgent


def main() -> None:
    """Finds the agent and runs it; what follows the file is the agent's to read."""
    parser = argparse.ArgumentParser(prog="python -m flotilla", description=__doc__)
    parser.add_argument("file", type=Path, help="the file with a subclass of BaseAgent")
    parser.add_argument("--class", dest="kind", help="which, if it has several")
    asked, rest = parser.parse_known_args()
    if not asked.file.is_file():
        parser.error(f"{asked.file}: no such file")
    sys.path.insert(0, str(asked.file.resolve().parent))
    found = {
        name: kind
        for name, kind in runpy.run_path(str(asked.file)).items()
        if isinstance(kind, type) and issubclass(kind, BaseAgent) and kind is not BaseAgent
    }
    if asked.kind is not None:
        found = {name: kind for name, kind in found.items() if name == asked.kind}
    if len(found) != 1:
        parser.error(f"{asked.file}: {', '.join(sorted(found)) or 'no'} subclasses of BaseAgent, one is needed; --class says which")
    next(iter(found.values())).run(rest)


if __name__ == "__main__":
    main()

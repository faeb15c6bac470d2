"""What `scripts/survival` plants in the package."""

import importlib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_lines_that_mistakes_are_planted_in_are_there(monkeypatch):
    """Two were gone, and nothing was planted for them."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "survival"))
    mutants = importlib.import_module("mutants").MUTANTS
    counts = {m.what: (ROOT / "pyrovae" / m.file).read_text().count(m.old) for m in mutants}
    assert counts == dict.fromkeys(counts, 1)

"""Notebooks run from top to bottom on a small budget, and what is stored of them can be read as it is."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
PICTURES = ("image/png", "image/svg+xml")


def read(name):
    return nbformat.read(FOLDER / name, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_they_are_ten_or_fewer_and_numbered():
    assert 1 <= len(NOTEBOOKS) <= 10
    assert [int(name[:2]) for name in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_top_to_bottom(name, monkeypatch):
    for variable, value in {
        "PYROVAE_BUDGET": "small",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(FOLDER.parent),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",  # figures become outputs
    }.items():
        monkeypatch.setitem(os.environ, variable, value)
    notebook = read(name)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(FOLDER)}})
    client.execute()
    assert any(kind in output.get("data", {}) for output in outputs(notebook) for kind in PICTURES)
    # What a library is about to refuse.
    said = [o.text for o in outputs(notebook) if o.get("name") == "stderr"]
    assert not re.search(r"(?:Deprecation|Future|Pandas\d)Warning", "".join(said))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_opens_with_a_question_and_closes_with_what_was_seen(name):
    cells = read(name).cells
    heading = cells[0].source.splitlines()[0]
    assert heading.startswith(f"# {int(name[:2])} · ")
    assert heading.endswith("?")
    assert cells[-1].source.startswith("## What was seen")
    assert "**Read on.**" in cells[-1].source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_stored_with_its_outputs_and_no_others(name):
    notebook = read(name)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) >= 2
    kinds = {(output.output_type, output.get("name")) for output in outputs(notebook)}
    assert kinds <= {("stream", "stdout"), ("display_data", None), ("execute_result", None)}
    assert (FOLDER / name).stat().st_size < 1_000_000
    # Run in full, not on the small budget of the test above, and nothing of the machine it ran on.
    text = (FOLDER / name).read_text()
    assert re.findall(r"/(?:home|root|tmp|work|Users)/", text) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_model_code_is_in_the_package_and_links_lead_somewhere(name):
    notebook = read(name)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert re.findall(r"^class |pyro\.sample|nn\.Module|nn\.Linear", source, flags=re.M) == []
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    linked = re.findall(r"\]\(([^)#]+\.ipynb)\)", prose)
    assert all((FOLDER / target).exists() for target in linked)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_has_a_small_picture(name):
    picture = FOLDER / "pictures" / name.replace(".ipynb", ".png")
    assert picture.stat().st_size < 80_000

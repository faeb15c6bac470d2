"""Print the tables of all papers from their JSON files, and draw how far the cells of one got.

python scripts/tables/show.py
python scripts/tables/show.py --curves burda2016
"""

import argparse
import json

import cremer2018
from recording import RESULTS, text

from pyrovae.plots import curves

NAMES = ("burda2016", "li_turner2016", "rainforth2018")


def draw(name: str) -> None:
    """Training bounds by passes, with log p(x) of the test images where each ended."""
    lines, path = {}, RESULTS / f"{name}.json"
    for cell, found in json.loads(path.read_text()).items():
        for run in found.get("runs", {}).values():
            passes, bounds = zip(*run["curve"], strict=True)
            lines[f"{cell}: log p(x) {run['log p']:.2f}"] = (passes, bounds)
    axes = curves(lines, "passes over the training images", "training bound [nats]", log="x")
    axes.set_ylim(bottom=-117)
    axes.figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--curves", choices=NAMES, help="also draw these, into scripts/results")
    chosen = parser.parse_args().curves
    for name in NAMES:
        path = RESULTS / f"{name}.json"
        if path.exists():
            print(f"{name}\n\n{text(path)}\n")
    if (path := RESULTS / "cremer2018.json").exists():
        print(f"cremer2018, nats per image\n\n{cremer2018.text(path)}\n")
    if chosen:
        draw(chosen)

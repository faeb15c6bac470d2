"""The page is whole, loads nothing, and is made from whatever runs have written."""

from __future__ import annotations

import html.parser
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pyrovae import report
from pyrovae.records import OutputFolder, Record, RunFolder
from pyrovae.report.entries import compare
from pyrovae.report.plots import _draw_gaps, _rows, colours, lower_limit
from pyrovae.report.svg import DARK, PALETTE

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Reads a page and refuses one whose elements do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "text"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(folder: OutputFolder) -> Page:
    path = report.write(folder.path)
    assert path == folder.report_path
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(folder: OutputFolder) -> Page:
    return page(folder)


@pytest.fixture
def one(tmp_path: Path) -> RunFolder:
    """A run in a folder of its own, started."""
    run = OutputFolder.claim(tmp_path / "out").run("vae-0")
    run.start("seed: 0\n")
    return run


def of(run: RunFolder) -> OutputFolder:
    return OutputFolder.open(run.path.parent.parent)


def finish(run: RunFolder, **changes: Any) -> None:
    record = {"name": run.name, "status": "finished", "model": "VAE", "test_log_evidence": 1.0}
    run.write_record({**record, **changes})


def test_nothing_is_loaded_and_nothing_runs(whole: Page, folder: OutputFolder) -> None:
    text = folder.report_path.read_text(encoding="utf-8")
    told = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]*", "", text)
    assert re.findall(r"https?:|//[a-z]|@import|<script|javascript:", told) == []
    addresses = [a[key] for _, a in whole.tags for key in ("src", "href", "srcset") if key in a]
    assert all(address and address.startswith(("data:", "#")) for address in addresses)
    assert all(a.startswith("#") for a in re.findall(r"url\(([^)]*)\)", text))
    assert not any(key.startswith("on") for _, attributes in whole.tags for key in attributes)


def test_every_inner_reference_is_there_once(whole: Page) -> None:
    ids = [a["id"] for _, a in whole.tags if "id" in a]
    assert len(ids) == len(set(ids))
    aims = [a["href"] for _, a in whole.tags if (a.get("href") or "").startswith("#")]
    assert {str(aim)[1:] for aim in aims} <= set(ids)


def test_all_parts_are_there(whole: Page) -> None:
    for heading in (
        "Digits, dequantized",
        "VAE explains unseen data best: 83.90 nats per datapoint",
        "Most evidence is lost by PerDatapoint with IWAE on VAE",
        "Evidence, and what inference loses of it",
        "Evidence against cost",
        "Training",
        "A sample from",
        "Reconstructions",
        "The latent space",
        "Mixture components and the clusters they found",
        "Every run",
        "How to read this",
        "How this was run",
        "torch 2.13.0",
        "Objective Renyi alpha = 0.5",
        "guide: PerDatapoint",
    ):
        assert heading in whole.text


def test_every_picture_is_told_in_words(whole: Page) -> None:
    images = whole.all("img")
    assert len(images) > 50
    assert all(image["alt"] for image in images)
    figures = whole.all("svg")
    assert len(figures) >= 6
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in figures)


def test_every_figure_has_units_on_its_axes(whole: Page, folder: OutputFolder) -> None:
    text = folder.report_path.read_text(encoding="utf-8")
    for label in (
        "nats per datapoint (larger is better)",
        "log evidence (nats per datapoint)",
        "training time (seconds, log scale)",
        "bound (nats)",
        "seconds of training",
        "steps",
        "first principal direction",
    ):
        assert f">{label}</text>" in text


def test_figures_take_their_colours_from_the_page(whole: Page, folder: OutputFolder) -> None:
    text = folder.report_path.read_text(encoding="utf-8")
    figures = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    assert re.findall(r"#[0-9a-f]{6}", figures) == []
    used = set(re.findall(r"var\(--(\w+)\)", text))
    assert used <= PALETTE.keys() == DARK.keys()


def contrast(one: str, other: str) -> float:
    """The ratio of luminances that the accessibility guidelines (WCAG 2) define."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("palette", [PALETTE, DARK], ids=["light", "dark"])
def test_colours_can_be_told_from_the_paper(palette: dict[str, str]) -> None:
    for key, colour in palette.items():
        least = {"paper": 1, "line": 1, "ink": 12, "soft": 4.5}.get(key, 3)
        assert contrast(colour, palette["paper"]) >= least, key


def test_several_seeds_are_one_row(seeds_folder: OutputFolder) -> None:
    text = page(seeds_folder).text
    assert "0, 1, 2" in text
    assert "of several seeds, the first" in text
    assert "vae-amortized-iwae-seed2" in text


def test_a_run_that_wrote_no_pictures_and_no_metrics(one: RunFolder) -> None:
    finish(one)
    text = page(of(one)).text
    assert "VAE explains unseen data with a log evidence of 1.00" in text
    for absent in ("What the models draw", "Reconstructions", "The latent space", "Every run"):
        assert absent not in text


def test_failed_and_unfinished_runs_are_told(one: RunFolder) -> None:
    of(one).run("other").start("")
    one.write_record({"name": one.name, "status": "failed", "error": "Features: <b>64</b> not 3."})
    text = page(of(one)).text
    assert "vae-0: failed (Features: <b>64</b> not 3.)" in text
    assert "other: unfinished" in text
    assert "No run has finished" in text


def test_text_of_users_stays_text(one: RunFolder) -> None:
    finish(one, model="<script>alert(1)</script>", train_seconds=1.0, test_elbo=0.0)
    one.append_metrics([{"step": s, "seconds": s, "train_bound": s} for s in (1, 2, 3)])
    assert not page(of(one)).all("script")


@pytest.mark.parametrize(
    "arrays",
    [
        {"samples": np.zeros((4, 63))},
        {"samples": np.zeros((0, 64)), "sample_means": np.zeros(64)},
        {"samples": np.full((4, 64), np.nan)},
        {"test_images": np.zeros((3, 64)), "reconstructions": np.full((2, 64), np.inf)},
        {"latent_2d": np.zeros((1, 2))},
        {"latent_2d": np.full((5, 2), np.nan)},
        {"latent_2d": np.eye(2), "latent_labels": np.zeros(7)},
        {"latent_2d": np.random.default_rng(0).normal(size=(9, 2))},
        {"component_means": np.zeros((2, 64))},
        {"component_means": np.zeros((2, 64)), "component_weights": np.ones(3)},
        {
            "component_means": np.zeros((2, 64)),
            "component_weights": np.array([np.nan, 1.0]),
            "component_examples": np.full((2, 3, 64), np.nan),
            "component_labels": np.zeros((2, 10), int),
        },
        {"test_log_evidence": np.full(5, -np.inf)},
    ],
    ids=lambda arrays: "+".join(arrays),
)
def test_odd_arrays_do_no_harm(one: RunFolder, arrays: dict[str, Any]) -> None:
    finish(one, data={"name": "digits", "shape": [8, 8]})
    one.write_arrays(arrays)
    page(of(one))


def test_data_that_are_no_images(one: RunFolder) -> None:
    finish(one, data={"name": "table", "shape": [64]})
    one.write_arrays({"samples": np.zeros((4, 64)), "latent_2d": np.eye(2)})
    text = page(of(one)).text
    assert "What the models draw" not in text
    assert "The latent space" in text


@pytest.mark.parametrize("missing", [np.nan, 0.25])
def test_images_of_other_values_are_seen_in_the_scale_of_the_test_images(
    one: RunFolder, missing: float
) -> None:
    images = np.linspace(0, 1, 32).reshape(2, 16)
    images[0, 3] = missing
    finish(one, data={"shape": [4, 4]})
    pages = []
    for low, high in ((0, 1), (0, 255), (-3, 2)):
        scaled = low + (high - low) * images
        one.write_arrays({"test_images": scaled, "samples": scaled, "reconstructions": scaled})
        pages.append(page(of(one)).all("img"))
    assert len(pages[0]) == 2
    assert pages[1] == pages[0]
    assert pages[2] == pages[0]


@pytest.mark.filterwarnings("error")
def test_long_names_leave_room_for_the_figures(one: RunFolder) -> None:
    folder = of(one)
    for model in "ab":
        run = folder.run(model)
        run.start("seed: 0\n")
        parts = {"model": model + 150 * "m", "guide": 150 * "g", "objective": 150 * "o"}
        finish(run, **parts, test_elbo=0.5, train_seconds=3.0)
        run.append_metrics([{"step": i, "seconds": i, "train_bound": i} for i in range(3)])
    text = page(folder).text
    assert 150 * "g" in text  # in the table
    drawn = re.findall(r"<text[^>]*>([^<]*)</text>", folder.report_path.read_text(encoding="utf-8"))
    assert any("…" in words for words in drawn)
    assert max(map(len, drawn)) < 80


def test_what_lies_beyond_the_edge_is_an_arrowhead() -> None:
    values = [(0.0, -1.0), (-0.5, -1.5), (-1.0, -1e9), (-1e8, -1e9)]
    records = [
        Record(name=f"{i}", model=f"{i}", test_log_evidence=evidence, test_elbo=elbo)
        for i, (evidence, elbo) in enumerate(values)
    ]
    axes = Figure().add_subplot()
    (comparison,) = compare(records)
    _draw_gaps(axes, _rows(comparison), colours(comparison), narrow=False)
    marks = [str(line.get_marker()) for line in axes.get_lines()]
    assert [marks.count(mark) for mark in "o<"] == [5, 3]


def test_a_run_gone_wrong_does_not_flatten_the_figure() -> None:
    assert lower_limit([83.0, 80.0, 61.0, 54.0, -1e9]) == 54.0
    assert lower_limit([1.0]) == 1.0


def test_two_data_sets_are_two_parts(one: RunFolder) -> None:
    finish(one, data={"name": "digits", "form": "binary"})
    other = of(one).run("other")
    other.start("")
    finish(other, data={"name": "digits", "form": "dequantized"})
    whole = page(of(one))
    assert len(whole.all("h1")) == 2
    assert {"d0", "d1"} <= {a.get("id") for _, a in whole.tags}


def test_a_folder_without_runs_is_refused_and_one_with_none_yet_is_not(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an output folder"):
        report.write(tmp_path)
    folder = OutputFolder.claim(tmp_path / "out")
    assert "There are no runs here yet." in page(folder).text


def test_the_same_records_make_the_same_page(one: RunFolder) -> None:
    finish(one, test_elbo=0.5, train_seconds=1.0)
    one.write_arrays({"latent_2d": np.eye(2), "latent_labels": np.array([0, 1])})
    first = report.write(of(one).path).read_bytes()
    assert report.write(of(one).path).read_bytes() == first

"""Reports: one self-contained HTML page for a run, and one for a comparison."""

from __future__ import annotations

from pathlib import Path

from softmine.reports.comparison_page import compare_page
from softmine.reports.page import write_page
from softmine.reports.run_page import fit_page


def write_fit_report(run: Path) -> Path:
    """Writes ``report.html`` into a run folder, and returns its path: result, images, curves, settings.

    Only ``config.json`` is needed; the page leaves out what the run did not record.

    Raises:
        SoftmineError: the folder or ``config.json`` is missing or damaged, or the page cannot be written.
    """
    return write_page("fit.html", fit_page(run), run / "report.html")


def write_compare_report(folder: Path) -> Path:
    """Writes ``report.html`` into a comparison's folder, and returns its path: winner, table, curves, images by sampler.

    Only ``results.json`` is needed.

    Raises:
        SoftmineError: the folder or ``results.json`` is missing or damaged, or the page cannot be written.
    """
    return write_page("compare.html", compare_page(folder), folder / "report.html")

"""Reports: one self-contained HTML page for a run, and one for a comparison."""

from __future__ import annotations

from pathlib import Path

from softmine.reports.comparison_page import compare_page
from softmine.reports.page import write_page
from softmine.reports.run_page import fit_page


def write_fit_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder: result, pictures, curves, settings.

    Only ``config.json`` is needed; the page leaves out what the run did not record.

    Args:
        run: a run folder with ``config.json``, and ``metrics.jsonl``, ``status.json`` and
            ``images/`` if they were written.

    Returns:
        The path of the page.

    Raises:
        SoftmineError: the folder or ``config.json`` is missing or damaged, or the page
            cannot be written.
    """
    run = Path(run)
    return write_page("fit.html", fit_page(run), run / "report.html")


def write_compare_report(folder: Path) -> Path:
    """Write ``report.html`` into a comparison's folder: winner, table, curves, pictures by sampler.

    Args:
        folder: a folder with ``results.json``, and the pictures it names if they were written.

    Returns:
        The path of the page.

    Raises:
        SoftmineError: the folder or ``results.json`` is missing or damaged, or the page
            cannot be written.
    """
    folder = Path(folder)
    return write_page("compare.html", compare_page(folder), folder / "report.html")

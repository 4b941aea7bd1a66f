"""Examples in docstrings run and print what they say."""

import doctest
import importlib
import io
import pkgutil

import pytest
import torch

import softmine

NEEDS_TRITON = "softmine.kernels.triton."


def examples():
    """Every docstring with an example, of all modules that can be imported here."""
    names = [module.name for module in pkgutil.walk_packages(softmine.__path__, "softmine.")]
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in names:
        if name.startswith(NEEDS_TRITON) or name.endswith("__main__"):
            continue
        for found in finder.find(
            importlib.import_module(name), extraglobs={"softmine": softmine, "torch": torch}
        ):
            if found.examples:
                yield found


FOUND = list(examples())


@pytest.mark.parametrize("example", FOUND, ids=[each.name for each in FOUND])
def test_an_example_runs(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = io.StringIO()
    failed = doctest.DocTestRunner(verbose=False).run(example, out=said.write).failed
    assert not failed, said.getvalue()


def test_what_people_build_has_an_example():
    named = {each.name for each in FOUND}
    for part in (softmine.QuotaMap, softmine.Langevin, softmine.auto, softmine.Image, softmine.optim.RowAdam):
        assert f"{part.__module__}.{part.__qualname__}" in named

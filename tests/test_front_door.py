"""What the README, the examples and the checks promise."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import softmine

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "softmine"

# A room may import those that are named, and itself: arrows go one way.
GROUND = {"domain", "checks", "errors", "masks", "formatting"}
ROOMS = GROUND | {"kernels", "sampling", "optim", "fields", "signals", "baselines", "radiance", "registry"}
ALLOWED = {
    "errors": set(),
    "formatting": set(),
    "checks": {"errors"},
    "masks": {"errors"},
    "domain": {"errors", "masks"},
    "kernels": {"errors"},
    "sampling": GROUND | {"kernels"},
    "optim": GROUND | {"kernels"},
    "fields": GROUND | {"kernels"},
    "signals": GROUND | {"kernels"},
    "baselines": GROUND | {"sampling"},
    "radiance": GROUND | {"kernels", "fields", "signals", "sampling"},
    "registry": GROUND | {"sampling", "baselines", "signals"},
    "training": ROOMS,
    "runs": ROOMS | {"training"},
    "tasks": ROOMS | {"training", "runs"},
    "study": ROOMS | {"training", "runs", "tasks"},
    "reports": ROOMS | {"training", "runs", "tasks", "study"},
    "viewing": ROOMS | {"training", "runs", "tasks"},
    "cli": ROOMS | {"training", "runs", "tasks", "study", "reports", "viewing"},
    "__main__": {"cli"},
}


def readme_snippets():
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def run(*words, cwd=ROOT):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=cwd)


@pytest.mark.parametrize("index", range(len(readme_snippets())))
def test_the_readmes_python_runs(index, tmp_path):
    snippet = readme_snippets()[index]
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        # Torch's own need, for the code that it makes: tracing, which is ours to test, needs none.
        snippet = snippet.replace("torch.compile(", 'torch.compile(backend="eager", ')
    short = re.sub(r"range\(\d+\)", "range(3)", snippet)
    # Torch's compiler imports what torch has deprecated.
    quiet = ("-W", "error", "-W", "ignore::DeprecationWarning:torch.jit._script")
    done = run(*quiet, "-c", short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_type_checkers_see_every_public_name():
    seen = set(
        re.findall(r"^    from softmine\S* import \w+ as (\w+)$", (SOURCE / "__init__.py").read_text(), re.M)
    )
    assert seen == set(softmine.__all__)


def test_the_readme_has_python_to_run():
    assert len(readme_snippets()) >= 1


def test_the_readmes_commands_name_files_that_exist():
    text = (ROOT / "README.md").read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


def test_the_readmes_results_are_those_of_the_files():
    table = run("benchmarks/table.py").stdout
    text = (ROOT / "README.md").read_text()
    assert table in text.split("<!-- results -->")[1].split("<!-- end of results -->")[0]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("[0-9]*.py")), ids=lambda path: path.name)
def test_examples_run(example, tmp_path):
    done = run("-W", "error", str(example), "--steps", "3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "after 3 steps" in done.stdout


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_arrows_between_packages_point_one_way(file):
    package = file.relative_to(SOURCE).parts[0].removesuffix(".py")
    if package == "__init__":
        return
    for node in ast.walk(ast.parse(file.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules = [node.module]
            if node.module == "softmine":
                modules = [f"softmine.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        for module in modules:
            parts = module.split(".")
            if parts[0] == "softmine":
                assert parts[1] in ALLOWED[package] | {package}, f"{file.name} imports {module}"
            elif package == "sampling":
                assert parts[0] in {"torch", *sys.stdlib_module_names}, f"{file.name} imports {module}"


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("ruff", "format", "--check", "."), ("basedpyright", "--level", "error")],
)
def test_the_source_passes_its_checks(command):
    done = run("-m", *command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_the_version_is_the_packages():
    from importlib.metadata import version

    assert softmine.__version__ == version("softmine")
    assert "__version__" in dir(softmine)


def test_public_names_are_there():
    import softmine

    for name in softmine.__all__:
        assert getattr(softmine, name) is not None
    assert set(softmine.__all__) <= set(dir(softmine))
    with pytest.raises(AttributeError, match="no attribute 'Langvin'"):
        _ = softmine.Langvin

"""The house keeps its measures, and what CONTRIBUTING.md says of it is there."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT / "shared"
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[Path, ast.Module]:
    """Every module of shared/ by its place in it, parsed."""
    paths = sorted(path for path in SHARED.rglob("*.py") if path != SHARED / "__init__.py")
    return {path.relative_to(SHARED): ast.parse(path.read_text()) for path in paths}


def files(folder: str) -> list[Path]:
    """Every module of a folder of the project."""
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def lines(path: Path) -> int:
    """How many lines a module of shared/ has."""
    return len((SHARED / path).read_text().splitlines())


def room(path: Path) -> str:
    """The wing or the module at the top level of shared/ that a module belongs to."""
    return path.parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> set[str]:
    """The rooms that a module names in its imports, wherever they stand."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return {name.split(".")[1] for name in found if name.startswith("shared.")}


def arrows() -> set[tuple[str, str]]:
    """Which room imports which other."""
    pairs = {(room(path), to) for path, tree in modules().items() for to in imported(tree)}
    return {(one, other) for one, other in pairs if one != other}


def functions() -> list[tuple[str, Function]]:
    """Every function of shared/ with where it stands."""
    return [
        (f"{path}:{node.lineno} {node.name}", node)
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, Function)
    ]


def test_rooms_know_few_others() -> None:
    assert len(arrows()) <= 80


def test_no_room_knows_itself_through_others() -> None:
    left = arrows()
    while True:
        # What nobody imports is on top, and in no circle.
        on_top = {one for one, _ in left} - {other for _, other in left}
        if not on_top:
            break
        left = {(one, other) for one, other in left if one not in on_top}
    assert not left


def test_no_import_is_relative() -> None:
    relative = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not relative


def test_wings_and_modules_are_small() -> None:
    wings: Counter[str] = Counter()
    for path in modules():
        wings[room(path)] += lines(path)
    assert not {name: size for name, size in wings.items() if size > 2500}
    assert not {str(path): lines(path) for path in modules() if lines(path) > 350}


def test_functions_fit_a_screen() -> None:
    sizes = {where: (node.end_lineno or 0) - node.lineno + 1 for where, node in functions()}
    assert not {where: size for where, size in sizes.items() if size > 50}


def test_constructors_take_few_arguments() -> None:
    takes = {
        where: len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs) - 1
        for where, node in functions()
        if node.name == "__init__"
    }
    assert not {where: count for where, count in takes.items() if count > 8}


def test_every_decoder_of_a_type_is_made_at_import() -> None:
    """Threads that meet a type for the first time together end the process (msgspec 0.22): see ``tests/cold``."""
    found = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and any(each.arg == "type" for each in node.keywords)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("decode", "convert")
    ]
    assert found == []


def test_docstrings_are_made_of_short_sentences() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {sentence[:60]}"
        for folder in ("shared", "functions", "local", "scripts", "tests")
        for path in files(folder)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Module | ast.ClassDef | Function)
        for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or "")
        for sentence in re.split(r"(?<=[.?!])\s", " ".join(paragraph.split()))
        if len(sentence.split()) > 40
    ]
    assert not long


def test_what_runs_it_locally_is_smaller_than_what_it_runs() -> None:
    assert sum(len(path.read_text().splitlines()) for path in files("local")) < 10_500


ADDED = {
    "a content source": ("badges.py", "test_a_content_source.py"),
    "a row source": ("test_a_row_source.py",),
    "a format": ("test_a_format.py",),
    "a sink": ("drawer.py", "test_a_sink.py"),
}
"""What a reader needs in tests/adding/ to see how one is added: what is made up, and its test."""


def test_a_source_a_format_and_a_sink_are_each_added_in_under_150_lines() -> None:
    sizes = {path.name: len(path.read_text().splitlines()) for path in files("tests/adding")}
    for thing, names in ADDED.items():
        needed = {name: sizes[name] for name in names}
        assert sum(needed.values()) < 150, f"{thing} takes {sum(needed.values())} lines: {needed}"
    # Nor do their lines stand elsewhere: what is beside them knows none of the four, nor what only one of them needs.
    assert sizes.keys() == {"conftest.py", *(name for names in ADDED.values() for name in names)}
    beside = ROOT / "tests" / "adding" / "conftest.py"
    assert sizes[beside.name] < 100, f"{beside} has {sizes[beside.name]} lines"
    known = re.findall(r"tests\.adding|shared\.contents|shared\.rows", beside.read_text())
    assert not known, f"{beside} knows {known}"


def test_every_decision_has_a_status_a_date_and_one_screen() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert len(pages) >= 7
    for number, page in enumerate(pages, start=1):
        text = page.read_text()
        assert page.name.startswith(f"{number:04d}-"), page.name
        assert text.startswith(f"# {number}. "), page.name
        assert re.search(r"^Status: \w+, 20\d\d-\d\d-\d\d$", text, re.M), page.name
        assert len(text.splitlines()) <= 50, page.name


def test_what_the_guide_names_is_there() -> None:
    for named in re.findall(
        r"`((?:shared|tests|functions|local|scripts|docs|infra)/[\w./-]*)`", GUIDE
    ):
        assert (ROOT / named).exists(), named


def test_the_tests_that_prove_the_guarantees_are_there() -> None:
    proofs = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", GUIDE)
    assert len(proofs) >= 15
    for path, name in proofs:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"

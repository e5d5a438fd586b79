from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "scripts/modelyard"
DECISIONS = ROOT / "docs/decisions"
INDEX = DECISIONS / "README.md"
PAGES = (
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
SPAN = re.compile(r"`([^`\n]+)`")
PLACE = re.compile(
    r"(?P<path>(?:[\w.-]+/)+|(?:[\w.-]+/)*[\w-]+\.(?:py|md|toml)|(?:[\w.-]+/)+[\w-]+\.(?:ya?ml|json))"
    r"(?::(?P<name>[A-Za-z_][\w.]*))?"
)
MODULE = re.compile(r"modelyard(?:\.[a-z_]+)+")
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBERED = re.compile(r"(\d{4})-[a-z0-9-]+\.md")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def places(page: Path) -> Iterator[tuple[str, str | None]]:
    """Each path a page names, and what it is to define if that is named too: `path.py:name`."""
    for span in SPAN.findall(read(page)):
        if (found := PLACE.fullmatch(span)) and not span.startswith(("refs/", "build/")):
            yield found["path"], found["name"]


def located(page: Path, path: str) -> Path | None:
    """Where a path leads: from the root, from the package, or from the page."""
    candidates = (base / path for base in (ROOT, PACKAGE, page.parent))
    return next((each for each in candidates if each.exists()), None)


def defines(file: Path, name: str) -> bool:
    """Whether the file defines every part of a name such as `Release.identity`."""
    text = read(file)
    return all(
        re.search(
            rf"^\s*(?:(?:async )?def|class) {part}\b|^\s*{part}(?::[^\n]+)? =", text, re.MULTILINE
        )
        for part in name.split(".")
    )


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", read(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles}


@every_page
def test_every_path_and_every_name_in_it_exists(page: Path):
    missing = []
    for path, name in places(page):
        file = located(page, path)
        if file is None or (name and not defines(file, name)):
            missing.append(f"{path}:{name}" if name else path)
    assert missing == []


@pytest.mark.sample(12)
@every_page
def test_every_test_a_page_names_exists(page: Path):
    tests = "\n".join(read(file) for file in (ROOT / "tests").rglob("test_*.py"))
    named = [span for span in SPAN.findall(read(page)) if re.fullmatch(r"test_\w+", span)]
    assert [name for name in named if f"def {name}(" not in tests] == []


@every_page
def test_every_module_exists(page: Path):
    modules = [span for span in SPAN.findall(read(page)) if MODULE.fullmatch(span)]
    paths = {module: ROOT / "scripts" / module.replace(".", "/") for module in modules}
    missing = [
        module
        for module, path in paths.items()
        if not path.is_dir() and not path.with_suffix(".py").is_file()
    ]
    assert missing == []


@every_page
def test_every_link_leads_to_a_file_and_a_title_in_it(page: Path):
    broken = []
    for link in LINK.findall(read(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_no_two_decisions_share_a_number():
    numbers = [NUMBERED.fullmatch(file.name)[1] for file in decisions()]
    assert numbers == sorted(set(numbers))


def test_the_index_lists_every_decision_once_with_its_title():
    listed = re.findall(r"^- \[(\d{4})\]\((\S+)\) (.+)$", read(INDEX), re.MULTILINE)
    wanted = [
        (file.name[:4], file.name, read(file).splitlines()[0].removeprefix(f"# {file.name[:4]}. "))
        for file in decisions()
    ]
    assert sorted(listed) == wanted


@pytest.mark.parametrize("file", [*DECISIONS.glob("[0-9]*.md")], ids=lambda file: file.name[:4])
def test_a_decision_has_its_number_its_date_and_its_three_parts(file: Path):
    text = read(file)
    assert text.startswith(f"# {file.name[:4]}. ")
    assert re.search(r"^Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == ["Context", "Decision", "Option refused"]


def test_the_tour_is_at_most_150_lines_long():
    assert len(read(ROOT / "ARCHITECTURE.md").splitlines()) <= 150


def test_the_readme_of_a_folder_is_a_page():
    folders = ("models", "environments", "workflows", "tests")
    pages = [page for folder in folders for page in (ROOT / folder).rglob("README.md")]
    assert [page for page in pages if len(read(page).splitlines()) > 40] == []


def decisions() -> list[Path]:
    return sorted(file for file in DECISIONS.glob("*.md") if file != INDEX)

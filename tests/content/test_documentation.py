"""The documentation as one site: what `make docs` builds of the Markdown of the repository."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "scripts/documentation/mkdocs.yml"
LOADED = re.compile(r"<(?:img|script|iframe|source)\b[^>]*\bsrc=\"?([^\" >]+)|<link\b[^>]*>")


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("pages", CONFIG.with_name("pages.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_beside_docs_exists(pages):
    assert [source for source in pages.ELSEWHERE if not (ROOT / source).is_file()] == []


@pytest.mark.parametrize(
    ("source", "link", "wanted"),
    [
        ("README.md", "[a](docs/github.md)", "[a](github.md)"),
        ("README.md", "[a](docs/decisions/README.md#x)", "[a](decisions/README.md#x)"),
        ("docs/github.md", "[a](../README.md#glossary)", "[a](index.md#glossary)"),
        ("docs/decisions/README.md", "[a](../../ARCHITECTURE.md)", "[a](../architecture.md)"),
        ("README.md", "[a](https://example.org)", "[a](https://example.org)"),
        ("README.md", "[the rings](pyproject.toml)", "the rings (`pyproject.toml`)"),
        ("README.md", "[pyproject.toml](pyproject.toml)", "pyproject.toml"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site_or_names_the_file(pages, source, link, wanted):
    assert pages.lead(link, source) == wanted


def test_a_link_to_nothing_ends_the_build(pages):
    with pytest.raises(ValueError, match=r"README\.md links to docs/nothing\.md"):
        pages.lead("[a](docs/nothing.md)", "README.md")


@pytest.mark.parametrize(
    ("markdown", "wanted"),
    [
        ("1. one\n\n   more\n", "1. one\n\n    more\n"),
        ("- one\n  - two\n    more\n\nafter\n", "- one\n    - two\n        more\n\nafter\n"),
        ("before\n- one\n", "before\n\n- one\n"),
        ("10. ten\n\n    ```\n    - code\n    ```\n", "10. ten\n\n    ```\n    - code\n    ```\n"),
        ("```\n- code\n  more\n```\n", "```\n- code\n  more\n```\n"),
        ("- one\n\nafter\n\n    code\n", "- one\n\nafter\n\n    code\n"),
    ],
)
def test_lists_are_indented_as_the_site_reads_them(pages, markdown, wanted):
    assert pages.indent_lists(markdown) == wanted


@pytest.mark.long
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", CONFIG, "-d", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    found = sorted(tmp_path.rglob("*.html"))
    for page in ("index", "github", "kubernetes", "aws", "airflow", "frameworks"):
        assert tmp_path / f"{page}.html" in found
    for page in found:
        text = page.read_text(encoding="utf-8")
        loaded = [
            each[0]
            for each in LOADED.finditer(text)
            if "://" in each[0] and 'rel="canonical"' not in each[0]
        ]
        assert loaded == []
        assert not re.search(r"<p>[^<]*\n(?:- |\d+\. |\|)", text), page  # a list that is none

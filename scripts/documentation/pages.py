"""A hook of mkdocs that gives pages outside of docs/ a place in the site, and leads links there."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]

ELSEWHERE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "schemas/README.md": "schemas.md",
    "environments/platform/README.md": "platform.md",
    "environments/platform/aws/README.md": "platform-aws.md",
}
"""Pages outside of docs/, and their place in the site."""

_LINK = re.compile(r"\[(?P<text>[^\]\n]*(?:\n[^\]\n]*)?)\]\((?P<target>[^)\s]+)\)")
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"(?P<indent> *)(?P<mark>[-*]|\d+\.) +(?=\S)")
_TAB = 4
"""What Python-Markdown indents by, where forges indent by the width of the item's mark."""


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of `ELSEWHERE`."""
    for source, place in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each link lead to a page of the site; of other files the site shows the path."""
    del config, files
    source = _source_of(page.file.src_uri)
    begin, parts = 0, []
    for fence in _FENCE.finditer(markdown):
        parts += [lead(markdown[begin : fence.start()], source), fence[0]]
        begin = fence.end()
    return indent_lists("".join([*parts, lead(markdown[begin:], source)]))


def lead(text: str, source: str) -> str:
    """Let the links of a page's text lead to where their pages are in the site.

    Raises:
        ValueError: There is no such file.
    """
    return _LINK.sub(lambda link: _led(link, source), text)


def indent_lists(markdown: str) -> str:
    """Indent what belongs to an item of a list by four spaces a level."""
    lines: list[str] = []
    levels: list[int] = []  # where the text of each open item begins
    is_code = False
    for line in markdown.splitlines():
        text = line.lstrip(" ")
        indent = len(line) - len(text)
        item = None if is_code else _ITEM.match(line)
        if text and not is_code and (item or not lines or not lines[-1]):
            while levels and indent < levels[-1]:
                levels.pop()
        if item and not levels and lines and lines[-1]:
            lines.append("")  # a list may follow a paragraph at once, but not here
        depth = min(len(levels), sum(indent >= level for level in levels))
        inside = levels[depth - 1] if depth else 0
        lines.append(" " * (_TAB * depth + indent - inside) + text if text else "")
        if item:
            levels.append(item.end())
        is_code ^= text.startswith("```")
    return "\n".join(lines) + "\n"


def _led(link: re.Match[str], source: str) -> str:
    path, mark, anchor = link["target"].partition("#")
    if "://" in link["target"] or not path:
        return link[0]
    named = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not (ROOT / named).exists():
        raise ValueError(f"{source} links to {named}, which does not exist")
    place = ELSEWHERE.get(named) or (named.removeprefix("docs/") if _is_page(named) else None)
    if place is None:
        return link["text"] if named in link["text"] else f"{link['text']} (`{named}`)"
    start = posixpath.dirname(ELSEWHERE.get(source) or source.removeprefix("docs/"))
    return f"[{link['text']}]({posixpath.relpath(place, start or '.')}{mark}{anchor})"


def _is_page(named: str) -> bool:
    return named.startswith("docs/") and named.endswith(".md")


def _source_of(place: str) -> str:
    """The file of the repository that a page of the site is made of."""
    sources = {there: here for here, there in ELSEWHERE.items()}
    return sources.get(place, f"docs/{place}")

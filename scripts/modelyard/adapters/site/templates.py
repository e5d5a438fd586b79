"""Pages of HTML from templates in which everything is data: escaped, visible, and on one line."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from modelyard.domain.harmless_text import harmless_line
from modelyard.domain.specs.times import format_span

FOLDER = "site_pages"

_NOTHING = "\N{EN DASH}"
_FIRST = 'document.documentElement.className = "loading"'


def render_page(template: str, values: Mapping[str, object]) -> bytes:
    """A page from a template of the package's folder `site_pages`."""
    return _environment().get_template(template).render(values).encode("utf-8", "replace")


def content_policy() -> str:
    """The Content-Security-Policy of every page: its own style and script, and nothing else."""
    return str(_environment().globals["policy"])


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.PackageLoader("modelyard", FOLDER),
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_data,
    )
    style, script = _text("site.css"), _text("site.js")
    # In the page, by their hashes: `'self'` has no meaning for a page that is opened as a file.
    environment.globals["style"] = Markup(style)  # noqa: S704 - ours
    environment.globals["script"] = Markup(script)  # noqa: S704 - ours
    environment.globals["first_script"] = Markup(_FIRST)  # noqa: S704 - ours
    environment.globals["policy"] = (
        f"default-src 'none'; style-src {_hash(style)}; "
        f"script-src {_hash(_FIRST)} {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    environment.filters["utc"] = _utc
    environment.filters["figure"] = _figure
    environment.filters["span"] = format_span
    return environment


def _as_data(value: Any) -> Any:
    """A value as a page shows it; what has no character of its own is escaped, not dropped."""
    if value is None:
        return _NOTHING
    return harmless_line(value) if isinstance(value, str) and not _is_markup(value) else value


def _is_markup(value: str) -> bool:
    return isinstance(value, Markup)


def _utc(value: datetime | str | None) -> str | None:
    """A time to the second, in UTC."""
    if value is None:
        return None
    at = datetime.fromisoformat(value) if isinstance(value, str) else value
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


def _text(name: str) -> str:
    return (resources.files("modelyard") / FOLDER / name).read_text("utf-8").strip()


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

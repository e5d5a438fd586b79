from __future__ import annotations

import json

import pytest

from modelyard.adapters.site.folder import SiteFolder
from modelyard.errors import Refused


def written(path, **groups):
    folder = SiteFolder.open(path)
    for group, names in groups.items():
        folder.write(group, "key", [(name, b"page") for name in names])
    folder.finish(groups)


def listed(path, **groups):
    keys = dict.fromkeys(groups, "key")
    path.mkdir(exist_ok=True)
    (path / "site.json").write_text(json.dumps({"format": 1, "keys": keys, "files": groups}))


def files(path):
    return sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())


def test_a_first_writing_that_is_cut_off_goes_on_the_next_time(tmp_path):
    def pages():
        yield "models/a/index.html", b"page"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SiteFolder.open(tmp_path).write("a", "key", pages())

    assert not SiteFolder.open(tmp_path).is_current("a", "key")
    written(tmp_path, a=["models/a/index.html"])
    assert SiteFolder.open(tmp_path).is_current("a", "key")


def test_a_page_that_its_group_no_longer_has_is_deleted(tmp_path):
    written(tmp_path, a=["models/a/v1.html", "models/a/old/v2.html"])

    written(tmp_path, a=["models/a/v1.html"])

    assert files(tmp_path) == ["models/a/v1.html", "site.json"]
    assert not (tmp_path / "models/a/old").exists()


def test_pages_of_another_format_are_made_anew_and_the_old_ones_deleted(tmp_path):
    written(tmp_path, a=["old.html"])
    known = json.loads((tmp_path / "site.json").read_text())
    (tmp_path / "site.json").write_text(json.dumps({**known, "format": 99}))

    assert not SiteFolder.open(tmp_path).is_current("a", "key")
    written(tmp_path, a=["new.html"])

    assert files(tmp_path) == ["new.html", "site.json"]


def test_nothing_behind_a_link_is_deleted_or_written(tmp_path):
    elsewhere, site = tmp_path / "elsewhere", tmp_path / "site"
    elsewhere.mkdir()
    (elsewhere / "id").write_text("irreplaceable")
    listed(site, gone=["models/id"])
    (site / "models").symlink_to(elsewhere)

    written(site)
    with pytest.raises(Refused, match="behind a link"):
        SiteFolder.open(site).write("a", "key", [("models/a/index.html", b"page")])

    assert files(elsewhere) == ["id"]


def test_a_file_where_a_folder_was_is_left_alone(tmp_path):
    listed(tmp_path, gone=["models/a/index.html"])
    (tmp_path / "models").write_text("of somebody else")

    written(tmp_path)

    assert files(tmp_path) == ["models", "site.json"]


@pytest.mark.parametrize(
    "known",
    [
        {"format": 1},
        {"name": "of another tool"},
        ["index.html"],
        {"format": 1, "keys": {"a": "k"}, "files": {"a": "index.html"}},
        {"format": 1, "keys": {"a": "k"}, "files": {"a": ["../index.html"]}},
        {"format": 1, "keys": {"a": "k"}, "files": {"a": ["a\0b"]}},
        {"format": 1, "keys": {}, "files": {"a": ["index.html"]}},
    ],
    ids=str,
)
def test_a_list_of_something_else_is_left_alone(tmp_path, known):
    (tmp_path / "site.json").write_text(json.dumps(known))

    with pytest.raises(Refused, match="holds no site"):
        SiteFolder.open(tmp_path)

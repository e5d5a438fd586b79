from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from git_commits import write_commit
from modelyard.adapters.git import process as git_process
from modelyard.adapters.git.names import message_of, name_and_mail, path_of, safe_line
from modelyard.adapters.git.objects import LogEntry, Merged
from modelyard.adapters.git.process import NoAnswer
from modelyard.adapters.git.remote_refs import RemoteRefs
from modelyard.adapters.git.repository import Git
from modelyard.errors import CannotAnswer, Conflict, Refused

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MAIN = "refs/heads/main"


@pytest.fixture
def git(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path / "clone")], check=True)
    made = Git(tmp_path / "clone")
    made.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return made


def commit(git, base, documents, message="Change", at=AT):
    parents = [base] if base else []
    return write_commit(
        git,
        base,
        documents,
        parents=parents,
        message=message,
        author="Ann <ann@example.org>",
        at=at,
    )


def test_the_same_change_gives_the_same_commit_and_leaves_the_working_tree_alone(git):
    first = commit(git, None, {"models/m/model.yaml": b"a: 1\n"})
    second = commit(git, None, {"models/m/model.yaml": b"a: 1\n"})

    assert first == second == "c33121a65e9b0e322da75ba4b81aa61ce7b8c388"
    assert [path.name for path in git.root.iterdir()] == [".git"]
    assert git.run("status", "--porcelain").stdout == b""


def test_documents_are_written_deleted_and_folders_emptied(git):
    base = commit(git, None, {"a/x": b"1", "a/b/y": b"2", "c": b"3", "d": b"4"})

    after = commit(git, base, {"a/": None, "a/new": b"5", "c": None, "never-there": None})

    assert {e.path: git.read_file(after, e.path) for e in git.ls_tree(after)} == {
        "a/new": b"5",
        "d": b"4",
    }
    assert git.diff_names(base, after) == ("a/b/y", "a/new", "a/x", "c")


def test_a_submodule_that_gitmodules_asks_to_ignore_differs_all_the_same(git):
    (git.root / ".gitmodules").write_text('[submodule "x"]\n\tpath = x\n\tignore = all\n')
    row = f"160000 commit {'1' * 40}\tx\n".encode()
    empty, other = (git.run("mktree", stdin=rows).stdout.decode().strip() for rows in (b"", row))

    assert git.diff_names(empty, other) == ("x",)


def tree_by_an_index(git, base, documents):
    """The tree that the commands of an index make of the same change."""
    git.run("read-tree", base)
    for path, content in documents.items():
        if content is None:
            words = ("rm", "--cached", "-r", "-q", "-f", "--ignore-unmatch", "--", path)
            git.run(*words, env={"GIT_LITERAL_PATHSPECS": "0"})
    for path, content in documents.items():
        if content is not None:
            blob = git.run("hash-object", "-w", "--stdin", stdin=content).stdout.decode().strip()
            git.run("update-index", "--add", "--replace", "--cacheinfo", f"100644,{blob},{path}")
    return git.run("write-tree").stdout.decode().strip()


@pytest.mark.parametrize(
    "documents",
    [
        {'"quoted".txt': b"1", 'a/"': b"2"},
        {"a b/c d.txt": b"1", "-x": b"2", "ä/ö": b"", "\udcff": b"3"},
        {"x": None, "a/": None},
        {"x": None, "a/b/c": None},
        {"x": None, "a/": None, "kept": None},
        {"a": b"a file in place of the folder", "x/y": b"and the other way round"},
        {"a/": None, "a/b": b"new", "kept": b"kept\r\n"},
    ],
    ids=lambda documents: "+".join(map(ascii, documents)),
)
def test_a_tree_is_the_one_that_an_index_would_give(git, documents):
    base = commit(git, None, {"x": b"x", "a/b/c": b"c", "a/d": b"d", "kept": b"k"})

    assert git.write_tree(base, documents) == tree_by_an_index(git, base, documents)


def test_links_and_programs_in_a_tree_stay_what_they_are(git):
    blob = git.run("hash-object", "-w", "--stdin", stdin=b"target").stdout.decode().strip()
    rows = f"120000 blob {blob}\tlink\n100755 blob {blob}\trun\n".encode()
    base = git.run("mktree", stdin=rows).stdout.decode().strip()

    tree = git.write_tree(base, {"new": b""})

    assert {e.path: e.mode for e in git.ls_tree(tree)} == {
        "link": "120000",
        "new": "100644",
        "run": "100755",
    }


def test_a_tree_on_something_that_is_not_there_is_refused(git):
    with pytest.raises(CannotAnswer, match="there is no tree"):
        git.write_tree("1" * 40, {"x": b""})


def test_a_file_may_become_a_folder(git):
    base = commit(git, None, {"a": b"1"})

    assert [e.path for e in git.ls_tree(commit(git, base, {"a/b": b"2"}))] == ["a/b"]


def test_bytes_are_stored_as_they_are_whatever_the_user_configured(git):
    git.run("config", "core.autocrlf", "true")
    (git.root / ".gitattributes").write_text("* text eol=crlf\n")

    made = commit(git, None, {"x.yaml": b"a\r\nb\n\x00\xff"})

    assert git.read_file(made, "x.yaml") == b"a\r\nb\n\x00\xff"


def test_reads_many_blobs_at_once_and_says_which_are_not_there(git):
    made = commit(git, None, {"x": b"1\n2", "y/z": b""})

    assert git.read_many([f"{made}:x", f"{made}:nope", f"{made}:y/z", f"{made}:y"]) == {
        f"{made}:x": b"1\n2",
        f"{made}:nope": None,
        f"{made}:y/z": b"",
        f"{made}:y": None,
    }
    assert git.missing_objects([made, "0" * 39 + "1"]) == ("0" * 39 + "1",)


def test_a_push_moves_all_refs_or_none(git):
    one, two = commit(git, None, {"x": b"1"}), commit(git, None, {"x": b"2"})
    git.push("origin", {MAIN: (None, one)})

    with pytest.raises(Conflict):
        git.push(
            "origin", {"refs/heads/other": (None, two), MAIN: (two, commit(git, two, {"x": b"3"}))}
        )

    assert git.ls_remote("origin", ["refs/*"]) == {MAIN: one}


@pytest.mark.parametrize("old", [None, "second"])
def test_a_push_from_where_the_ref_is_not_is_a_conflict(git, old):
    one, two = commit(git, None, {"x": b"1"}), commit(git, None, {"x": b"2"})
    git.push("origin", {MAIN: (None, one)})

    with pytest.raises(Conflict, match="another writer moved refs/heads/main in origin"):
        git.push("origin", {MAIN: (two if old else None, commit(git, one, {"x": b"3"}))})

    assert git.ls_remote("origin", [MAIN]) == {MAIN: one}


def test_the_same_commit_pushed_by_another_writer_first_is_a_conflict_too(git):
    one = commit(git, None, {"x": b"1"})
    two = commit(git, one, {"x": b"2"})
    git.push("origin", {MAIN: (None, one)})
    git.push("origin", {MAIN: (one, two)})

    with pytest.raises(Conflict):
        git.push("origin", {MAIN: (one, two)})


def test_a_ref_can_be_deleted_once(git):
    one = commit(git, None, {"x": b"1"})
    git.push("origin", {MAIN: (None, one), "refs/heads/other": (None, one)})
    git.push("origin", {"refs/heads/other": (one, None)})

    with pytest.raises(Conflict):
        git.push("origin", {"refs/heads/other": (one, None)})

    assert git.ls_remote("origin", ["refs/*"]) == {MAIN: one}


def test_a_push_that_moves_nothing_does_not_contact_the_remote(git):
    one = commit(git, None, {"x": b"1"})

    git.push("no such remote", {MAIN: (one, one)})


def test_an_unreachable_remote_is_reported_with_gits_own_message(git):
    one = commit(git, None, {"x": b"1"})

    with pytest.raises(CannotAnswer, match="does not appear to be a git repository") as caught:
        git.push("./nowhere", {MAIN: (None, one)})

    assert caught.value.hint is not None
    assert "git ls-remote ./nowhere" in caught.value.hint


def test_a_remote_that_nobody_added_is_told_how_to_add_one(git, tmp_path):
    git.run("remote", "remove", "origin")
    one = commit(git, None, {"x": b"1"})

    with pytest.raises(CannotAnswer) as caught:
        git.push("origin", {MAIN: (None, one)})

    assert "this checkout has no remote origin" in caught.value.hint
    made = caught.value.hint.partition("a folder is enough: ")[2].replace("..", str(tmp_path))
    git.run("update-ref", MAIN, one)
    subprocess.run(["bash", "-ec", made], cwd=git.root, check=True)
    git.push("origin", {MAIN: (one, one)})
    assert git.ls_remote("origin", [MAIN]) == {MAIN: one}


def test_a_branch_in_the_way_of_another_is_no_lost_race(git):
    one = commit(git, None, {"x": b"1"})
    git.push("origin", {"refs/heads/a": (None, one)})

    with pytest.raises(CannotAnswer) as caught:
        git.push("origin", {"refs/heads/a/b": (None, one)})

    assert "exists; cannot create" in caught.value.message


@pytest.mark.long
def test_two_processes_racing_for_one_ref_have_one_winner(git):
    one = commit(git, None, {"x": b"1"})
    program = (
        "import sys; from pathlib import Path; from modelyard.adapters.git.repository import Git\n"
        "from modelyard.errors import Conflict\n"
        "sys.stdin.readline()\n"
        "try: Git(Path(sys.argv[1])).push('origin', {'refs/x/1': (None, sys.argv[2])})\n"
        "except Conflict: print('lost')\n"
        "else: print('won')\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(git.root), commit(git, one, {"n": b"%d" % n})],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for n in range(3)
    ]  # fmt: skip
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()

    assert sorted(racer.communicate()[0] for racer in racers) == ["lost\n", "lost\n", "won\n"]


def test_what_stands_on_main_alone_is_merged_as_it_is_and_no_process_is_started(git, monkeypatch):
    main = commit(git, None, {"a": b"1\n", "b": b"1\n"})
    head = commit(git, main, {"a": b"2\n", "b": None, "c/d": b"1\n"})
    options = ("--write-tree", "-z", "--name-only", "--no-messages")
    theirs = git.run("merge-tree", *options, main, head).stdout.decode().split("\0")[0]
    assert (git.tree_hash(head), git.read_cut()) == (theirs, None)  # the process runs by now
    started = []
    monkeypatch.setattr(git, "run", lambda *words, **_: started.append(words))

    assert git.merge_tree(main, head) == Merged(tree=theirs, conflicts=())
    assert git.merge_base(main, head) == main
    assert started == []


def test_what_stands_on_main_and_on_something_else_is_merged_by_git(git):
    main = commit(git, None, {"a": b"1\n"})
    other = commit(git, None, {"b": b"1\n"})
    tree = git.write_tree(main, {"a": b"2\n"})
    both = {"message": "Both", "author": "Ann <ann@example.org>", "at": AT}
    head = git.commit_tree(tree, parents=[other, main], **both)

    assert git.merge_base(main, head) == main
    assert git.merge_tree(main, head) == Merged(tree=tree, conflicts=())


def test_disjoint_changes_merge_without_a_working_tree(git):
    base = commit(git, None, {"a": b"1", "b": b"1"})
    left, right = commit(git, base, {"a": b"2"}), commit(git, base, {"b": b"2"})

    merged = git.merge_tree(left, right)

    assert merged == Merged(tree=git.write_tree(left, {"b": b"2"}), conflicts=())


def test_conflicts_are_named_and_moved_files_not_guessed(git):
    base = commit(git, None, {"a": b"1\n", "models/old.yaml": b"one\ntwo\nthree\nfour\n"})
    left = commit(git, base, {"a": b"2\n", "models/old.yaml": None,
                              "models/new.yaml": b"one\ntwo\nthree\nfour\n"})  # fmt: skip
    right = commit(git, base, {"a": b"3\n", "models/old.yaml": b"one\ntwo\nthree\nfive\n"})

    assert git.merge_tree(left, right).conflicts == ("a", "models/new.yaml")


def test_the_log_has_author_time_subject_and_trailers(git):
    one = commit(git, None, {"a/x": b"1"}, "First")
    two = commit(git, one, {"b": b"1"}, message_of("Second", {"Modelyard-Pull": "7"}, "why: so"))

    entry = LogEntry(
        sha=two,
        author="Ann",
        committer="Ann",
        at=AT,
        subject="Second",
        trailers={"Modelyard-Pull": "7"},
    )
    assert git.log(two, limit=1) == (entry,)
    assert [e.subject for e in git.log(f"{one}..{two}")] == ["Second"]
    assert [e.subject for e in git.log(two, path="a")] == ["First"]


def test_a_folder_has_a_hash_and_what_is_not_there_has_none(git):
    one = commit(git, None, {"a/x": b"1", "b/x": b"1"})

    assert git.tree_hash(one, "a") == git.tree_hash(one, "b/")
    assert git.tree_hash(one, "a") == git.write_tree(None, {"x": b"1"})
    assert git.tree_hash(one, "c") is None
    assert git.tree_hash(one) == git.write_tree(one, {})


def test_fetches_into_a_name_of_its_own(git):
    one = commit(git, None, {"x": b"1"})
    git.push("origin", {MAIN: (None, one), "refs/heads/a": (None, one)})
    git.fetch("origin", ["+refs/heads/*:refs/mirror/*"])
    git.push("origin", {"refs/heads/a": (one, None)})
    git.push("origin", {"refs/heads/a/b": (None, one)})
    git.fetch("origin", ["+refs/heads/*:refs/mirror/*"])

    assert git.rev_parse("refs/mirror/a/b") == one
    with pytest.raises(CannotAnswer):
        git.rev_parse("refs/mirror/a")


def test_a_hook_that_started_us_does_not_choose_the_repository(git, monkeypatch, tmp_path):
    one = commit(git, None, {"x": b"1"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "remote.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "elsewhere"))

    assert git.rev_parse(one) == one
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "../x", "a/../b", "a//b", ".git/config", "a/.GIT/x", "a/.git./x",
     "a/./b", "a/git~1", "a\\b", "a\nb", "a\x1b[2J", "a/\u202ex"],
)  # fmt: skip
def test_refuses_a_path_that_could_leave_the_repository(path):
    with pytest.raises(Refused, match="is not a path inside a repository"):
        path_of(path)


@pytest.mark.parametrize("path", ["models/m/", "a.b/c-d_e", ".github/x", "a/..b", "ünï/x y"])
def test_takes_a_path_that_stays_inside(path):
    assert path_of(path) == path


@pytest.mark.parametrize("revision", ["", "--output=x", "a b", "a\nb"])
def test_refuses_a_revision_git_could_take_for_something_else(git, revision):
    with pytest.raises(Refused):
        git.rev_parse(revision)


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ("Ann Lee <ann@example.org>", ("Ann Lee", "ann@example.org")),
        ("modelyard[bot]", ("modelyard[bot]", "modelyard-bot@modelyard.invalid")),
        ("A <b> c\nd", ("A b c d", "a-b-c-d@modelyard.invalid")),
    ],
)
def test_an_author_is_a_name_with_an_address(author, expected):
    assert name_and_mail(author) == expected


def test_refuses_an_author_without_a_name():
    with pytest.raises(Refused):
        name_and_mail("<>\n")


@pytest.mark.long
@given(st.text(), st.text(), st.text())
def test_no_text_forges_a_trailer(title, body, value):
    lines = message_of(title, {"Modelyard-Pull": value}, body).split("\n\n")[-1].splitlines()

    assert lines == [f"Modelyard-Pull: {safe_line(value)}"]


def test_refuses_a_trailer_key_that_is_a_second_line():
    with pytest.raises(Refused):
        message_of("x", {"A\nB": "1"})


@given(st.text())
def test_a_safe_line_holds_no_control_characters(text):
    assert not set(safe_line(text)) & {*map(chr, range(32)), "\x7f", "\x9b", "\u2028", "\u202e"}


def test_says_which_folder_git_could_not_start_in(tmp_path):
    with pytest.raises(CannotAnswer, match="cannot start git in"):
        Git(Path(tmp_path / "nowhere")).rev_parse("HEAD")


class Silent(socketserver.ThreadingTCPServer):
    """Takes every connection and says nothing."""

    allow_reuse_address = daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Mute)
        self.taken = 0
        self.over = threading.Event()

    def url(self, scheme):
        return f"{scheme}://127.0.0.1:{self.server_address[1]}/x.git"


class Mute(socketserver.BaseRequestHandler):
    def handle(self):
        self.server.taken += 1
        self.server.over.wait(30)


@pytest.fixture
def silent():
    with Silent() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.over.set()
        server.shutdown()


def processes_about(text):
    """Command lines that name it, of processes that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [each for each in found if text in each]


CALLS = {
    "ls-remote": lambda git, url: git.ls_remote(url, ["refs/heads/*"]),
    "fetch": lambda git, url: git.fetch(url, ["+refs/heads/*:refs/x/*"]),
    "push": lambda git, url: git.push(url, {MAIN: (None, commit(git, None, {"x": b"1"}))}),
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_remote_that_accepts_a_connection_and_never_answers_is_given_up(
    git, silent, monkeypatch, call, scheme
):
    assert max(git_process.NETWORK_SECONDS.values()) < git_process.LOCAL_SECONDS
    monkeypatch.setitem(git_process.NETWORK_SECONDS, call, 1.0)
    url, before = silent.url(scheme), time.monotonic()

    with pytest.raises(CannotAnswer) as caught:
        CALLS[call](git, url)

    assert time.monotonic() - before < 20
    assert caught.value.message.startswith(f"git {call} ")
    assert f"-- {url} " in caught.value.message
    limit = "silent for 1 s (modelyard.fetchSeconds)" if call == "fetch" else "no end after 1 s"
    assert caught.value.message.endswith(f" in {git.root}: {limit}")
    assert f": git ls-remote {url}" in caught.value.hint
    assert ("git config modelyard.fetchSeconds 2" in caught.value.hint) == (call == "fetch")
    assert silent.taken == 1
    assert processes_about(url) == []


@pytest.mark.parametrize("what", ["another", "its own"])
def test_git_is_killed_even_where_processes_may_not_be_listed(git, silent, monkeypatch, what):
    def denied(process):
        if what == "its own" or process.pid == 1:
            raise psutil.AccessDenied(process.pid)
        return parent(process)

    parent = psutil.Process.ppid
    monkeypatch.setattr(psutil.Process, "ppid", denied)
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "ls-remote", 1.0)
    url = silent.url("git")

    with pytest.raises(NoAnswer):
        git.ls_remote(url, [MAIN])

    assert processes_about(url) == []


def test_git_is_killed_even_if_its_children_may_not_be_signalled(git, silent, monkeypatch):
    def denied(process, number):
        raise psutil.AccessDenied(process.pid)

    monkeypatch.setattr(psutil.Process, "send_signal", denied)
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "ls-remote", 1.0)
    url, before = silent.url("git"), time.monotonic()

    with pytest.raises(NoAnswer):
        git.ls_remote(url, [MAIN])

    assert time.monotonic() - before < 20  # a git that lives waits for 30 s
    assert processes_about(url) == []


FIRST_PROCESS = """
import ctypes, sys
from pathlib import Path
from modelyard.adapters.git import process as git_process

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
git_process.NETWORK_SECONDS["ls-remote"] = 1.0
try:
    git_process.run_git(Path(sys.argv[1]), "ls-remote", "--", sys.argv[2])
except git_process.NoAnswer as error:
    print(error.message)
children = Path("/proc/self/task")
print("left:", *[each.read_text() for each in children.glob("*/children")])
"""


def test_a_containers_first_process_keeps_no_zombies_of_a_killed_git(git, silent):
    # It inherits orphans as a subreaper does.
    told = subprocess.run(
        [sys.executable, "-c", FIRST_PROCESS, str(git.root), silent.url("http")],
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip

    assert told[0].endswith(": no end after 1 s")
    assert told[1].strip() == "left:"


def test_silence_over_http_ends_a_call_before_its_own_limit(git, silent, monkeypatch):
    assert min(git_process.NETWORK_SECONDS.values()) > git_process.SILENT_SECONDS
    options = [word.replace("lowSpeedTime=15", "lowSpeedTime=1") for word in git_process._OPTIONS]
    monkeypatch.setattr(git_process, "_OPTIONS", options)

    with pytest.raises(NoAnswer, match=r"Operation too slow.* the last 1 seconds") as caught:
        git.ls_remote(silent.url("http"), ["refs/heads/*"])

    assert "git ls-remote http" in caught.value.hint


@pytest.fixture
def a_slow_remote(git, tmp_path, monkeypatch):
    """Has a fetch of many refs told of for so many seconds, with silences between."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext:file")
    remote = Git(tmp_path / "remote.git")
    made = commit(remote, None, {"x": b"1"})
    names = "".join(f"create refs/modelyard/pulls/{each} {made}\n" for each in range(300))
    remote.run("update-ref", "--stdin", stdin=names.encode())

    def told(script):
        program = tmp_path / "slow.sh"
        program.write_text(f"{script}\nexec git-upload-pack {remote.root}\n")
        return f"ext::sh {program}"

    return told


REFS = ["+refs/modelyard/*:refs/x/*"]
# What a server tells while it counts, for 4 seconds; nothing of it is silent for 2.
COUNTS = "for n in 1 2 3 4 5 6 7 8; do echo Counting objects: $n >&2; sleep 0.5; done"


def test_a_fetch_goes_on_past_its_limit_while_it_tells_something(git, a_slow_remote, monkeypatch):
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 2.0)
    before = time.monotonic()

    git.fetch(a_slow_remote(COUNTS), REFS)

    assert time.monotonic() - before > 4
    assert len(git.run("for-each-ref", "refs/x").stdout.splitlines()) == 300


def test_a_fetch_that_only_tells_and_never_ends_is_ended(git, a_slow_remote, monkeypatch):
    assert git_process.NETWORK_SECONDS["fetch"] * git_process.MOST_SILENCES < 1000  # rollbacks wait
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 2.0)
    monkeypatch.setattr(git_process, "MOST_SILENCES", 1)

    with pytest.raises(NoAnswer, match=r"no end after 2 s \(modelyard.fetchSeconds\)"):
        git.fetch(a_slow_remote(COUNTS), REFS)

    assert processes_about("slow.sh") == []


def test_a_checkout_may_give_a_silent_fetch_more_time(git, a_slow_remote, monkeypatch):
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 1.0)
    remote = a_slow_remote("sleep 3")
    with pytest.raises(NoAnswer, match="silent for 1 s"):
        git.fetch(remote, REFS)
    git.run("config", git_process.FETCH_KEY, "2")
    with pytest.raises(NoAnswer, match="silent for 2 s"):
        git.fetch(remote, REFS)
    git.run("config", git_process.FETCH_KEY, "20")

    git.fetch(remote, REFS)

    assert len(git.run("for-each-ref", "refs/x").stdout.splitlines()) == 300


def test_a_fetch_again_has_less_time_in_whole_until_it_was_too_little(
    git, a_slow_remote, monkeypatch
):
    remote = a_slow_remote("test -e $0.fast || { " + COUNTS + "; }")
    fast = Path(remote.split()[-1] + ".fast")
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 2.0)
    fast.touch()
    git.fetch(remote, REFS)
    fast.unlink()

    with pytest.raises(NoAnswer, match="no end after 2 s"):
        git.fetch(remote, REFS)

    git.fetch(remote, REFS)  # what came since may be large, so it is not given up for good


def test_a_limit_that_is_no_number_is_named_and_the_remote_is_still_what_is_silent(
    git, silent, monkeypatch, caplog
):
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 1.0)
    git.run("config", git_process.FETCH_KEY, "soon")

    with pytest.raises(NoAnswer, match="silent for 1 s"):
        git.fetch(silent.url("git"), REFS)

    assert "modelyard.fetchSeconds is not used" in caplog.text
    assert "bad numeric config value 'soon'" in caplog.text
    assert processes_about(silent.url("git")) == []


def test_a_limit_larger_than_any_wait_is_one(git, a_slow_remote, monkeypatch):
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 1.0)
    git.run("config", git_process.FETCH_KEY, str(2**62))

    git.fetch(a_slow_remote("sleep 2"), REFS)

    assert len(git.run("for-each-ref", "refs/x").stdout.splitlines()) == 300


def test_a_failed_fetch_says_why_without_what_it_told_before(git, a_slow_remote):
    with pytest.raises(CannotAnswer) as caught:
        git.fetch(a_slow_remote("echo Counting objects: 1 >&2; echo key refused >&2; exit 1"), REFS)

    assert ": key refused fatal: " in caught.value.message


def test_a_remote_that_never_answers_is_not_asked_again_for_what_is_missing(
    git, silent, monkeypatch
):
    monkeypatch.setitem(git_process.NETWORK_SECONDS, "fetch", 1.0)

    with pytest.raises(NoAnswer):
        RemoteRefs(git, silent.url("git")).ensure_commits(["a" * 40])

    assert silent.taken == 1

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forked import run_forked
from git_commits import write_commit
from modelyard.adapters.forge.local import snapshot as forge_snapshot
from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.git.repository import Git
from modelyard.adapters.specs import json_documents
from modelyard.domain.people import Person
from modelyard.domain.promotion.approvals import find_approvers
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.promotion.pulls import (
    CHECKS,
    PROMOTE,
    Comment,
    PullRequest,
    PullState,
    Review,
    Status,
    StatusState,
)
from modelyard.domain.specs.repository import Repository
from modelyard.errors import CannotAnswer, Conflict, Refused

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RELEASE = "environments/dev/releases/m.yaml"
BOT = "modelyard[bot]"


def people(*names):
    return {Person.named(name) for name in names}


@dataclass
class TickingClock:
    """Every look at it is a second later, so that equal times are never an accident."""

    at: datetime = AT

    def now(self):
        self.at += timedelta(seconds=1)
        return self.at


def clone(tmp_path, name):
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path / name)], check=True)
    git = Git(tmp_path / name)
    git.run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return git


@pytest.fixture
def git(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    made = clone(tmp_path, "clone")
    documents = {RELEASE: b"version: v2\n", "models/m/model.yaml": b"owner: ann\n"}
    past = write_commit(made, None, documents, parents=[], message="Past", author="Ann", at=AT)
    documents = {RELEASE: b"version: v1\n"}
    start = write_commit(
        made, past, documents, parents=[past], message="Start", author="Ann", at=AT
    )
    made.push("origin", {"refs/heads/main": (None, start)})
    return made


@pytest.fixture
def forge(git):
    return LocalForge(git, Repository(), TickingClock())


@pytest.fixture
def elsewhere(tmp_path, forge):
    """The same forge, seen from another checkout."""
    return LocalForge(clone(tmp_path, "other"), Repository(), TickingClock())


def change(documents=None, **fields):
    given = {RELEASE: b"version: v2\n"} if documents is None else documents
    plain = Change(
        purpose=Purpose.PROMOTE,
        branch="modelyard/promote/dev/m",
        title="Promote m v2 to dev",
        body="| a | table |",
        documents=given,
        trailers={"Modelyard-Version": "v2"},
    )
    return replace(plain, **fields)


def main_of(git):
    return git.ls_remote("origin", ["refs/heads/main"])["refs/heads/main"]


def branches(git):
    return sorted(git.ls_remote("origin", ["refs/heads/*"]))


def on_main(git, documents):
    """Somebody else's commit on the main branch."""
    before = main_of(git)
    after = write_commit(
        git, before, documents, parents=[before], message="Other", author="Bo", at=AT
    )
    git.push("origin", {"refs/heads/main": (before, after)})
    return after


def by_hand(git, pull, documents, author="Mallory"):
    """A commit somebody pushes to the branch of a pull request."""
    after = write_commit(
        git, pull.head, documents, parents=[pull.head], message="By hand", author=author, at=AT
    )
    git.push("origin", {f"refs/heads/{pull.branch}": (pull.head, after)})
    return after


def green(forge, pull):
    for context in (CHECKS, PROMOTE):
        forge.set_status(pull, Status(context=context, state=StatusState.SUCCESS, description="ok"))


def test_a_change_becomes_one_commit_on_main_and_an_open_pull_request(git, forge, elsewhere):
    main = main_of(git)

    pull = forge.propose(change(), author=BOT, requester="ann")

    assert pull == PullRequest(
        number=1,
        branch="modelyard/promote/dev/m",
        title="Promote m v2 to dev",
        body="| a | table |",
        author=Person.named(BOT),
        base=main,
        head=git.ls_remote("origin", ["refs/heads/modelyard/*"])[f"refs/heads/{pull.branch}"],
        state=PullState.OPEN,
        opened_at=AT + timedelta(seconds=2),
        requester=Person.named("ann"),
    )
    assert elsewhere.get(1) == pull
    assert elsewhere.list() == (pull,)
    assert elsewhere.files(1) == (RELEASE,)
    (entry,) = git.log(f"{main}..{pull.head}")
    assert (entry.author, entry.subject, entry.trailers) == (
        BOT,
        pull.title,
        {"Modelyard-Version": "v2"},
    )


def test_the_same_documents_again_keep_the_head_and_the_approvals(git, forge):
    first = forge.propose(change(), author=BOT)
    forge.review(1, sha=first.head, by="ann", approved=True)
    on_main(git, {"models/m/model.yaml": b"owner: bo\n"})
    before = git.ls_remote("origin", ["refs/*"])

    again = forge.propose(change(), author=BOT)

    assert git.ls_remote("origin", ["refs/*"]) == before
    assert (again.head, find_approvers(again)) == (first.head, people("ann"))


def test_another_title_and_body_are_written_without_touching_the_head(forge):
    first = forge.propose(change(), author=BOT)
    forge.review(1, sha=first.head, by="ann", approved=True)

    forge.propose(change(title="New title", body="new"), author=BOT)

    after = forge.get(1)
    assert (after.title, after.body, after.head, find_approvers(after)) == (
        "New title", "new", first.head, people("ann"),
    )  # fmt: skip


def test_other_documents_rebuild_the_branch_and_void_the_approvals(git, forge):
    first = forge.propose(change(), author=BOT)
    forge.review(1, sha=first.head, by="ann", approved=True)
    main = on_main(git, {"models/m/model.yaml": b"owner: bo\n"})

    second = forge.propose(change({RELEASE: b"version: v3\n"}), author=BOT)

    assert (second.number, second.base, find_approvers(second)) == (1, main, frozenset())
    assert [review.sha for review in second.reviews] == [first.head]
    assert git.read_file(second.head, RELEASE) == b"version: v3\n"
    assert git.read_file(second.head, "models/m/model.yaml") == b"owner: bo\n"
    assert forge.get(1) == second


def test_a_branch_with_something_else_pushed_to_it_is_rebuilt(git, forge):
    first = forge.propose(change(), author=BOT)
    by_hand(git, first, {"models/m/trainer/train.py": b"print()\n"})

    again = forge.propose(change(), author=BOT)

    assert forge.files(1) == (RELEASE,)
    assert (again.number, again.contributors) == (1, ())


def test_a_change_that_conflicts_with_main_by_now_is_rebuilt(git, forge):
    first = forge.propose(change(), author=BOT)
    main = on_main(git, {RELEASE: b"version: v1-fixed\n"})

    again = forge.propose(change(), author=BOT)

    assert again.head != first.head
    assert again.base == main


def test_a_folder_is_restored_as_a_whole_even_if_it_has_new_files(git, forge):
    restored = {
        "environments/dev/manifests/m/": None,
        "environments/dev/manifests/m/a.yaml": b"1\n",
    }
    forge.propose(change(restored), author=BOT)
    on_main(git, {"environments/dev/manifests/m/b.yaml": b"2\n"})

    again = forge.propose(change(restored), author=BOT)

    left = [e.path for e in git.ls_tree(again.head, "environments/dev/manifests/m/")]
    assert left == ["environments/dev/manifests/m/a.yaml"]


def test_refuses_a_change_that_changes_nothing(git, forge):
    before = git.ls_remote("origin", ["refs/*"])

    with pytest.raises(Refused, match="nothing to change"):
        forge.propose(change({RELEASE: b"version: v1\n", "gone": None}), author=BOT)

    assert git.ls_remote("origin", ["refs/*"]) == before


@pytest.mark.parametrize("branch", ["main", "a..b", "a/", "/a", "-a b", "a.lock", "a\nb", ""])
def test_refuses_a_branch_that_is_main_or_no_branch(forge, branch):
    with pytest.raises(Refused):
        forge.propose(change(branch=branch), author=BOT)


@pytest.mark.long
def test_a_commit_pushed_by_hand_is_the_head_and_makes_its_author_a_contributor(
    git, forge, elsewhere
):
    first = forge.propose(change(), author=BOT, requester="ann")
    forge.review(1, sha=first.head, by="bo", approved=True)
    head = by_hand(git, first, {RELEASE: b"version: v9\n"})

    seen = elsewhere.get(1)
    assert (seen.head, seen.contributors, find_approvers(seen)) == (
        head,
        (Person.named("Mallory"),),
        frozenset(),
    )
    for name in ("Mallory", "ann", BOT, "cy"):
        elsewhere.review(1, sha=head, by=name, approved=True)
    assert find_approvers(forge.get(1)) == people("cy")
    with pytest.raises(Conflict, match="is not its head any more"):
        forge.review(1, sha=first.head, by="cy", approved=True)


def test_a_review_of_less_than_a_full_commit_is_refused(forge):
    pull = forge.propose(change(), author=BOT)

    with pytest.raises(Refused, match="not a full commit"):
        forge.review(1, sha=pull.head[:7], by="ann", approved=True)


def test_the_last_review_counts_and_the_same_one_twice_is_one(forge):
    head = forge.propose(change(), author=BOT).head
    for approved in (True, True, False, False, True):
        forge.review(1, sha=head, by="ann", approved=approved)

    reviews = forge.get(1).reviews
    assert [review.approved for review in reviews] == [True, False, True]
    assert find_approvers(forge.get(1)) == people("ann")


def test_a_comment_with_a_marker_is_edited_in_place(forge):
    forge.propose(change(), author=BOT)
    forge.comment(1, by="ann", body="hello")
    forge.comment(1, by=BOT, body="1 missing", marker="promote")
    forge.comment(1, by="ann", body="hello")
    forge.comment(1, by=BOT, body="none missing", marker="promote")
    before = forge.get(1)
    forge.comment(1, by=BOT, body="none missing", marker="promote")

    assert forge.get(1) == before
    assert [(str(c.author), c.body, c.marker) for c in before.comments] == [
        ("ann", "hello", None),
        (BOT, "none missing", "promote"),
        ("ann", "hello", None),
    ]


def test_statuses_belong_to_a_commit_and_the_same_status_changes_nothing(git, forge):
    pull = forge.propose(change(), author=BOT)
    pending = Status(context=PROMOTE, state=StatusState.PENDING, description="1 approval")
    forge.set_status(pull, pending)
    forge.set_status(pull, Status(context=CHECKS, state=StatusState.ERROR, description="x"))
    before = git.ls_remote("origin", ["refs/*"])
    forge.set_status(pull, pending)

    assert git.ls_remote("origin", ["refs/*"]) == before
    assert forge.get(1).statuses == {
        PROMOTE: pending,
        CHECKS: Status(context=CHECKS, state=StatusState.ERROR, description="x"),
    }
    by_hand(git, pull, {RELEASE: b"version: v9\n"})
    assert forge.get(1).statuses == {}


def test_refuses_to_merge_naming_each_status_that_is_missing(forge):
    pull = forge.propose(change(), author=BOT)
    forge.set_status(
        pull, Status(context=PROMOTE, state=StatusState.PENDING, description="1 approval")
    )

    with pytest.raises(Refused) as caught:
        forge.merge(1, sha=pull.head, by="ann")

    assert caught.value.message == (
        "pull request 1 may not be merged: modelyard/checks has not reported; "
        "modelyard/promote is pending (1 approval)"
    )


@pytest.mark.long
def test_a_merge_joins_main_and_the_reviewed_head_with_its_reasons(git, forge, elsewhere):
    pull = forge.propose(change(), author=BOT)
    elsewhere.review(1, sha=pull.head, by="cy", approved=True)
    green(forge, pull)
    main = on_main(git, {"models/m/model.yaml": b"owner: bo\n"})

    commit = elsewhere.merge(1, sha=pull.head, by="ann")

    git.fetch("origin", ["+refs/heads/main:refs/x/main"])
    assert main_of(git) == commit
    assert (git.rev_parse(f"{commit}^1"), git.rev_parse(f"{commit}^2")) == (main, pull.head)
    assert git.read_file(commit, RELEASE) == b"version: v2\n"
    assert git.read_file(commit, "models/m/model.yaml") == b"owner: bo\n"
    (entry,) = git.log(commit, limit=1)
    assert (entry.author, entry.subject, entry.trailers) == (
        "ann",
        "Merge pull request #1 from modelyard/promote/dev/m",
        {
            "Modelyard-Version": "v2",
            "Modelyard-Pull": "1",
            "Modelyard-Head": pull.head,
            "Modelyard-Approved-By": "cy",
        },
    )
    merged = forge.get(1)
    assert (merged.state, merged.merged_as, str(merged.closed_by)) == (
        PullState.MERGED,
        commit,
        "ann",
    )
    assert (forge.list(), forge.list(every=True)) == ((), (merged,))
    assert branches(git) == ["refs/heads/main"]
    assert forge.files(1) == (RELEASE,)


def test_merging_again_answers_the_same_and_changes_nothing(git, forge):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    commit = forge.merge(1, sha=pull.head, by="ann")
    before = git.ls_remote("origin", ["refs/*"])

    assert forge.merge(1, sha=pull.head, by="bo") == commit
    assert git.ls_remote("origin", ["refs/*"]) == before


def test_a_head_that_moved_after_it_was_read_is_not_merged(git, forge):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    main = main_of(git)
    moved = by_hand(git, pull, {RELEASE: b"version: v9\n"})
    green(forge, replace(pull, head=moved))

    with pytest.raises(Conflict, match="is not its head any more"):
        forge.merge(1, sha=pull.head, by="ann")

    assert main_of(git) == main


def test_a_merge_that_conflicts_is_refused_naming_the_paths(git, forge):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    main = on_main(git, {RELEASE: b"version: v1-fixed\n"})

    with pytest.raises(Refused, match=f"conflicts with main in {RELEASE}"):
        forge.merge(1, sha=pull.head, by="ann")

    assert main_of(git) == main


def racing(git, monkeypatch, meanwhile):
    """Let something happen between a call's look and its push, once."""
    real, happened = Git.push, []

    def push(self, remote, updates):
        if self is git and not happened:
            happened.append(True)
            meanwhile()
        real(self, remote, updates)

    monkeypatch.setattr(Git, "push", push)


def test_main_moving_under_a_merge_is_merged_with(git, forge, elsewhere, monkeypatch):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    other = elsewhere._writer.git
    other.fetch("origin", ["+refs/heads/main:refs/x/main"])
    racing(git, monkeypatch, lambda: on_main(other, {"README.md": b"x\n"}))

    commit = forge.merge(1, sha=pull.head, by="ann")

    assert (git.read_file(commit, "README.md"), git.read_file(commit, RELEASE)) == (
        b"x\n",
        b"version: v2\n",
    )


def test_a_status_that_turns_red_under_a_merge_stops_it(git, forge, elsewhere, monkeypatch):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    main = main_of(git)
    held = Status(context=PROMOTE, state=StatusState.FAILURE, description="v2 is held")
    racing(git, monkeypatch, lambda: elsewhere.set_status(pull, held))

    with pytest.raises(Refused, match=r"modelyard/promote is failure \(v2 is held\)"):
        forge.merge(1, sha=pull.head, by="ann")

    assert main_of(git) == main


def test_a_review_that_arrives_under_a_rewording_is_kept(git, forge, elsewhere, monkeypatch):
    pull = forge.propose(change(), author=BOT)
    racing(git, monkeypatch, lambda: elsewhere.review(1, sha=pull.head, by="ann", approved=True))

    after = forge.propose(change(body="new"), author=BOT)

    assert (after.body, find_approvers(after)) == ("new", people("ann"))


def test_a_closed_pull_request_says_who_and_why_and_its_branch_is_free_again(git, forge):
    first = forge.propose(change(), author=BOT)

    forge.close(1, by="ann", reason="not now")
    forge.close(1, by="bo", reason="again")

    closed = forge.get(1)
    assert (closed.state, str(closed.closed_by), closed.head) == (
        PullState.CLOSED,
        "ann",
        first.head,
    )
    assert closed.comments == (
        Comment(author=Person.named("ann"), body="not now", at=closed.closed_at),
    )
    assert branches(git) == ["refs/heads/main"]
    second = forge.propose(change(), author=BOT)
    forge.close(1, by="ann", reason="again")
    assert [pull.number for pull in forge.list()] == [second.number] == [2]
    for call in (
        lambda: forge.merge(1, sha=first.head, by="ann"),
        lambda: forge.review(1, sha=first.head, by="ann", approved=True),
    ):
        with pytest.raises(Refused):
            call()


def test_a_merged_pull_request_cannot_be_closed(forge):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    forge.merge(1, sha=pull.head, by="ann")

    with pytest.raises(Refused, match="is merged already"):
        forge.close(1, by="ann", reason="x")


def test_deleting_the_branch_closes_the_pull_request_for_good(git, forge):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    git.push("origin", {f"refs/heads/{pull.branch}": (pull.head, None)})

    assert (forge.list(), forge.get(1).state) == ((), PullState.CLOSED)
    with pytest.raises(Refused, match="its branch modelyard/promote/dev/m is gone"):
        forge.merge(1, sha=pull.head, by="ann")
    again = forge.propose(change(), author=BOT)
    assert [p.number for p in forge.list()] == [again.number] == [2]
    assert forge.get(1).state is PullState.CLOSED


def test_a_branch_a_person_pushed_is_opened_and_its_committers_cannot_approve(
    git, forge, elsewhere
):
    main = main_of(git)
    message = "Add v3\n\nCo-authored-by: Di <di@example.org>\nCo-authored-by: Ed <ed@example.org>\n"
    documents = {"models/m/versions/v3.yaml": b"a: 1\n"}
    author = "Cy <cy@example.org>"
    head = write_commit(git, main, documents, parents=[main], message=message, author=author, at=AT)
    git.push("origin", {"refs/heads/cy/v3": (None, head)})

    pull = elsewhere.open_branch("cy/v3", title="Add v3", body="", author="ann")

    assert (pull.head, str(pull.author), tuple(map(str, pull.contributors))) == (
        head,
        "ann",
        ("Cy", "Di", "Ed"),
    )
    assert forge.get(1) == pull
    assert forge.files(1) == ("models/m/versions/v3.yaml",)
    assert elsewhere.open_branch("cy/v3", title="Add v3", body="why", author="ann").number == 1
    assert forge.get(1).body == "why"


def test_refuses_to_open_a_branch_that_is_not_there_or_brings_nothing(git, forge):
    git.push("origin", {"refs/heads/same": (None, main_of(git))})

    with pytest.raises(Refused, match="origin has no branch nowhere"):
        forge.open_branch("nowhere", title="x", body="", author="ann")
    with pytest.raises(Refused) as refused:
        forge.open_branch("samee", title="x", body="", author="ann")
    assert refused.value.hint == "git push origin samee; or did you mean same?"
    with pytest.raises(Refused, match="nothing to change"):
        forge.open_branch("same", title="x", body="", author="ann")


def test_what_a_person_merged_by_hand_is_written_down_as_merged(git, forge):
    pull = forge.propose(change(), author=BOT)
    main = main_of(git)
    tree = git.tree_hash(pull.head)
    merge = git.commit_tree(tree, parents=[main, pull.head], message="By hand", author="Bo", at=AT)
    git.push("origin", {"refs/heads/main": (main, merge)})
    on_main(git, {"README.md": b"x\n"})

    assert forge.merge(1, sha=pull.head, by="ann") == merge
    assert (forge.get(1).state, branches(git)) == (PullState.MERGED, ["refs/heads/main"])


def test_texts_from_outside_stay_data(git, forge):
    title = "Fix\n\nModelyard-Pull: 99\x1b[2J `rm -rf`"
    pull = forge.propose(
        change(title=title, trailers={"Modelyard-Version": "v2\nX: y"}), author=BOT
    )
    green(forge, pull)

    commit = forge.merge(1, sha=pull.head, by="Eve\n<x> \x1b[31m")

    (entry,) = git.log(commit, limit=1)
    assert pull.title == "Fix Modelyard-Pull: 99 [2J `rm -rf`"
    assert entry.trailers == {
        "Modelyard-Version": "v2 X: y", "Modelyard-Pull": "1", "Modelyard-Head": pull.head,
    }  # fmt: skip
    assert entry.author == "Eve x [31m"


def written_by_hand(git, ref, document, name="document.json"):
    """A commit of somebody who does not know what belongs there."""
    before = git.ls_remote("origin", [ref]).get(ref)
    commit = git.commit_tree(
        git.write_tree(None, {name: document}), parents=[], message="x", author="Bo", at=AT
    )
    git.push("origin", {ref: (before, commit)})


def of_a_newer_modelyard(git, number):
    ref = f"refs/modelyard/pulls/{number}"
    document = json.loads(git.read_file(git.ls_remote("origin", [ref])[ref], "document.json"))
    return json.dumps({**document, "mood": "good"}).encode()


def test_an_unchanged_document_is_parsed_once(forge, monkeypatch):
    def counted(document, kind, where):
        taken_apart.append(where)
        return json_documents.parse_json(document, kind, where)

    taken_apart = []
    monkeypatch.setattr(forge_snapshot, "_STORED", AnswerCache(10))
    monkeypatch.setattr(forge_snapshot, "parse_json", counted)
    forge.propose(change(), author=BOT)
    forge.propose(change(branch=FEATURE), author=BOT)

    assert len(forge.list(every=True)) == len(forge.list()) == 2
    forge.comment(2, by="ann", body="words")
    assert forge.list()[1].comments[0].body == "words"

    ref = "refs/modelyard/pulls/"
    assert taken_apart == [f"{ref}1", f"{ref}2", f"{ref}2"]


FEATURE = "modelyard/promote/staging/m"


@pytest.mark.sample(2)
@pytest.mark.parametrize("how", ["damaged", "too deep", "newer", "no document", "another number"])
def test_a_pull_request_that_cannot_be_read_is_left_out_and_named_once(
    git, forge, how, caplog, monkeypatch
):
    monkeypatch.setattr(json_documents, "_warned", {})
    forge.propose(change(), author=BOT)
    other = forge.propose(change(branch=FEATURE), author=BOT)
    document = {
        "damaged": b"{",
        "too deep": b"[" * 200_000,
        "newer": of_a_newer_modelyard(git, 1),
        "no document": b"",
        "another number": of_a_newer_modelyard(git, 2).replace(b', "mood": "good"', b""),
    }[how]
    name = "notes.txt" if how == "no document" else "document.json"
    written_by_hand(git, "refs/modelyard/pulls/1", document, name)

    assert forge.list() == forge.list(every=True) == (other,)

    assert caplog.text.count("refs/modelyard/pulls/1: ") == 1
    for ask in (forge.get, forge.files):
        with pytest.raises(CannotAnswer, match="refs/modelyard/pulls/1: "):
            ask(1)


def test_nothing_is_proposed_that_an_unreadable_pull_request_may_be_about(git, forge):
    forge.propose(change(), author=BOT)
    known = of_a_newer_modelyard(git, 1)
    by = "refs/modelyard/pulls/1 cannot be read and may be about "

    written_by_hand(git, "refs/modelyard/pulls/1", known)
    with pytest.raises(Refused, match=f"{by}modelyard/promote/dev/m already"):
        forge.propose(change(), author=BOT)
    assert forge.propose(change(branch=FEATURE), author=BOT).number == 2

    written_by_hand(git, "refs/modelyard/pulls/1", b"{")
    with pytest.raises(Refused, match=f"{by}modelyard/promote/canary/m already"):
        forge.propose(change(branch="modelyard/promote/canary/m"), author=BOT)
    assert forge.propose(change(branch=FEATURE, title="Another"), author=BOT).number == 2


@pytest.mark.long
def test_a_rollback_waits_for_no_unreadable_pull_request(git, forge):
    back = change(purpose=Purpose.ROLLBACK, branch="modelyard/rollback/dev/m")
    forge.propose(back, author=BOT)
    written_by_hand(git, "refs/modelyard/pulls/1", of_a_newer_modelyard(git, 1))

    pull = forge.propose(back, author=BOT)
    green(forge, pull)
    forge.merge(pull.number, sha=pull.head, by=BOT)

    assert forge.get(2).state is PullState.MERGED
    assert git.read_file(main_of(git), RELEASE) == b"version: v2\n"


@pytest.mark.long
def test_statuses_that_cannot_be_read_are_none_and_are_not_written_over(
    git, forge, caplog, monkeypatch
):
    monkeypatch.setattr(json_documents, "_warned", {})
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    ref = f"refs/modelyard/statuses/{pull.head}"
    readable = git.ls_remote("origin", [ref])[ref]
    written_by_hand(git, ref, b'{"x": {"context": "x", "state": "blocked", "description": ""}}')
    unreadable = git.ls_remote("origin", [ref])[ref]

    assert forge.get(1) == pull
    assert f"{ref}: " in caplog.text
    with pytest.raises(CannotAnswer, match=f"{ref}: "):
        green(forge, pull)
    with pytest.raises(Refused, match="has not reported"):
        forge.merge(1, sha=pull.head, by="ann")
    assert git.ls_remote("origin", [ref])[ref] == unreadable

    git.push("origin", {ref: (unreadable, readable)})
    forge.merge(1, sha=pull.head, by="ann")


@pytest.mark.long
def test_a_rollback_waits_for_no_unreadable_statuses(git, forge):
    back = change(purpose=Purpose.ROLLBACK, branch="modelyard/rollback/dev/m")
    before = forge.propose(back, author=BOT)
    written_by_hand(git, f"refs/modelyard/statuses/{before.head}", b"{")

    pull = forge.propose(back, author=BOT)
    green(forge, pull)
    forge.merge(pull.number, sha=pull.head, by=BOT)

    assert (pull.number, forge.get(1).state) == (1, PullState.MERGED)
    assert git.read_file(main_of(git), RELEASE) == b"version: v2\n"


def test_names_the_pull_request_that_does_not_exist(forge):
    with pytest.raises(CannotAnswer, match="there is no pull request 7"):
        forge.get(7)


def test_says_that_the_remote_has_no_main_branch(tmp_path):
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "remote.git")], check=True)
    forge = LocalForge(clone(tmp_path, "clone"), Repository(), TickingClock())

    with pytest.raises(CannotAnswer, match="origin has no branch main"):
        forge.propose(change(), author=BOT)


PROGRAM = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from modelyard.adapters.git.repository import Git
from modelyard.adapters.git.objects import AnswerCache
from modelyard.adapters.forge.local.forge import LocalForge
from modelyard.domain.promotion.change import Change, Purpose
from modelyard.domain.promotion.pulls import Status, StatusState
from modelyard.domain.specs.repository import Repository

class Clock:
    def now(self):
        return datetime(2026, 3, 1, 13, tzinfo=UTC)

forge = LocalForge(Git(Path(sys.argv[1])), Repository(), Clock())

def propose(who, what):
    return forge.propose(
        Change(purpose=Purpose.PROMOTE, branch=f"modelyard/{who}", title="t", body="b",
               documents={f"{who}.yaml": what}), author=who)

def kill_at(push, before):
    real, count = Git.push, []
    def hooked(self, remote, updates):
        count.append(1)
        if len(count) == push and before:
            os._exit(9)
        real(self, remote, updates)
        if len(count) == push:
            os._exit(9)
    Git.push = hooked
"""


def started(forge, program, *args):
    return run_forked(PROGRAM + program, str(forge._writer.git.root), *args)


@pytest.mark.long
def test_two_processes_that_review_and_open_at_once_lose_nothing(forge, elsewhere):
    head = forge.propose(change(), author=BOT).head
    program = (
        "who, head = sys.argv[2:4]\n"
        "for n in range(4):\n"
        "    forge.review(1, sha=head, by=f'{who}{n}', approved=True)\n"
        "    propose(f'{who}{n}', b'x')\n"
    )
    racers = [started(forge, program, "a", head), started(elsewhere, program, "b", head)]

    assert [racer.wait(timeout=60) for racer in racers] == [0, 0]
    names = {f"{who}{n}" for who in "ab" for n in range(4)}
    assert find_approvers(forge.get(1)) == people(*names)
    opened = forge.list()[1:]
    assert {str(pull.author) for pull in opened} == names
    assert [pull.number for pull in opened] == list(range(2, 10))


def test_two_processes_that_propose_the_very_same_change_open_one_pull_request(forge, elsewhere):
    program = "propose('bot', b'x')\n"
    racers = [started(forge, program), started(elsewhere, program)]

    assert [racer.wait(timeout=60) for racer in racers] == [0, 0]
    assert [pull.number for pull in forge.list()] == [1]


WHOLE_PATH = """
who = sys.argv[2]
if len(sys.argv) > 3:
    kill_at(int(sys.argv[3]), sys.argv[4] == 'before')
pull = next((p for p in forge.list(every=True) if p.branch == f'modelyard/{who}'), None)
if pull is None:
    pull = propose(who, b'x')
for context in ('modelyard/checks', 'modelyard/promote'):
    forge.set_status(pull, Status(context=context, state=StatusState.SUCCESS, description=''))
if pull.state == 'open':
    forge.review(pull.number, sha=pull.head, by='ann', approved=True)
forge.merge(pull.number, sha=pull.head, by=who)
"""


@pytest.mark.long
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_any_of_its_writes_and_run_again_it_ends_the_same(git, forge, when):
    for push in range(1, 6):
        who = f"bot{push}"
        assert started(forge, WHOLE_PATH, who, str(push), when).wait(timeout=60) == 9
        assert started(forge, WHOLE_PATH, who).wait(timeout=60) == 0

        pull = forge.list(every=True)[-1]
        assert (pull.number, pull.branch, pull.state) == (
            push,
            f"modelyard/{who}",
            PullState.MERGED,
        )
        assert (pull.merged_as, find_approvers(pull)) == (main_of(git), people("ann"))
    assert branches(git) == ["refs/heads/main"]
    git.fetch("origin", ["+refs/heads/main:refs/x/main"])
    assert [e.author for e in git.log("refs/x/main", first_parent=True, limit=6)] == [
        "bot5", "bot4", "bot3", "bot2", "bot1", "Ann",
    ]  # fmt: skip


@pytest.mark.sample(1)
@pytest.mark.parametrize("kept", [{"main"}, {"pulls"}, {"pulls", "main"}, {"statuses"}])
def test_a_server_killed_half_way_through_a_merge_is_finished_by_the_next(git, forge, kept):
    pull = forge.propose(change(), author=BOT)
    green(forge, pull)
    real = Git.push

    def torn(self, remote, updates):
        real(self, remote, {r: u for r, u in updates.items() if any(part in r for part in kept)})
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Git, "push", torn)
        with pytest.raises(KeyboardInterrupt):
            forge.merge(1, sha=pull.head, by="ann")
    commit = forge.merge(1, sha=pull.head, by="ann")

    merged = forge.get(1)
    assert (merged.state, merged.merged_as, main_of(git)) == (PullState.MERGED, commit, commit)
    assert branches(git) == ["refs/heads/main"]
    assert len(git.log(f"{pull.base}..{commit}", first_parent=True)) == 1


def test_reviewed_commits_outlive_their_branch(git, forge, elsewhere):
    first = forge.propose(change(), author=BOT)
    forge.review(1, sha=first.head, by="ann", approved=True)
    forge.propose(change({RELEASE: b"version: v3\n"}), author=BOT)
    forge.close(1, by="ann", reason="x")
    subprocess.run(
        ["git", "-C", git.root.parent / "remote.git", "gc", "-q", "--prune=now"], check=True
    )

    elsewhere.get(1)

    assert elsewhere._writer.git.read_file(first.head, RELEASE) == b"version: v2\n"


def test_a_review_is_written_with_its_commit_and_time(forge):
    head = forge.propose(change(), author=BOT).head
    forge.review(1, sha=head, by="ann", approved=False)

    (review,) = forge.get(1).reviews
    assert review == Review(author=Person.named("ann"), approved=False, sha=head, at=review.at)
    assert review.at > AT


@given(st.text(st.sampled_from("abAZ09./-_@{~^:?*[\\ \x7f\tlock"), max_size=12))
@settings(max_examples=60)
def test_a_branch_that_is_taken_is_one_git_takes(tmp_path_factory, branch):
    git = Git(tmp_path_factory.getbasetemp())
    workspace = LocalForge(git, Repository(), TickingClock())._writer
    try:
        ref = workspace.branch_ref(branch)
    except Refused:
        return

    assert git.run("check-ref-format", ref, accept=(0, 1)).returncode == 0


@pytest.mark.parametrize("branch", ["modelyard/state", "modelyard/state/x"])
def test_the_branch_of_the_facts_is_never_proposed(forge, branch):
    with pytest.raises(Refused, match="cannot be the branch of a pull request"):
        forge.open_branch(branch, title="x", body="", author="Mallory")

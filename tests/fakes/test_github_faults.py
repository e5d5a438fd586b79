from __future__ import annotations

import httpx
import pytest

from fakes.github import (
    AsyncMerge,
    bad_gateway,
    cut_off,
    forbidden,
    moves,
    not_found,
    primary_limit,
    secondary_limit,
    too_many,
    try_again,
)


@pytest.fixture
def ada(fake_github, api):
    """The API as ada sees it, with one open pull request."""
    token = fake_github.add_person("ada")
    fake_github.seed({"a.txt": "one\n"})
    fake_github.seed({"a.txt": "ONE\n"}, branch="change")
    ada = api(token)
    ada("POST", "~/pulls", {"title": "Change", "head": "change", "base": "main"})
    return ada


def comments(ada) -> list[str]:
    return [one["body"] for one in ada.get("~/issues/1/comments")]


@pytest.mark.parametrize(("after", "said"), [(False, []), (True, ["hello"])])
def test_a_502_comes_before_or_after_the_act(fake_github, ada, after, said):
    fake_github.queue(bad_gateway("POST", "/comments$", after=after))
    assert ada("POST", "~/issues/1/comments", {"body": "hello"}).status_code == 502
    assert comments(ada) == said
    assert ada("POST", "~/issues/1/comments", {"body": "again"}).status_code == 201


@pytest.mark.parametrize(("after", "said"), [(False, []), (True, ["hello"])])
def test_a_connection_is_cut_before_or_after_the_act(fake_github, ada, after, said):
    fake_github.queue(cut_off("POST", "/comments$", after=after))
    with pytest.raises(httpx.RemoteProtocolError):
        ada("POST", "~/issues/1/comments", {"body": "hello"})
    assert comments(ada) == said


def test_limits_say_when_to_come_again(fake_github, ada):
    fake_github.queue(secondary_limit("GET", "/user", retry_after=7))
    answer = ada("GET", "/user")
    assert (answer.status_code, answer.headers["retry-after"]) == (403, "7")
    assert "secondary rate limit" in answer.json()["message"]
    fake_github.queue(primary_limit("GET", "/user", reset_in=9))
    answer = ada("GET", "/user")
    assert (answer.status_code, answer.headers["x-ratelimit-remaining"]) == (403, "0")
    wait = int(answer.headers["x-ratelimit-reset"]) - fake_github.clock.now()
    assert 7 < wait <= 9
    fake_github.queue(too_many("GET", "/user", retry_after=1, times=2))
    assert [ada("GET", "/user").status_code for _ in range(3)] == [429, 429, 200]


def test_an_hours_calls_are_used_up_and_given_again(fake_github, ada):
    fake_github.ledger.hourly = fake_github.calls() + 1
    assert ada("GET", "/user").status_code == 200
    assert ada("GET", "/user").status_code == 403
    assert ada.get("/rate_limit")["rate"]["remaining"] == 0
    fake_github.clock.advance(3600)
    assert ada("GET", "/user").status_code == 200


def test_a_permission_that_is_missing_is_404_or_403(fake_github, ada):
    fake_github.queue(not_found("GET", "/permission$"), forbidden("POST", "/statuses/"))
    assert ada("GET", "~/collaborators/ada/permission").status_code == 404
    head = ada.get("~/pulls/1")["head"]["sha"]
    assert ada("POST", f"~/statuses/{head}", {"state": "success"}).status_code == 403


def test_a_second_page_is_linked(fake_github, ada):
    for number in range(5):
        ada("POST", "~/issues/1/comments", {"body": str(number)})
    fake_github.largest_page = 2
    answer = ada("GET", "~/issues/1/comments?per_page=100")
    seen = [one["body"] for one in answer.json()]
    while "next" in answer.links:
        answer = ada("GET", answer.links["next"]["url"])
        seen += [one["body"] for one in answer.json()]
    assert seen == ["0", "1", "2", "3", "4"]
    assert fake_github.calls("GET", "/comments") == 3


def test_what_has_not_changed_is_304_and_free(fake_github, ada):
    tag = ada("GET", "~/pulls/1").headers["etag"]
    left = ada.get("/rate_limit")["rate"]["remaining"]
    assert ada("GET", "~/pulls/1", if_none_match=tag).status_code == 304
    assert ada.get("/rate_limit")["rate"]["remaining"] == left
    assert fake_github.calls("GET", "/pulls/1", status=304) == 1
    ada("PATCH", "~/pulls/1", {"title": "Another"})
    assert ada("GET", "~/pulls/1", if_none_match=tag).status_code == 200


def test_a_head_moves_between_two_reads(fake_github, ada):
    fake_github.queue(
        moves(
            lambda: fake_github.seed({"a.txt": "TWO\n"}, branch="change"),
            path="/pulls/1$",
            after_reads=2,
        )
    )
    heads = [ada.get("~/pulls/1")["head"]["sha"] for _ in range(4)]
    assert heads[0] == heads[1] != heads[2] == heads[3]
    assert ada("PUT", "~/pulls/1/merge", {"sha": heads[0]}).status_code == 409
    assert ada("PUT", "~/pulls/1/merge", {"sha": heads[2]}).status_code == 200


def test_it_takes_a_while_to_know_whether_a_merge_is_possible(fake_github, ada):
    fake_github.unknown_mergeability = 2
    assert [ada.get("~/pulls/1")["mergeable"] for _ in range(3)] == [None, None, True]


@pytest.mark.long
def test_a_thousand_closed_pull_requests_are_ten_pages(fake_github, ada):
    fake_github.add_past_pulls(999, "ada")
    fake_github.add_past_pulls(1, "ada", merged=False)
    before = fake_github.calls()
    answer = ada("GET", "~/pulls?state=closed&per_page=100")
    numbers = [one["number"] for one in answer.json()]
    assert [one["merged_at"] is None for one in answer.json()[:2]] == [True, False]
    while "next" in answer.links:
        answer = ada("GET", answer.links["next"]["url"])
        numbers += [one["number"] for one in answer.json()]
    assert numbers == list(range(1001, 1, -1))
    assert fake_github.calls() - before == 10


def test_a_pull_request_in_a_stack_says_so(fake_github, ada):
    stack = {"base": {"ref": "main", "sha": "1" * 40}, "size": 2, "position": 2}
    fake_github.repository.pulls[1].stack = stack
    assert ada.get("~/pulls/1")["stack"] == ada.get("~/pulls")[0]["stack"] == stack


def test_a_merge_is_to_be_tried_again(fake_github, ada):
    fake_github.queue(try_again(times=2))
    tries = [ada("PUT", "~/pulls/1/merge") for _ in range(3)]
    assert [one.status_code for one in tries] == [405, 405, 200]
    assert "try the merge again" in tries[0].json()["message"]


def ask(ada, **body: str) -> httpx.Response:
    return ada("PUT", "~/pulls/1/merge-async", body)


def result(ada, asked: httpx.Response) -> httpx.Response:
    return ada("GET", f"~/pulls/1/merge-async/{asked.json()['details']['uuid']}")


def test_a_merge_in_the_background_is_pending_and_then_merged(fake_github, ada):
    fake_github.queue(AsyncMerge(reads=2))
    head = ada.get("~/pulls/1")["head"]["sha"]
    asked = ask(ada, sha=head, merge_method="merge")
    assert asked.status_code == 202
    assert asked.json()["details"]["expected_head_sha"] == head
    seen = [result(ada, asked).json()["status"] for _ in range(3)]
    assert seen == ["pending", "pending", "merged"]
    sha = result(ada, asked).json()["details"]["sha"]
    assert ada.get("~/pulls/1")["merge_commit_sha"] == sha
    again = ask(ada)
    assert (again.status_code, again.json()["details"]["sha"]) == (200, sha)


def test_a_merge_in_the_background_happens_though_nobody_asks(fake_github, ada):
    fake_github.queue(AsyncMerge(reads=5))
    ask(ada)
    assert ada.get("~/pulls/1")["merged"] is False
    fake_github.clock.advance(61)
    assert ada.get("~/pulls/1")["merged"] is True


@pytest.mark.parametrize("outcome", ["failed", "enqueued"])
def test_a_merge_in_the_background_ends_otherwise(fake_github, ada, outcome):
    fake_github.queue(AsyncMerge(outcome=outcome))
    assert result(ada, ask(ada)).json()["status"] == outcome
    assert ada.get("~/pulls/1")["merged"] is False


def test_the_result_of_a_merge_in_the_background_is_forgotten(fake_github, ada):
    fake_github.queue(AsyncMerge(outcome="expired"))
    assert result(ada, ask(ada)).status_code == 404
    assert ada.get("~/pulls/1")["merged"] is False
    asked = ask(ada)
    assert result(ada, asked).json()["status"] == "merged"
    fake_github.clock.advance(25 * 3600)
    assert result(ada, asked).status_code == 404


def test_another_merge_in_the_background_is_under_way(fake_github, ada):
    fake_github.queue(AsyncMerge(other="1" * 40))
    other = ask(ada)
    assert (other.status_code, other.json()["details"]["expected_head_sha"]) == (409, "1" * 40)
    assert ada.get("~/pulls/1")["merged"] is False


def test_a_merge_in_the_background_fails_for_the_rules_or_a_push(fake_github, ada):
    fake_github.protect(approvals=1)
    failed = result(ada, ask(ada)).json()
    assert failed["status"] == "failed"
    assert "At least 1 approving review" in failed["details"]["message"]
    fake_github.repository.rulesets.clear()
    fake_github.queue(AsyncMerge(reads=1))
    asked = ask(ada)
    fake_github.seed({"a.txt": "TWO\n"}, branch="change")
    assert [result(ada, asked).json()["status"] for _ in range(2)] == ["pending", "failed"]
    assert ask(ada, sha="1" * 40).status_code == 202
    ada("PATCH", "~/pulls/1", {"state": "closed"})
    assert ask(ada).status_code == 400

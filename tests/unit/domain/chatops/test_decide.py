from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain.chatops.authority import Authority, Role, parse_role
from modelyard.domain.chatops.commands import (
    Approve,
    BreakGlass,
    Command,
    Freeze,
    Help,
    Hold,
    Override,
    Plan,
    Promote,
    Retrain,
    Rollback,
    Unapprove,
    Unfreeze,
    Unhold,
    Why,
)
from modelyard.domain.chatops.decide import (
    LONGEST_FREEZE,
    LONGEST_OVERRIDE,
    Decision,
    decide,
    decide_misread,
)
from modelyard.domain.chatops.grammar import parse_line
from modelyard.domain.chatops.reading import Misread
from modelyard.domain.chatops.reasons import ReasonCode
from modelyard.domain.chatops.request import Comment, Request, Subject
from modelyard.domain.people import Person
from modelyard.domain.promotion.pulls import PullState
from modelyard.domain.verdict import Outcome

HEAD, OLD = "a" * 40, "b" * 40
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ANN, BOB = Person(login="ann", id="1"), Person(login="bob", id="2")
HOUR = timedelta(hours=1)
COMMENT = Comment(
    id="77",
    author=BOB,
    is_bot=False,
    body=f"/approve {HEAD}",
    created_at=NOW - HOUR,
    updated_at=NOW - HOUR,
)
SUBJECT = Subject(
    number=12,
    state=PullState.OPEN,
    head=HEAD,
    makers={ANN: "asked for it"},
    has_passed_checks=True,
    model="wine",
    version="v7",
    environment="production",
    approvers=("bob", "acme/ml-leads"),
    gate=Outcome.INCONCLUSIVE,
)
APPROVE = Approve(sha=HEAD)
FREEZE = Freeze(environment="staging", until=NOW + HOUR, reason="holidays")
OVERRIDE = Override(until=NOW + HOUR, reason="few rows")
BREAK_GLASS = BreakGlass(sha=HEAD, reason="outage")
ALL: tuple[Command, ...] = (
    *(APPROVE, Unapprove(), Hold(), Unhold(), Promote(), Rollback(), FREEZE, Unfreeze()),
    *(Retrain(), OVERRIDE, BREAK_GLASS, Why(), Plan(), Help()),
)
OF_THE_OPEN = (APPROVE, Unapprove(), BREAK_GLASS)


def request(command: Command = APPROVE, **changes: object) -> Request:
    """A request that is accepted, unless the changes say otherwise."""
    subject = replace(SUBJECT, **changes.pop("subject", {}))
    comment = replace(COMMENT, **changes.pop("comment", {}))
    default = Request(
        command=command,
        index=0,
        repository="42",
        event=comment,
        fetched=comment,
        authority=Authority(role=Role.ADMIN),
        subject=subject,
        environments=frozenset({"staging", "production"}),
        now=NOW,
    )
    return replace(default, **changes)


def reason_of(asked: Request) -> ReasonCode:
    found = decide(asked)
    assert found.is_accepted is (found.reason is ReasonCode.ACCEPTED)
    assert found.sentence
    return found.reason


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
def test_a_command_that_fits_is_accepted(command: Command):
    asked = request(command)

    assert decide(asked) == Decision(
        is_accepted=True, reason=ReasonCode.ACCEPTED, sentence="bob may do this", key=asked.key
    )


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize("role", [None, Role.NONE, Role.READ, Role.TRIAGE])
def test_a_role_that_may_not_write_may_command_nothing(command: Command, role: Role | None):
    expected = ReasonCode.ROLE_UNKNOWN if role is None else ReasonCode.ROLE_TOO_LOW

    assert reason_of(request(command, authority=Authority(role=role))) is expected


@pytest.mark.parametrize("role", [Role.WRITE, Role.MAINTAIN])
def test_only_admins_break_the_glass(role: Role):
    assert reason_of(request(BREAK_GLASS, authority=Authority(role=role))) is (
        ReasonCode.ROLE_TOO_LOW
    )
    assert decide(request(APPROVE, authority=Authority(role=role))).is_accepted


@pytest.mark.parametrize(
    ("name", "role"),
    [
        *(("admin", Role.ADMIN), ("owner", Role.ADMIN), ("maintain", Role.MAINTAIN)),
        *(("write", Role.WRITE), ("push", Role.WRITE), ("read", Role.READ), ("none", Role.NONE)),
        *(("", None), ("Admin", None), ("MEMBER", None), ("release-captain", None)),
    ],
)
def test_a_role_that_is_not_known_is_none(name: str, role: Role | None):
    assert parse_role(name) is role


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize(
    ("fetched", "reason"),
    [
        (None, ReasonCode.COMMENT_GONE),
        (replace(COMMENT, id="78"), ReasonCode.COMMENT_GONE),
        # Within one second: the times are equal, and only the body shows the edit.
        (replace(COMMENT, body=f"/approve {OLD}"), ReasonCode.COMMENT_EDITED),
        (replace(COMMENT, body=COMMENT.body + " "), ReasonCode.COMMENT_EDITED),
        (replace(COMMENT, updated_at=NOW), ReasonCode.COMMENT_EDITED),
        (replace(COMMENT, created_at=NOW, updated_at=NOW), ReasonCode.COMMENT_EDITED),
        (replace(COMMENT, author=ANN), ReasonCode.COMMENT_EDITED),
        (replace(COMMENT, is_bot=True), ReasonCode.BOT_AUTHOR),
    ],
)
def test_a_comment_that_is_not_as_it_was_written_commands_nothing(
    command: Command, fetched: Comment | None, reason: ReasonCode
):
    assert reason_of(request(command, fetched=fetched)) is reason


def test_an_event_of_an_edit_commands_nothing():
    assert reason_of(request(comment={"updated_at": NOW})) is ReasonCode.COMMENT_EDITED


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
def test_programs_give_no_commands(command: Command):
    assert reason_of(request(command, comment={"is_bot": True})) is ReasonCode.BOT_AUTHOR


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
def test_a_command_is_done_once(command: Command):
    asked = request(command)

    assert reason_of(replace(asked, done=frozenset({asked.key}))) is ReasonCode.ALREADY_DONE


def test_each_command_of_a_comment_and_each_comment_has_a_key_of_its_own():
    keys = {
        request().key,
        request(index=1).key,
        request(repository="43").key,
        request(comment={"id": "78"}).key,
        request(Approve(sha=OLD)).key,
    }

    assert len(keys) == 5


def test_the_key_stays_the_same_when_the_head_moves():
    asked = request(Rollback())

    assert asked.key == request(Rollback(), subject={"head": OLD}).key


@pytest.mark.parametrize("command", ALL, ids=lambda command: type(command).__name__)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": PullState.MERGED}, ReasonCode.PULL_MERGED),
        ({"state": PullState.CLOSED}, ReasonCode.PULL_CLOSED),
        ({"is_to_main": False}, ReasonCode.OTHER_BASE),
        ({"is_stacked": True}, ReasonCode.STACKED),
    ],
)
def test_only_an_open_pull_request_to_main_is_approved(
    command: Command, changes: dict[str, object], reason: ReasonCode
):
    expected = reason if command in OF_THE_OPEN else ReasonCode.ACCEPTED

    assert reason_of(request(command, subject=changes)) is expected


@pytest.mark.parametrize("make", [Approve, lambda sha: BreakGlass(sha=sha, reason="outage")])
def test_an_approval_is_of_the_head_and_of_nothing_else(make):
    found = decide(request(make(sha=OLD)))

    assert found.reason is ReasonCode.HEAD_MOVED
    assert found.sentence == "bbbbbbbbbb is not the head; aaaaaaaaaa is"
    assert found.paste.endswith((f" {HEAD}", f" {HEAD} REASON"))


@pytest.mark.parametrize("command", [APPROVE, BREAK_GLASS])
@pytest.mark.parametrize(
    ("after_the_comment", "reason"),
    [
        (-timedelta(seconds=1), ReasonCode.ACCEPTED),
        (timedelta(), ReasonCode.BASE_CHANGED),
        (timedelta(minutes=5), ReasonCode.BASE_CHANGED),
    ],
)
def test_an_approval_for_another_base_branch_does_not_count(command, after_the_comment, reason):
    changed = COMMENT.created_at + after_the_comment

    assert reason_of(request(command, subject={"retargeted_at": changed})) is reason


@pytest.mark.parametrize("command", [APPROVE, BREAK_GLASS])
def test_nothing_is_approved_before_its_checks_have_passed(command: Command):
    asked = request(command, subject={"has_passed_checks": False})

    assert reason_of(asked) is ReasonCode.CHECKS_MISSING


@pytest.mark.parametrize("command", [APPROVE, OVERRIDE])
@pytest.mark.parametrize("did", ["opened it", "asked for it", "committed to it", "wrote v7"])
def test_a_maker_does_not_approve(command: Command, did: str):
    renamed = Person(login="bobby", id=BOB.id)

    found = decide(request(command, subject={"makers": {renamed: did}}))

    assert found.reason is ReasonCode.OWN_PULL_REQUEST
    assert found.sentence == f"bob {did}, so another person has to approve it"


@pytest.mark.parametrize("command", [APPROVE, OVERRIDE])
def test_nobody_approves_what_nobody_is_known_to_have_made(command: Command):
    assert reason_of(request(command, subject={"makers": None})) is ReasonCode.MAKERS_UNKNOWN


@pytest.mark.parametrize(
    ("approvers", "teams", "reason"),
    [
        ((), None, ReasonCode.ACCEPTED),
        (("bob",), None, ReasonCode.ACCEPTED),
        (("BOB",), None, ReasonCode.ACCEPTED),
        (("ann",), frozenset(), ReasonCode.NOT_AN_APPROVER),
        (("ann",), None, ReasonCode.NOT_AN_APPROVER),
        (("acme/leads",), frozenset({"acme/leads"}), ReasonCode.ACCEPTED),
        (("ann", "acme/leads"), frozenset({"acme/leads"}), ReasonCode.ACCEPTED),
        (("acme/leads",), frozenset({"other/leads"}), ReasonCode.NOT_AN_APPROVER),
        (("acme/leads",), frozenset(), ReasonCode.NOT_AN_APPROVER),
        (("acme/leads",), None, ReasonCode.TEAMS_UNKNOWN),
        (("bob", "acme/leads"), None, ReasonCode.ACCEPTED),
    ],
)
@pytest.mark.parametrize("command", [APPROVE, OVERRIDE])
def test_only_named_people_and_members_of_named_teams_approve(
    command: Command,
    approvers: tuple[str, ...],
    teams: frozenset[str] | None,
    reason: ReasonCode,
):
    authority = Authority(role=Role.WRITE, teams=teams)

    found = reason_of(request(command, authority=authority, subject={"approvers": approvers}))

    assert found is reason


@pytest.mark.parametrize("command", [APPROVE, OVERRIDE])
def test_a_team_that_is_not_known_is_named_and_stands_in_nobodys_way(command: Command):
    approvers = ("acme/leads", "acme/gone", "acme/judges")
    unknown = frozenset({"acme/gone"})
    outside = Authority(role=Role.WRITE, teams=frozenset(), unknown_teams=unknown)
    inside = replace(outside, teams=frozenset({"acme/judges"}))

    found = decide(request(command, authority=outside, subject={"approvers": approvers}))

    assert found.reason is ReasonCode.TEAMS_UNKNOWN
    assert found.sentence == "the forge did not say whether bob is in acme/gone"
    accepted = request(command, authority=inside, subject={"approvers": approvers})
    assert reason_of(accepted) is ReasonCode.ACCEPTED


def test_a_limit_is_why_a_team_is_not_known():
    fault = "the forge's limit is reached until 13:00"
    outside = Authority(role=Role.WRITE, unknown_teams=frozenset({"acme/leads"}), fault=fault,
                        is_at_limit=True)  # fmt: skip

    found = decide(request(APPROVE, authority=outside, subject={"approvers": ("acme/leads",)}))

    assert found.reason is ReasonCode.LIMIT_REACHED
    assert found.sentence == f"the forge did not say whether bob is in acme/leads: {fault}"
    named = request(APPROVE, authority=outside, subject={"approvers": ("acme/leads", "bob")})
    assert reason_of(named) is ReasonCode.ACCEPTED


def test_a_person_whose_login_looks_like_a_team_is_none():
    author = Person(login="acme/leads", id="9")
    authority = Authority(role=Role.WRITE, teams=frozenset())

    asked = request(
        authority=authority, comment={"author": author}, subject={"approvers": ("acme/leads",)}
    )

    assert reason_of(asked) is ReasonCode.NOT_AN_APPROVER


@pytest.mark.parametrize(
    ("command", "subject", "reason", "paste"),
    [
        (Hold(), {"model": ""}, ReasonCode.NO_MODEL, ""),
        (Rollback(), {"model": ""}, ReasonCode.NO_MODEL, ""),
        (Retrain(), {"version": ""}, ReasonCode.NO_VERSION, ""),
        (Promote(), {"version": ""}, ReasonCode.NO_VERSION, ""),
        (Promote(), {"environment": ""}, ReasonCode.NO_ENVIRONMENT, "/promote ENVIRONMENT"),
        (Unfreeze(), {"environment": ""}, ReasonCode.NO_ENVIRONMENT, "/unfreeze ENVIRONMENT"),
        (
            Rollback(environment="it", reason="answers nonsense"),
            {},
            ReasonCode.UNKNOWN_ENVIRONMENT,
            "/rollback production REASON",
        ),
        (Promote(environment="../etc"), {}, ReasonCode.UNKNOWN_ENVIRONMENT, "/promote production"),
    ],
)
def test_a_command_about_nothing_is_answered_with_what_is_missing(
    command: Command, subject: dict[str, object], reason: ReasonCode, paste: str
):
    found = decide(request(command, subject=subject))

    assert (found.reason, found.paste) == (reason, paste)


def test_an_environment_of_its_own_name_wins_over_that_of_the_pull_request():
    found = decide(request(Rollback(environment="staging"), subject={"environment": ""}))

    assert found.is_accepted


@pytest.mark.parametrize("gate", [None, Outcome.PASS, Outcome.FAIL])
def test_only_an_inconclusive_gate_is_overridden(gate: Outcome | None):
    assert reason_of(request(OVERRIDE, subject={"gate": gate})) is (
        ReasonCode.GATE_NOT_INCONCLUSIVE
    )


@pytest.mark.parametrize(
    ("command", "longest"), [(FREEZE, LONGEST_FREEZE), (OVERRIDE, LONGEST_OVERRIDE)]
)
def test_a_freeze_and_an_override_end_in_time(command: Freeze | Override, longest: timedelta):
    second = timedelta(seconds=1)

    ends = {
        reason: reason_of(request(replace(command, until=until)))
        for reason, until in {
            "long ago": NOW - HOUR,
            "now": NOW,
            "soon": NOW + second,
            "last": NOW + longest,
            "too late": NOW + longest + second,
        }.items()
    }

    assert ends == {
        "long ago": ReasonCode.TIME_PASSED,
        "now": ReasonCode.TIME_PASSED,
        "soon": ReasonCode.ACCEPTED,
        "last": ReasonCode.ACCEPTED,
        "too late": ReasonCode.TIME_TOO_FAR,
    }


def test_a_bare_approve_is_answered_with_the_whole_line():
    misread = parse_line("/approve")
    assert isinstance(misread, Misread)

    found = decide_misread(misread, SUBJECT)

    assert (found.is_accepted, found.reason) == (False, ReasonCode.WRONG_USAGE)
    assert found.paste == f"/approve {HEAD}"


def test_a_merged_promotion_says_how_to_take_it_back():
    found = decide(request(subject={"state": PullState.MERGED}))

    assert found.paste == "/rollback production REASON"


def test_the_reason_codes_are_what_scripts_rely_on():
    # A code is added here; none is changed or removed.
    assert " ".join(ReasonCode) == (
        "body_too_long hidden_characters too_many_commands "
        "unknown_command wrong_usage short_sha "
        "comment_gone comment_edited bot_author run_unknown "
        "limit_reached role_unknown role_too_low "
        "teams_unknown not_an_approver makers_unknown own_pull_request "
        "pull_merged pull_closed other_base stacked base_changed head_moved checks_missing "
        "no_model no_version no_environment unknown_environment gate_not_inconclusive time_passed "
        "time_too_far "
        "already_done accepted done refused_by_rules could_not"
    )


@given(
    st.sampled_from(ALL),
    st.sampled_from([None, *Role]),
    st.sampled_from([None, frozenset[str](), frozenset({"acme/ml-leads"})]),
    st.sampled_from(list(PullState)),
    st.sampled_from([None, {}, {BOB: "opened it"}]),
    st.booleans(),
)
def test_no_approval_is_accepted_of_a_maker_or_without_a_role(
    command: Command, role, teams, state, makers, has_passed
):
    asked = request(
        command,
        authority=Authority(role=role, teams=teams),
        subject={"state": state, "makers": makers, "has_passed_checks": has_passed},
    )

    found = decide(asked)

    assert found == decide(asked)
    if found.is_accepted:
        assert role in {Role.WRITE, Role.MAINTAIN, Role.ADMIN}
    if found.is_accepted and isinstance(command, Approve):
        assert (state, makers, has_passed) == (PullState.OPEN, {}, True)

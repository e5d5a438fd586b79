"""No rule changes alone: a change of a rule needs the approvals that the rules in force ask."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelyard.adapters.specs.documents import dump_spec
from modelyard.domain.promotion.pulls import CHECKS, PROMOTE, PullState, Status, StatusState
from modelyard.domain.specs.environment import Approvals
from modelyard.domain.specs.repository import Repository
from modelyard.errors import Refused
from modelyard.operations.reconcile.human_pulls import RULES_COMMENT, set_human_pull_statuses
from operations.yard import (
    CANARY,
    HELD_OUT,
    HELD_OUT_SPEC,
    MODEL,
    MODEL_SPEC,
    PRODUCTION,
    STAGING,
    living_yard,
    model_named,
)

ENVIRONMENT = "environments/{}/environment.yaml"
MODEL_FILE = f"models/{MODEL}/model.yaml"
SET_FILE = f"models/{MODEL}/heldout/{HELD_OUT}.yaml"
STAGING_FIRST = replace(STAGING, promotes_from=None)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    environments = (STAGING_FIRST, CANARY, PRODUCTION)
    return living_yard(tmp_path_factory.mktemp("start") / "yard", environments)


@pytest.fixture
def yard(start, tmp_path):
    """v1 is verified everywhere; canary asks anybody, and production ada or bob."""
    return start.copy(tmp_path / "yard")


def environment(spec, **changes):
    return {ENVIRONMENT.format(spec.name): dump_spec("Environment", replace(spec, **changes))}


def model(**changes):
    return {MODEL_FILE: dump_spec("Model", replace(MODEL_SPEC, **changes))}


def settings(**changes):
    return {"modelyard.yaml": dump_spec("Repository", replace(Repository(), **changes))}


def judged(yard):
    """The status of Mallory's pull request, once the machines looked at it."""
    set_human_pull_statuses(yard.workspace(), yard.said.append)
    (pull,) = yard.pulls.list()
    return pull, pull.statuses[PROMOTE]


def proposed(yard, documents):
    yard.branch("mallory/change", documents)
    return judged(yard)


def pushed(yard, documents):
    """Another commit on the same branch."""
    main, (pull,) = yard.main(), yard.pulls.list()
    tree = yard.git.write_tree(pull.head, documents)
    head = yard.git.commit_tree(
        tree, parents=[pull.head, main], message="More", author="Mallory", at=yard.clock.at
    )
    yard.git.push("origin", {f"refs/heads/{pull.branch}": (pull.head, head)})
    return judged(yard)


SIGNER = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE" + "A" * 86 + "=="
NO_ONE = Approvals(needed=0)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (
            environment(PRODUCTION, approvals=replace(PRODUCTION.approvals, needed=0)),
            "approvals.needed: 1 -> 0 in environments/production/environment.yaml",
        ),
        (
            environment(PRODUCTION, approvals=Approvals(needed=1, approvers=("mallory",))),
            "approvals.approvers: [ada, bob] -> [mallory]",
        ),
        (environment(STAGING_FIRST, soak_seconds=9), "soak_seconds: 0 -> 9"),
        (
            environment(CANARY, rollout=replace(CANARY.rollout, judged=False)),
            "rollout.judged: true -> false",
        ),
        (
            model(gate=replace(MODEL_SPEC.gate, margin=0.4)),
            f"gate.margin: 0.05 -> 0.4 in {MODEL_FILE}",
        ),
        (
            model(canary=replace(MODEL_SPEC.canary, error_limit=1.0)),
            "canary.error_limit: 0.02 -> 1 in",
        ),
        (
            model(artifact=replace(MODEL_SPEC.artifact, trusted_types=("os.system",))),
            "artifact.trusted_types: [] -> [os.system]",
        ),
        (
            model(artifact=replace(MODEL_SPEC.artifact, signed_by=(SIGNER,))),
            "artifact.signed_by: [] -> [MFkwEw",
        ),
        (model(drift=replace(MODEL_SPEC.drift, needed=4)), "drift.needed: 3 -> 4"),
        (settings(bot="mallory"), "bot: modelyard[bot] -> mallory in modelyard.yaml"),
        # No page makes a link of it.
        (settings(artifacts="s3://mine"), "artifacts: .modelyard/artifacts -> s3\\://mine"),
        (settings(tracking_uri="sqlite:///x.db"), "tracking_uri: "),
        (
            {SET_FILE: dump_spec("HeldOut", replace(HELD_OUT_SPEC, max_looks=1000))},
            "max_looks: 20 -> 1000",
        ),
        ({SET_FILE: None}, f"is deleted in {SET_FILE}"),
        (
            {".github/workflows/content.yml": b"on: push\n"},
            "is new in .github/workflows/content.yml",
        ),
        ({"CODEOWNERS": b"* @mallory\n"}, "is new in CODEOWNERS"),
        ({"models/m/.gitattributes": b"* text\n"}, "is new in models/m/.gitattributes"),
        ({"schemas/model.schema.json": b"{}\n"}, "is new in schemas/model.schema.json"),
        ({"scripts/modelyard/cli.py": b"print()\n"}, "is new in scripts/modelyard/cli.py"),
        ({"environments/argocd.yaml": b"kind: X\n"}, "is new in environments/argocd.yaml"),
        ({"environments/platform/manifests/x.yaml": b"kind: X\n"}, "is new in environments/plat"),
        ({ENVIRONMENT.format("production"): b"kind: [\n"}, "cannot be read after it"),
        ({ENVIRONMENT.format("production"): None}, "is deleted in environments/production"),
        ({MODEL_FILE: None}, f"is deleted in {MODEL_FILE}"),
    ],
)
def test_a_person_who_changes_a_rule_waits_for_the_approvals_of_all_it_affects(
    yard, documents, said
):
    pull, status = proposed(yard, documents)

    assert status.state is StatusState.PENDING
    page = next(each for each in pull.comments if each.marker == RULES_COMMENT)
    assert str(page.author) == Repository().bot
    assert said in page.body
    assert "among ada, bob (production)" in status.description
    with pytest.raises(Refused):
        yard.pulls.merge(pull.number, sha=pull.head, by="mallory")


def test_the_description_says_which_rule_changes_and_who_is_missing(yard):
    none = replace(PRODUCTION.approvals, needed=0)
    pull, status = proposed(yard, environment(PRODUCTION, approvals=none))

    assert status.description == (
        "approvals.needed: 1 -> 0 in environments/production/environment.yaml: "
        f"1 more approval of {pull.head[:10]}, among ada, bob (production)"
    ).replace(", among", ", from among")


def test_the_approvals_of_every_affected_environment_open_it(yard):
    pull, _ = proposed(yard, model(gate=replace(MODEL_SPEC.gate, margin=0.4)))

    yard.pulls.review(pull.number, sha=pull.head, by="carol", approved=True)
    _, status = judged(yard)
    assert status.state is StatusState.PENDING  # carol is nobody in production
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    pull, status = judged(yard)

    assert status.state is StatusState.SUCCESS
    assert status.description.endswith(": approved")


def test_the_author_approves_no_rule(yard):
    documents = environment(PRODUCTION, approvals=Approvals(needed=1, approvers=("Mallory",)))
    pull, _ = proposed(yard, documents)

    yard.pulls.review(pull.number, sha=pull.head, by="Mallory", approved=True)

    assert judged(yard)[1].state is StatusState.PENDING


@pytest.mark.long
def test_a_later_push_takes_the_approvals_away(yard):
    pull, _ = proposed(yard, environment(STAGING_FIRST, soak_seconds=9))
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    assert judged(yard)[1].state is StatusState.SUCCESS

    pull, status = pushed(yard, model(gate=replace(MODEL_SPEC.gate, margin=0.4)))

    assert status.state is StatusState.PENDING
    assert "and 1 more: 1 more approval" in status.description
    assert "gate.margin" in pull.comments[-1].body


@pytest.mark.long
def test_a_change_hidden_in_a_merge_of_the_main_branch_is_seen(yard):
    _, status = proposed(yard, {"notes.md": b"nothing\n"})
    assert status.description == "changes no environment"
    yard.commit({"more.md": b"more\n"})

    pull, status = pushed(yard, environment(PRODUCTION, approvals=NO_ONE))

    assert len(yard.git.run("rev-parse", f"{pull.head}^@").stdout.split()) == 2
    assert status.state is StatusState.PENDING


def test_what_main_changed_in_the_meantime_is_no_change_of_the_pull_request(yard):
    proposed(yard, {"notes.md": b"nothing\n"})
    yard.commit(environment(PRODUCTION, soak_seconds=60))

    assert judged(yard)[1].description == "changes no environment"


def test_the_merge_does_not_believe_a_status(yard):
    pull, _ = proposed(yard, environment(PRODUCTION, approvals=NO_ONE))
    for context in (CHECKS, PROMOTE):
        said = Status(context=context, state=StatusState.SUCCESS, description="changes nothing")
        yard.pulls.set_status(pull, said)

    with pytest.raises(Refused, match="more approval"):
        yard.pulls.merge(pull.number, sha=pull.head, by="mallory")


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "path", ["environments/production", ENVIRONMENT.format("production"), "models/m", MODEL_FILE]
)
def test_a_symbolic_link_in_place_of_a_rule_asks_for_approvals(yard, path):
    linked(yard, path)

    _, status = judged(yard)

    # With a folder also go files that only the tool writes, which is refused at once.
    assert status.state in {StatusState.PENDING, StatusState.FAILURE}


def linked(yard, path):
    """Mallory's pull request that has a symbolic link there."""
    main = yard.main()
    blob = yard.git.run("hash-object", "-w", "--stdin", stdin=b"elsewhere").stdout.decode().strip()
    index = {"GIT_INDEX_FILE": str(yard.folder / "index")}
    yard.git.run("read-tree", main, env=index)
    yard.git.run("rm", "-r", "-q", "--cached", "--", path, env=index)
    yard.git.run("update-index", "--add", "--cacheinfo", f"120000,{blob},{path}", env=index)
    tree = yard.git.run("write-tree", env=index).stdout.decode().strip()
    head = yard.git.commit_tree(
        tree, parents=[main], message="A link", author="Mallory", at=yard.clock.at
    )
    yard.git.push("origin", {"refs/heads/mallory/change": (None, head)})
    yard.pulls.open_branch("mallory/change", title="A link", body="", author="Mallory")


def test_a_moved_environment_asks_for_the_approvals_of_all(yard):
    moved = replace(PRODUCTION, name="live")
    documents = {
        ENVIRONMENT.format("production"): None,
        ENVIRONMENT.format("live"): dump_spec("Environment", moved),
    }
    pull, status = proposed(yard, documents)

    assert status.state is StatusState.PENDING
    assert status.description.count("approval") >= 1
    body = next(each.body for each in pull.comments if each.marker == RULES_COMMENT)
    assert "is new in environments/live" in body
    assert "is deleted in environments/production" in body


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "documents",
    [
        {MODEL_FILE: b"# words\n" + dump_spec("Model", MODEL_SPEC)},
        model(description="In other words.", owner=replace(MODEL_SPEC.owner, team="another")),
        environment(PRODUCTION, description="In other words."),
        {"modelyard.yaml": b"kind: Repository\napiVersion: modelyard/v1\nmain: main\n"},
        {"models/m/heldout/next.yaml": dump_spec("HeldOut", replace(HELD_OUT_SPEC, name="next"))},
        {"README.md": b"# Words\n", "environments/README.md": b"# Words\n"},
        {"models/m/trainer/train.py": b"print()\n"},
        {"models/other/model.yaml": dump_spec("Model", replace(MODEL_SPEC, name="other"))},
    ],
)
def test_what_changes_no_rule_needs_no_approval(yard, documents):
    pull, status = proposed(yard, documents)

    assert (status.state, status.description) == (StatusState.SUCCESS, "changes no environment")
    assert pull.comments == ()


def test_a_new_model_of_a_name_that_was_released_brings_no_rules_of_its_own(yard):
    yard.commit({MODEL_FILE: None})

    _, status = proposed(yard, model_named(yard, MODEL, gate=replace(MODEL_SPEC.gate, margin=0.4)))

    assert status.state is StatusState.PENDING


@pytest.mark.long
def test_an_environment_that_cannot_be_read_is_repaired_with_approvals(yard):
    yard.commit({ENVIRONMENT.format("production"): b"kind: [\n"})

    pull, status = proposed(yard, environment(PRODUCTION))
    assert status.state is StatusState.PENDING
    yard.pulls.review(pull.number, sha=pull.head, by="carol", approved=True)

    assert judged(yard)[1].state is StatusState.SUCCESS


@pytest.mark.long
def test_the_page_says_when_a_pull_request_changes_no_rule_any_more(yard):
    proposed(yard, environment(PRODUCTION, soak_seconds=60))

    pull, status = pushed(yard, {**environment(PRODUCTION), "notes.md": b"nothing\n"})

    assert status.description == "changes no environment"
    (page,) = pull.comments
    assert "changes no rule any more" in page.body


def test_a_rule_change_that_is_approved_is_merged(yard):
    yard.branch("mallory/change", environment(PRODUCTION, soak_seconds=60))
    yard.rest()
    (pull,) = yard.pulls.list()
    yard.pulls.review(pull.number, sha=pull.head, by="ada", approved=True)
    yard.rest()

    yard.pulls.merge(pull.number, sha=pull.head, by="Mallory")

    assert yard.pulls.get(pull.number).state is PullState.MERGED


def on_top_of_another(yard, documents, lower):
    """Mallory's pull request with the commit of another one below its own."""
    yard.branch("eve/lower", lower)
    (below,) = yard.pulls.list()
    tree = yard.git.write_tree(below.head, documents)
    head = yard.git.commit_tree(
        tree, parents=[below.head], message="On top", author="Mallory", at=yard.clock.at
    )
    yard.git.push("origin", {"refs/heads/mallory/upper": (None, head)})
    upper = yard.pulls.open_branch("mallory/upper", title="Upper", body="", author="Mallory")
    set_human_pull_statuses(yard.workspace(), yard.said.append)
    return below, yard.pulls.get(upper.number)


@pytest.mark.long
@pytest.mark.parametrize("lower", [environment(STAGING, soak_seconds=5), {"docs/a.md": b"a\n"}])
def test_commits_of_another_open_pull_request_change_no_rule_with_it(yard, lower):
    below, upper = on_top_of_another(yard, environment(CANARY, approvals=NO_ONE), lower)

    status = upper.statuses[PROMOTE]
    assert status.state is StatusState.FAILURE
    assert status.description.startswith(f"stacked on #{below.number}")

    yard.pulls.close(below.number, by="eve", reason="not now")
    set_human_pull_statuses(yard.workspace(), yard.said.append)
    assert yard.pulls.get(upper.number).statuses[PROMOTE].state is StatusState.PENDING


@pytest.mark.long
def test_pages_may_be_stacked_and_the_same_commit_twice_is_no_stack(yard):
    _, upper = on_top_of_another(yard, {"docs/b.md": b"b\n"}, {"docs/a.md": b"a\n"})
    assert upper.statuses[PROMOTE].state is StatusState.SUCCESS

    yard.branch("mallory/rules", environment(CANARY, approvals=NO_ONE))
    rules = next(p for p in yard.pulls.list() if p.branch == "mallory/rules")
    yard.git.push("origin", {"refs/heads/eve/twin": (None, rules.head)})
    yard.pulls.open_branch("eve/twin", title="Twin", body="", author="eve")
    set_human_pull_statuses(yard.workspace(), yard.said.append)
    assert yard.pulls.get(rules.number).statuses[PROMOTE].state is StatusState.PENDING

"""Rulesets in force: what they refuse a push, and who they let pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from fakes.github.git.http import RefUpdate
from fakes.github.state import Json, RepositoryState, Token

# The ids of the built-in roles in a ruleset's list of bypass actors.
ROLE_IDS = {2: "maintain", 4: "write", 5: "admin"}

# A refusal that begins so is one of what is no fast-forward alone.
FAST_FORWARD = "fast-forward:"


def rules_of(repository: RepositoryState, ref: str) -> Iterator[tuple[Json, Json]]:
    """Yield each active rule for a ref, after its ruleset."""
    kind = "tag" if ref.startswith("refs/tags/") else "branch"
    for ruleset in repository.rulesets.values():
        if ruleset["enforcement"] != "active" or ruleset.get("target", "branch") != kind:
            continue
        names = (ruleset.get("conditions") or {}).get("ref_name") or {}
        if any(_matches(ref, one) for one in names.get("include", ())) and not any(
            _matches(ref, one) for one in names.get("exclude", ())
        ):
            for rule in ruleset.get("rules", ()):
                yield ruleset, rule


def _matches(ref: str, pattern: str) -> bool:
    if pattern == "~DEFAULT_BRANCH":
        return ref == "refs/heads/main"
    return pattern == "~ALL" or fnmatchcase(ref, pattern.replace("**/*", "*").replace("**", "*"))


def bypass_mode(repository: RepositoryState, ruleset: Json, token: Token | None) -> str | None:
    """Return how a token may bypass a ruleset: `always`, `pull_request`, `exempt`, or None."""
    for actor in ruleset.get("bypass_actors") or ():
        kind, number = actor["actor_type"], actor.get("actor_id")
        if token is not None and (
            (kind == "Integration" and token.app is not None and token.app.id == number)
            or (kind == "User" and token.user.id == number)
            or (
                kind == "RepositoryRole"
                and token.app is None
                and repository.role(token.user) == ROLE_IDS.get(number)
            )
        ):
            return str(actor.get("bypass_mode", "always"))
    return None


def push_refusal(repository: RepositoryState, update: RefUpdate, token: Token | None) -> str:
    """Return why a token may not push this, or the empty text."""
    if update.ref.startswith("refs/pull/"):
        return "deny updating a hidden ref"
    reasons = [
        why
        for ruleset, rule in rules_of(repository, update.ref)
        if bypass_mode(repository, ruleset, token) not in {"always", "exempt"}
        and (why := _reason(rule, update))
    ]
    reasons.sort(key=lambda why: why.startswith(FAST_FORWARD))
    return reasons[0] if reasons else ""


def _reason(rule: Json, update: RefUpdate) -> str:
    required = rule.get("parameters", {}).get("required_status_checks", ())
    count = f"{len(required)} of {len(required)}"
    what = "creation" if update.creates else "deletion" if update.deletes else "update"
    reasons = {
        ("pull_request", "creation"): "Changes must be made through a pull request.",
        ("pull_request", "update"): "Changes must be made through a pull request.",
        ("required_status_checks", "update"): f"{count} required status checks are expected.",
        ("update", "update"): "Cannot update this protected ref.",
        ("creation", "creation"): "Cannot create ref due to creations being restricted.",
        ("deletion", "deletion"): "Cannot delete this protected ref.",
        ("non_fast_forward", "update"): f"{FAST_FORWARD}Cannot force-push to this branch",
    }
    return reasons.get((rule["type"], what), "")


def careful_ruleset(
    repository: RepositoryState,
    number: int,
    *,
    pattern: str,
    approvals: int,
    checks: Mapping[str, int | None] | Iterable[str],
    dismiss_stale: bool,
    last_push: bool,
    bypass: Iterable[Json],
) -> Json:
    """Return a ruleset as a careful admin makes it; `FakeGitHub.protect` has the arguments."""
    named = checks if isinstance(checks, Mapping) else dict.fromkeys(checks)
    reviews = {
        "required_approving_review_count": approvals,
        "dismiss_stale_reviews_on_push": dismiss_stale,
        "require_code_owner_review": False,
        "require_last_push_approval": last_push,
        "required_review_thread_resolution": False,
    }
    rules: list[Json] = [
        {"type": "deletion"},
        {"type": "non_fast_forward"},
        {"type": "pull_request", "parameters": reviews},
    ]
    if named:
        required = [
            {"context": name, **({"integration_id": app} if app else {})}
            for name, app in named.items()
        ]
        parameters = {
            "strict_required_status_checks_policy": False,
            "required_status_checks": required,
        }
        rules.append({"type": "required_status_checks", "parameters": parameters})
    return {
        "id": number,
        "name": f"protect {pattern}",
        "target": "branch",
        "source_type": "Repository",
        "source": repository.full_name,
        "enforcement": "active",
        "bypass_actors": list(bypass),
        "conditions": {"ref_name": {"include": [pattern], "exclude": []}},
        "rules": rules,
    }

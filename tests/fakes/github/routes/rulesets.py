"""Rulesets, and the rules that are in force for a branch."""

from __future__ import annotations

from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.rules import bypass_mode, rules_of
from fakes.github.shapes import fill
from fakes.github.state import ROLES, Json

RULESET = "~/rulesets/{ruleset_id}"


@route("GET", "~/rules/branches/{branch}")
def rules_of_branch(call: Call) -> Answer:
    """Return each active rule for a branch, which need not exist, whoever may bypass it."""
    ref = f"refs/heads/{call.names['branch']}"
    return call.page(
        {
            **rule,
            "ruleset_id": ruleset["id"],
            "ruleset_source": ruleset["source"],
            "ruleset_source_type": ruleset["source_type"],
        }
        for ruleset, rule in rules_of(call.repository, ref)
    )


def _ruleset(call: Call, ruleset: Json, *, whole: bool = True) -> Json:
    hidden = set() if whole else {"rules", "conditions", "bypass_actors"}
    if not _administers(call):
        hidden.add("bypass_actors")  # only an admin sees who may pass
    known = {key: value for key, value in ruleset.items() if key not in hidden}
    mode = bypass_mode(call.repository, ruleset, call.token)
    words = {None: "never", "pull_request": "pull_requests_only"}
    known["current_user_can_bypass"] = words.get(mode, mode)
    return fill("repository-ruleset", known)


def _administers(call: Call) -> bool:
    token = call.who
    if token.permissions is not None:
        return token.permissions.get("administration") == "write"
    return ROLES.index(call.repository.role(token.user)) == ROLES.index("admin")


@route("GET", "~/rulesets")
def rulesets(call: Call) -> Answer:
    """Return the rulesets without their rules."""
    targets = call.query.get("targets", "branch,tag,push,repository").split(",")
    found = [one for one in call.repository.rulesets.values() if one["target"] in targets]
    return call.page(_ruleset(call, one, whole=False) for one in found)


def _known(call: Call) -> Json:
    found = call.repository.rulesets.get(call.number("ruleset_id"))
    if found is None:
        raise Refused(404, "Not Found")
    return found


@route("GET", RULESET)
def ruleset(call: Call) -> Answer:
    """Return a ruleset."""
    return Answer(body=_ruleset(call, _known(call)))


@route("POST", "~/rulesets")
def create_ruleset(call: Call) -> Answer:
    """Create a ruleset."""
    repository = call.need("admin", "administration")
    if any(one["name"] == call.body["name"] for one in repository.rulesets.values()):
        raise not_valid("Ruleset", field="name", code="custom", message="Name must be unique")
    made = {
        "id": call.fake.new_id(),
        "target": "branch",
        "source_type": "Repository",
        "source": repository.full_name,
        "bypass_actors": [],
        "conditions": {"ref_name": {"include": [], "exclude": []}},
        "rules": [],
        "created_at": call.shapes.time(call.fake.clock.now()),
        "updated_at": call.shapes.time(call.fake.clock.now()),
        **call.body,
    }
    repository.rulesets[made["id"]] = made
    return Answer(status=201, body=_ruleset(call, made))


@route("PUT", RULESET)
def set_ruleset(call: Call) -> Answer:
    """Set what a body names of a ruleset; a list that it names is replaced as a whole."""
    call.need("admin", "administration")
    found = _known(call)
    found |= {**call.body, "updated_at": call.shapes.time(call.fake.clock.now())}
    return Answer(body=_ruleset(call, found))


@route("DELETE", RULESET)
def delete_ruleset(call: Call) -> Answer:
    """Delete a ruleset."""
    repository = call.need("admin", "administration")
    del repository.rulesets[_known(call)["id"]]
    return Answer(status=204)

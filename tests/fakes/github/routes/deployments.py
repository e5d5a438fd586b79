"""Deployments, their statuses, and environments."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from fakes.github.events import emit
from fakes.github.merging import check_state
from fakes.github.routes.commits import known_commit
from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.shapes import fill
from fakes.github.state import Json

DEPLOYMENT = "~/deployments/{deployment_id}"


@route("POST", "~/deployments")
def deploy(call: Call) -> Answer:
    """Create a deployment, unless a status of the commit is not a success."""
    repository, body = call.need("write", "deployments"), call.body
    sha = known_commit(call, body["ref"]).sha
    set_ones = {one["context"] for one in repository.statuses if one["sha"] == sha}
    for context in body.get("required_contexts", sorted(set_ones)):
        if check_state(repository, sha, context, app=None) != "success":
            raise Refused(409, f"Conflict: Commit status checks failed for {body['ref']}.")
    now = call.shapes.time(call.fake.clock.now())
    name = body.get("environment", "production")
    url = f"{call.shapes.api}/repos/{repository.full_name}"
    number = call.fake.new_id()
    known: Json = {
        "id": number,
        "node_id": f"DE_{number}",
        "url": f"{url}/deployments/{number}",
        "statuses_url": f"{url}/deployments/{number}/statuses",
        "repository_url": url,
        "sha": sha,
        "ref": body["ref"],
        "task": body.get("task", "deploy"),
        "payload": body.get("payload", {}),
        "environment": name,
        "original_environment": name,
        "description": body.get("description"),
        "transient_environment": body.get("transient_environment", False),
        "production_environment": body.get("production_environment", name == "production"),
        "creator": call.shapes.user(call.who.user),
        "created_at": now,
        "updated_at": now,
    }
    repository.deployments[number] = fill("deployment", known)
    repository.deployment_statuses[number] = []
    repository.environments.setdefault(name, {})
    document = repository.deployments[number]
    emit(call.fake, repository, "deployment", {"action": "created", "deployment": document},
         call.who)  # fmt: skip
    return Answer(status=201, body=document)


@route("GET", "~/deployments")
def deployments(call: Call) -> Answer:
    """Return deployments, the newest first."""
    wanted = {key: call.query[key] for key in ("sha", "ref", "task", "environment")
              if call.query.get(key, "none") != "none"}  # fmt: skip
    found = [
        one
        for one in reversed(call.repository.deployments.values())
        if all(one[key] == value for key, value in wanted.items())
    ]
    return call.page(found)


def _known(call: Call) -> Json:
    found = call.repository.deployments.get(call.number("deployment_id"))
    if found is None:
        raise Refused(404, "Not Found")
    return found


@route("GET", DEPLOYMENT)
def deployment(call: Call) -> Answer:
    """Return a deployment."""
    return Answer(body=_known(call))


@route("GET", f"{DEPLOYMENT}/statuses")
def deployment_statuses(call: Call) -> Answer:
    """Return the statuses of a deployment, the newest first."""
    return call.page(reversed(call.repository.deployment_statuses[_known(call)["id"]]))


@route("POST", f"{DEPLOYMENT}/statuses")
def set_deployment_status(call: Call) -> Answer:
    """Set a deployment's status; a success makes the successes before it inactive."""
    repository, found = call.need("write", "deployments"), _known(call)
    body = call.body
    name = body.get("environment") or found["environment"]
    if body["state"] == "success" and body.get("auto_inactive", True):
        for number, statuses in repository.deployment_statuses.items():
            same = repository.deployments[number]["environment"] == name
            if number != found["id"] and same and statuses and statuses[-1]["state"] == "success":
                statuses.append(
                    _status(call, repository.deployments[number], {"state": "inactive"})
                )
    status = _status(call, found, {**body, "environment": name})
    repository.deployment_statuses[found["id"]].append(status)
    found["updated_at"] = status["created_at"]
    payload = {"action": "created", "deployment": found, "deployment_status": status}
    emit(call.fake, repository, "deployment_status", payload, call.who)
    return Answer(status=201, body=status)


def _status(call: Call, deployment: Json, body: Json) -> Json:
    number, now = call.fake.new_id(), call.shapes.time(call.fake.clock.now())
    known = {
        "id": number,
        "node_id": f"DES_{number}",
        "url": f"{deployment['statuses_url']}/{number}",
        "deployment_url": deployment["url"],
        "repository_url": deployment["repository_url"],
        "state": body["state"],
        "creator": call.shapes.user(call.who.user),
        "description": body.get("description", ""),
        "environment": body.get("environment", deployment["environment"]),
        "target_url": body.get("log_url") or body.get("target_url") or "",
        "log_url": body.get("log_url") or body.get("target_url") or "",
        "environment_url": body.get("environment_url", ""),
        "created_at": now,
        "updated_at": now,
    }
    return fill("deployment-status", known)


# Environments.


def _environment(call: Call, name: str, settings: Json) -> Json:
    number = 10_000 + sorted(call.repository.environments).index(name)
    rules: list[Json] = []
    if settings.get("wait_timer"):
        rules.append({"type": "wait_timer", "wait_timer": settings["wait_timer"]})
    if settings.get("reviewers"):
        people = {user.id: user for user in call.fake.directory.users.values()}
        reviewers = [
            {"type": "User", "reviewer": call.shapes.user(people[one["id"]])}
            for one in settings["reviewers"]
            if one.get("type") == "User" and one.get("id") in people
        ]
        prevents = settings.get("prevent_self_review", False)
        rules.append(
            {"type": "required_reviewers", "reviewers": reviewers, "prevent_self_review": prevents}
        )
    if settings.get("deployment_branch_policy"):
        rules.append({"type": "branch_policy"})
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/environments/{quote(name, safe='')}"
    now = call.shapes.time(call.fake.clock.now())
    known = {
        "id": number,
        "node_id": f"EN_{number}",
        "name": name,
        "url": url,
        "html_url": url,
        "created_at": settings.get("created_at", now),
        "updated_at": settings.get("created_at", now),
        "protection_rules": [
            {"id": number * 10 + at, "node_id": f"GA_{number}_{at}", **rule}
            for at, rule in enumerate(rules)
        ],
        "deployment_branch_policy": settings.get("deployment_branch_policy"),
    }
    return fill("environment", known)


@route("GET", "~/environments")
def environments(call: Call) -> Answer:
    """Return the environments by name."""
    listed = sorted(call.repository.environments.items())

    def wrapped(shown: list[Any]) -> Json:
        return {"total_count": len(listed), "environments": shown}

    return call.page((_environment(call, *one) for one in listed), wrap=wrapped)


@route("GET", "~/environments/{environment_name}")
def environment(call: Call) -> Answer:
    """Return an environment."""
    name = call.names["environment_name"]
    if name not in call.repository.environments:
        raise Refused(404, "Not Found")
    return Answer(body=_environment(call, name, call.repository.environments[name]))


@route("PUT", "~/environments/{environment_name}")
def set_environment(call: Call) -> Answer:
    """Create an environment or set all that it is protected by."""
    repository = call.need("admin", "administration")
    policy = call.body.get("deployment_branch_policy")
    if policy and policy["protected_branches"] == policy["custom_branch_policies"]:
        raise Refused(422, "Exactly one kind of branch policy can be chosen.")
    if len(call.body.get("reviewers") or ()) > 6:
        raise Refused(422, "At most six reviewers can be named.")
    name = call.names["environment_name"]
    created = call.shapes.time(call.fake.clock.now())
    kept = repository.environments.get(name, {}).get("policies", [])
    repository.environments[name] = {"created_at": created, "policies": kept, **call.body}
    return Answer(body=_environment(call, name, repository.environments[name]))


POLICIES = "~/environments/{environment_name}/deployment-branch-policies"


def _policies(call: Call) -> list[Json]:
    settings = call.repository.environments.get(call.names["environment_name"])
    if settings is None:
        raise Refused(404, "Not Found")
    found: list[Json] = settings.setdefault("policies", [])
    return found


@route("GET", POLICIES)
def branch_policies(call: Call) -> Answer:
    """Return the branches that may use an environment."""
    listed = _policies(call)
    return call.page(
        listed, wrap=lambda shown: {"total_count": len(listed), "branch_policies": shown}
    )


@route("POST", POLICIES)
def add_branch_policy(call: Call) -> Answer:
    """Let a branch use an environment whose branches are named one by one."""
    repository = call.need("admin", "administration")
    policy = repository.environments.get(call.names["environment_name"], {})
    kind = policy.get("deployment_branch_policy") or {}
    if not kind.get("custom_branch_policies"):
        raise Refused(404, "Not Found")
    number = call.fake.new_id()
    made = {"id": number, "node_id": f"BP_{number}", "name": call.body["name"], "type": "branch"}
    _policies(call).append(fill("deployment-branch-policy", made))
    return Answer(body=_policies(call)[-1])


@route("DELETE", f"{POLICIES}/{{branch_policy_id}}")
def delete_branch_policy(call: Call) -> Answer:
    """Let a branch use an environment no more."""
    call.need("admin", "administration")
    listed, number = _policies(call), call.number("branch_policy_id")
    if not any(each["id"] == number for each in listed):
        raise Refused(404, "Not Found")
    listed[:] = [each for each in listed if each["id"] != number]
    return Answer(status=204)

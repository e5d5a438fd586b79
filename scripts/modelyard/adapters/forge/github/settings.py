"""The settings that modelyard wants of a repository on GitHub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from modelyard.adapters.forge.github.rulesets import find_lacking, repaired
from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.adapters.forge.hosted.dialect import Json
from modelyard.adapters.forge.hosted.settings import (
    LABEL_COLOUR,
    RELEASE_TAGS,
    Request,
    Setting,
    Subject,
    WantedForge,
    lacking_labels,
    read_each,
)
from modelyard.domain.people import is_team
from modelyard.domain.specs.environment import Environment
from modelyard.errors import CannotAnswer

MAIN, STATE = "modelyard: main", "modelyard: state"
RELEASES, RELEASED = "modelyard: releases", "modelyard: released"
"""The names of the rulesets; whoever passes one passes all of its rules, so tags have two."""

SECRETS = "modelyard"
"""The environment whose secrets are the credentials of the workflows."""

CHATOPS = ".github/workflows/chatops.yml"

_ENVIRONMENTS = "the environments exist"
_BYPASSED = "nobody passes the rules of the main branch"
_RUN = "workflows run"
_PERMITTED = "the App has the permissions that it needs and no more"

_WIDE = frozenset({"always", "exempt"})
_STOPPED = frozenset({"startup_failure", "action_required"})


@dataclass(frozen=True, kw_only=True)
class GitHubSettings:
    """Reads the settings of a repository and compares them with the wanted ones.

    Args:
        api: The API, with a token that may see them.
        repository: Owner and name.
        web: Address of GitHub's pages.
        wanted: What they are made of.
        app: The number of the tool's GitHub App; None if the tool is a machine account.
        app_api: The API as the App itself, which alone may ask for its permissions.
        installation: The number of the App's installation.
    """

    api: ForgeApi
    repository: str
    web: str
    wanted: WantedForge
    app: int | None = None
    app_api: ForgeApi | None = None
    installation: str = ""

    def read(self) -> Iterator[Setting]:
        """Yield every setting, with what it lacks."""
        yield from read_each(
            (
                (Subject.PAGES, "the labels of pull requests exist", self._labels),
                (Subject.PAGES, _ENVIRONMENTS, self._environments),
                (Subject.BRANCHES, self.wanted.what_of_main, self._main),
                (Subject.BRANCHES, self.wanted.what_of_state, self._state),
                (Subject.BRANCHES, self.wanted.what_of_tags, self._tags),
                (Subject.BRANCHES, _BYPASSED, self._bypasses),
                (Subject.WORKFLOWS, _RUN, self._actions),
                (Subject.WORKFLOWS, self._what_of_secrets, self._secrets),
                (Subject.ACCOUNT, _PERMITTED, self._permissions),
            )
        )

    @property
    def _what_of_secrets(self) -> str:
        return f"only workflows of {self.wanted.main} read the secrets of {SECRETS}"

    @property
    def _place(self) -> str:
        return f"/repos/{self.repository}"

    def _labels(self) -> Iterator[Setting]:
        yield lacking_labels(self.api, self._place, self.wanted.labels, color=LABEL_COLOUR)

    def _environments(self) -> Iterator[Setting]:
        rows = self.api.get(f"{self._place}/environments", per_page=100)["environments"]
        known = {row["name"] for row in rows}
        new = [each.name for each in self.wanted.environments if each.name not in known]
        yield Setting(
            subject=Subject.PAGES,
            what=_ENVIRONMENTS,
            lacks=tuple(f"no environment {name}" for name in new),
            requests=tuple(
                Request(method="PUT", path=f"{self._place}/environments/{name}", body={})
                for name in new
            ),
        )

    def _main(self) -> Iterator[Setting]:
        rules: list[Json] = [
            {"type": "deletion"},
            {"type": "non_fast_forward"},
            {"type": "pull_request", "parameters": self._reviews()},
            {"type": "required_status_checks", "parameters": self._checks()},
        ]
        # Rollbacks are merged without a person, and approvals by comment are no reviews.
        ref, what = f"refs/heads/{self.wanted.main}", self.wanted.what_of_main
        yield self._ruleset(MAIN, ref, rules, what, bypass="pull_request")

    def _state(self) -> Iterator[Setting]:
        kinds = ("creation", "update", "deletion", "non_fast_forward")
        rules: list[Json] = [{"type": kind} for kind in kinds]
        ref, what = f"refs/heads/{self.wanted.state}", self.wanted.what_of_state
        yield self._ruleset(STATE, ref, rules, what, bypass="always")

    def _tags(self) -> Iterator[Setting]:
        ref, what = f"refs/tags/{RELEASE_TAGS}", self.wanted.what_of_tags
        yield self._ruleset(RELEASES, ref, [{"type": "creation"}], what, bypass="always")
        rules: list[Json] = [{"type": kind} for kind in ("update", "deletion", "non_fast_forward")]
        yield self._ruleset(RELEASED, ref, rules, what, bypass=None)

    def _reviews(self) -> Json:
        return {
            "required_approving_review_count": 0,
            "dismiss_stale_reviews_on_push": True,
            "require_code_owner_review": False,
            "require_last_push_approval": True,
            "required_review_thread_resolution": False,
            # modelyard reads the history of merge commits.
            "allowed_merge_methods": ["merge"],
            "required_reviewers": [
                reviewer
                for each in self.wanted.environments
                if (reviewer := self._reviewer(each)) is not None
            ],
        }

    def _reviewer(self, environment: Environment) -> Json | None:
        """The team that must approve on the page too, where the approvers are one team.

        GitHub knows no people here, and several teams would all have to approve.
        """
        asked = environment.approvals
        if not asked.needed or len(asked.approvers) != 1 or not is_team(asked.approvers[0]):
            return None
        organisation, _, slug = asked.approvers[0].partition("/")
        team = self.api.get(f"/orgs/{organisation}/teams/{slug}")
        return {
            "file_patterns": [f"environments/{environment.name}/**"],
            "minimum_approvals": asked.needed,
            "reviewer": {"id": team["id"], "type": "Team"},
        }

    def _checks(self) -> Json:
        pinned = {} if self.app is None else {"integration_id": self.app}
        return {
            "strict_required_status_checks_policy": False,
            "required_status_checks": [
                {"context": context, **pinned} for context in self.wanted.statuses
            ],
        }

    def _ruleset(
        self, name: str, ref: str, rules: list[Json], what: str, *, bypass: str | None
    ) -> Setting:
        actors = [] if bypass is None else [{**self._actor(), "bypass_mode": bypass}]
        body = {
            "name": name,
            "target": "tag" if ref.startswith("refs/tags/") else "branch",
            "enforcement": "active",
            "conditions": {"ref_name": {"include": [ref], "exclude": []}},
            "rules": rules,
            "bypass_actors": actors,
        }
        rows = self.api.pages(f"{self._place}/rulesets")
        number = next((row["id"] for row in rows if row["name"] == name), None)
        if number is None:
            request = Request(method="POST", path=f"{self._place}/rulesets", body=body)
            lacking = (f"no ruleset {name!r}",)
            return Setting(subject=Subject.BRANCHES, what=what, lacks=lacking, requests=(request,))
        path = f"{self._place}/rulesets/{number}"
        found = self.api.get(path)
        lacks = tuple(find_lacking(body, found, bypass))
        return Setting(
            subject=Subject.BRANCHES,
            what=what,
            lacks=tuple(f"ruleset {name!r}: {each}" for each in lacks),
            requests=(Request(method="PUT", path=path, body=repaired(body, found)),)
            if lacks
            else (),
        )

    def _actor(self) -> Json:
        """The tool, as a ruleset names who may pass it."""
        if self.app is not None:
            return {"actor_id": self.app, "actor_type": "Integration"}
        login = self.wanted.bot
        if login.endswith("[bot]"):
            raise CannotAnswer(
                f"the number of the GitHub App {login.removesuffix('[bot]')} is not known",
                hint="set MODELYARD_APP_ID to the App ID on its page",
            )
        return {"actor_id": int(self.api.get(f"/users/{login}")["id"]), "actor_type": "User"}

    def _bypasses(self) -> Iterator[Setting]:
        """Others' rulesets for the main branch: who passes them without a trace or in any way."""
        lacks, page = [], f"{self.web}/{self.repository}/settings/rules"
        rows = self.api.pages(f"{self._place}/rules/branches/{self.wanted.main}")
        numbers = {row["ruleset_id"] for row in rows if row["ruleset_source_type"] == "Repository"}
        for number in sorted(numbers):
            found = self.api.get(f"{self._place}/rulesets/{number}")
            if found["name"] == MAIN:
                continue  # compared as a whole
            for actor in found.get("bypass_actors") or ():
                if (mode := actor.get("bypass_mode", "always")) in _WIDE:
                    who = f"{actor['actor_type']} {actor.get('actor_id') or ''}".strip()
                    lacks.append(f"ruleset {found['name']!r}: {who} passes it ({mode})")
        yield Setting(
            subject=Subject.BRANCHES,
            what=_BYPASSED,
            lacks=tuple(lacks),
            by_hand=f"take them out on {page}",
        )

    def _actions(self) -> Iterator[Setting]:
        path = f"{self._place}/actions"
        allowed = self.api.get(f"{path}/permissions")
        if not allowed["enabled"]:
            kept = {key: allowed[key] for key in ("allowed_actions",) if key in allowed}
            on = Request(method="PUT", path=f"{path}/permissions", body={"enabled": True, **kept})
            yield Setting(
                subject=Subject.WORKFLOWS, what=_RUN, lacks=("Actions are off",), requests=(on,)
            )
            return
        found = self.api.get(f"{path}/workflows", per_page=100)["workflows"]
        stopped = [row for row in found if _is_stopped(row)]
        yield Setting(
            subject=Subject.WORKFLOWS,
            what=_RUN,
            lacks=tuple(f"{row['path']} is {row['state']}" for row in stopped),
            requests=tuple(
                Request(method="PUT", path=f"{path}/workflows/{row['id']}/enable")
                for row in stopped
            ),
        )
        if any(row["path"] == CHATOPS for row in found):
            yield self._comment_runs()

    def _secrets(self) -> Iterator[Setting]:
        """The environment that holds the tool's credentials, for the main branch alone."""
        path, main = f"{self._place}/environments/{SECRETS}", self.wanted.main
        policies = f"{path}/deployment-branch-policies"
        kind = {"protected_branches": False, "custom_branch_policies": True}
        found = self._found(path) or {}
        rows = self.api.get(policies, per_page=100)["branch_policies"] if found else []
        lacks, requests = [], []
        if found.get("deployment_branch_policy") != kind:
            how = "may be used by other branches" if found else "is not there"
            lacks.append(f"the environment {SECRETS} {how}")
            body = {"deployment_branch_policy": kind}
            requests.append(Request(method="PUT", path=path, body=body))
        ours = [row for row in rows if (row["name"], row.get("type", "branch")) == (main, "branch")]
        for row in rows:
            if row not in ours:
                lacks.append(f"{row['name']} may use the environment {SECRETS}")
                requests.append(Request(method="DELETE", path=f"{policies}/{row['id']}"))
        if not ours:
            lacks.append(f"{main} may not use the environment {SECRETS}")
            requests.append(Request(method="POST", path=policies, body={"name": main}))
        yield Setting(
            subject=Subject.WORKFLOWS,
            what=self._what_of_secrets,
            lacks=tuple(lacks),
            requests=tuple(requests),
        )

    def _found(self, path: str) -> Json | None:
        try:
            found: Json = self.api.get(path)
        except Answered as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise
        return found

    def _comment_runs(self) -> Setting:
        """Whether runs for comments begin: no request tells what execution protections allow."""
        path = f"{self._place}/actions/runs"
        rows = self.api.get(path, event="issue_comment", per_page=1)["workflow_runs"]
        how = rows[0]["conclusion"] if rows else None
        return Setting(
            subject=Subject.WORKFLOWS,
            what="comments start the workflow that answers them",
            lacks=(f"its last run ended with {how} before it began",) if how in _STOPPED else (),
            by_hand=f"allow the event issue_comment on {self.web}/{self.repository}"
            "/settings/actions",
        )

    def _permissions(self) -> Iterator[Setting]:
        if self.app_api is None:
            return
        held = self.app_api.get(f"/app/installations/{self.installation}")["permissions"]
        asked = (name for each in self.wanted.environments for name in each.approvals.approvers)
        needed = NEEDED | ({"members": "read"} if any(map(is_team, asked)) else {})
        yield Setting(
            subject=Subject.ACCOUNT,
            what=_PERMITTED,
            lacks=tuple(_permission_differences(held, needed)),
            by_hand=f"change them on the page of the App, and accept them for {self.repository}",
        )


NEEDED = {
    "contents": "write",
    "pull_requests": "write",
    "issues": "write",
    "statuses": "write",
    "checks": "write",
    "deployments": "write",
    "actions": "read",
    "administration": "read",
}
"""The permissions of the App."""

_DANGEROUS = {
    "workflows": "with it a pull request could change what runs with the tool's credentials",
    "administration": "with it the tool could lift its own rules",
}


def _permission_differences(held: Mapping[str, str], needed: Mapping[str, str]) -> Iterator[str]:
    order = (None, "read", "write", "admin")
    for name, level in needed.items():
        if order.index(held.get(name)) < order.index(level):
            yield f"{name}: {held.get(name, 'none')}, {level} is needed"
    for name, why in _DANGEROUS.items():
        if held.get(name) in {"write", "admin"}:
            yield f"{name}: {held[name]}: {why}"


def _is_stopped(workflow: Json) -> bool:
    """Whether it should run; a team with a watcher may stop those that do a watcher's work."""
    by_hand = workflow["state"] == "disabled_manually" and workflow["path"] != CHATOPS
    return bool(workflow["state"].startswith("disabled") and not by_hand)

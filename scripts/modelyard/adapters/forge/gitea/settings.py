"""The settings that modelyard wants of a repository on Gitea."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

from modelyard.adapters.forge.hosted.api import Answered, ForgeApi
from modelyard.adapters.forge.hosted.dialect import Json
from modelyard.adapters.forge.hosted.settings import (
    LABEL_COLOUR,
    RELEASE_TAGS,
    Request,
    Setting,
    Subject,
    WantedForge,
    differences,
    lacking_labels,
    read_each,
)

_RUN = "workflows run"
_ADMINISTERS = "the tool's account may ask who may approve"


@dataclass(frozen=True, kw_only=True)
class GiteaSettings:
    """Reads the settings of a repository and compares them with the wanted ones.

    Args:
        api: The API, with a token that may see them.
        repository: Owner and name.
        wanted: What they are made of.
    """

    api: ForgeApi
    repository: str
    wanted: WantedForge

    def read(self) -> Iterator[Setting]:
        """Yield every setting, with what it lacks."""
        yield from read_each(
            (
                (Subject.PAGES, "the labels of pull requests exist", self._labels),
                (Subject.BRANCHES, self.wanted.what_of_main, self._main),
                (Subject.BRANCHES, self.wanted.what_of_state, self._state),
                (Subject.BRANCHES, self.wanted.what_of_tags, self._tags),
                (Subject.WORKFLOWS, _RUN, self._actions),
                (Subject.ACCOUNT, _ADMINISTERS, self._account),
            )
        )

    @property
    def _place(self) -> str:
        return f"/repos/{self.repository}"

    def _labels(self) -> Iterator[Setting]:
        color = f"#{LABEL_COLOUR}"
        yield lacking_labels(self.api, self._place, self.wanted.labels, color=color)

    def _main(self) -> Iterator[Setting]:
        rules = {
            "enable_push": False,
            "enable_force_push": False,
            "unprotected_file_patterns": "",
            "enable_status_check": True,
            "status_check_contexts": list(self.wanted.statuses),
            # modelyard counts approvals itself, also those that are given in a comment.
            "required_approvals": 0,
            "dismiss_stale_approvals": True,
            "block_on_rejected_reviews": True,
            "block_admin_merge_override": True,
        }
        yield self._protection(self.wanted.main, rules, self.wanted.what_of_main)

    def _state(self) -> Iterator[Setting]:
        rules = {
            "enable_push": True,
            "enable_push_whitelist": True,
            "push_whitelist_usernames": [self.wanted.bot],
            "push_whitelist_teams": [],
            "push_whitelist_deploy_keys": False,
            "enable_force_push": False,
            "unprotected_file_patterns": "",
            # Without it, anybody who may write could merge a pull request into the branch.
            "enable_merge_whitelist": True,
            "merge_whitelist_usernames": [self.wanted.bot],
            "merge_whitelist_teams": [],
        }
        yield self._protection(self.wanted.state, rules, self.wanted.what_of_state)

    def _tags(self) -> Iterator[Setting]:
        """Who may make a tag may move it too: Gitea knows one list for both."""
        path = f"{self._place}/tag_protections"
        rules = {"whitelist_usernames": [self.wanted.bot], "whitelist_teams": []}
        rows = self.api.get(path)
        found = next((row for row in rows if row["name_pattern"] == RELEASE_TAGS), None)
        if found is None:
            lacks = [f"tags {RELEASE_TAGS} are not protected"]
            body = {"name_pattern": RELEASE_TAGS, **rules}
            request = Request(method="POST", path=path, body=body)
        else:
            lacks = [f"tags {RELEASE_TAGS}: {each}" for each in differences(rules, found)]
            request = Request(method="PATCH", path=f"{path}/{found['id']}", body=rules)
        yield Setting(
            subject=Subject.BRANCHES,
            what=self.wanted.what_of_tags,
            lacks=tuple(lacks),
            requests=(request,) if lacks else (),
        )

    def _protection(self, branch: str, rules: Json, what: str) -> Setting:
        path = f"{self._place}/branch_protections"
        named = f"{path}/{quote(branch, safe='')}"
        try:
            found = self.api.get(named)
        except Answered as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            request = Request(method="POST", path=path, body={"rule_name": branch, **rules})
            lacking = (f"{branch} is not protected",)
            return Setting(subject=Subject.BRANCHES, what=what, lacks=lacking, requests=(request,))
        contexts = rules.get("status_check_contexts")
        if contexts is not None:  # checks of others stay required
            held = [
                each for each in found.get("status_check_contexts") or () if each not in contexts
            ]
            rules = {**rules, "status_check_contexts": [*contexts, *held]}
        lacks = tuple(f"{branch}: {each}" for each in differences(rules, found))
        return Setting(
            subject=Subject.BRANCHES,
            what=what,
            lacks=lacks,
            requests=(Request(method="PATCH", path=named, body=rules),) if lacks else (),
        )

    def _actions(self) -> Iterator[Setting]:
        is_on = self.api.get(self._place).get("has_actions")
        yield Setting(
            subject=Subject.WORKFLOWS,
            what=_RUN,
            lacks=() if is_on else ("Actions are off, so no comment is answered",),
            requests=()
            if is_on
            else (Request(method="PATCH", path=self._place, body={"has_actions": True}),),
        )

    def _account(self) -> Iterator[Setting]:
        login = self.wanted.bot
        path = f"{self._place}/collaborators/{quote(login, safe='')}"
        role = self.api.get(f"{path}/permission")["permission"]
        is_admin = role in {"admin", "owner"}
        request = Request(method="PUT", path=path, body={"permission": "admin"})
        yield Setting(
            subject=Subject.ACCOUNT,
            what=_ADMINISTERS,
            lacks=() if is_admin else (f"{login} has the role {role}, admin is needed",),
            requests=() if is_admin else (request,),
        )

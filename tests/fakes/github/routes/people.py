"""Users, their roles, teams, and the calls that they have left."""

from __future__ import annotations

from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.shapes import fill
from fakes.github.state import ROLES, Json, User

TEAM = "/orgs/{org}/teams/{team_slug}"

# What the older field `permission` calls each role.
OLD_NAMES = {"maintain": "write", "triage": "read"}


@route("GET", "/user")
def myself(call: Call) -> Answer:
    """Return the user of the token; a token of an App has none."""
    if call.who.kind != "person":
        raise Refused(403, "Resource not accessible by integration")
    return _user(call, call.who.user)


@route("GET", "/users/{username}")
def user_by_login(call: Call) -> Answer:
    """Return a user by login."""
    return _user(call, _known(call, call.names["username"]))


@route("GET", "/user/{account_id}")
def user_by_id(call: Call) -> Answer:
    """Return a user by id."""
    number = call.number("account_id")
    found = [user for user in call.fake.directory.users.values() if user.id == number]
    if not found:
        raise Refused(404, "Not Found")
    return _user(call, found[0])


def _user(call: Call, user: User) -> Answer:
    return Answer(body=call.shapes.user(user, "public-user"))


def _known(call: Call, login: str) -> User:
    user = call.fake.user(login)
    if user is None:
        raise Refused(404, "Not Found")
    return user


def _rights(role: str) -> Json:
    """Return a role as the five rights that GitHub writes out."""
    names = {
        "pull": "read",
        "triage": "triage",
        "push": "write",
        "maintain": "maintain",
        "admin": "admin",
    }
    rank = ROLES.index(role)
    return {name: rank >= ROLES.index(least) for name, least in names.items()}


@route("GET", "~/collaborators/{username}/permission")
def permission(call: Call) -> Answer:
    """Return a user's role: `permission` says less than `role_name`."""
    repository = call.need("write", "metadata", level="read")
    user = _known(call, call.names["username"])
    role = repository.role(user)
    more = {"permissions": _rights(role), "role_name": role}
    body = {
        "permission": OLD_NAMES.get(role, role),
        "role_name": role,
        "user": call.shapes.user(user, "nullable-collaborator", **more),
    }
    return Answer(body=fill("repository-collaborator-permission", body))


@route("GET", "~/collaborators")
def collaborators(call: Call) -> Answer:
    """Return everybody with a role."""
    repository = call.need("write", "metadata", level="read")
    least = {"pull": "read", "push": "write"}.get(
        call.query.get("permission", "pull"), call.query.get("permission", "read")
    )
    found = [
        call.shapes.user(user, "collaborator", permissions=_rights(role), role_name=role)
        for user in call.fake.directory.users.values()
        if (role := repository.roles.get(user.id, "none")) != "none"
        and ROLES.index(role) >= ROLES.index(least)
    ]
    return call.page(found)


def _team(call: Call) -> dict[str, str]:
    """Return the members of the team in the path, to who may know of it."""
    token = call.who
    team = call.fake.directory.teams.get(call.names["team_slug"])
    hidden = token.permissions is not None and "members" not in token.permissions
    if call.names["org"] != call.fake.organization.login or team is None or hidden:
        raise Refused(404, "Not Found")
    return team


@route("GET", TEAM)
def team(call: Call) -> Answer:
    """Return a team."""
    members, slug = _team(call), call.names["team_slug"]
    known = {
        "id": abs(hash(slug)) % 10**6,
        "slug": slug,
        "name": slug,
        "privacy": "closed",
        "members_count": len(members),
        "organization": _organization(call),
    }
    return Answer(body=fill("team-full", known))


def _organization(call: Call) -> Json:
    return call.shapes.user(call.fake.organization, "team-organization")


@route("GET", f"{TEAM}/members")
def members(call: Call) -> Answer:
    """Return those who have accepted."""
    active = [login for login, state in _team(call).items() if state == "active"]
    return call.page(call.shapes.user(_known(call, login)) for login in active)


@route("GET", f"{TEAM}/memberships/{{username}}")
def membership(call: Call) -> Answer:
    """Return whether somebody is a member, or has been asked to be."""
    state = _team(call).get(call.names["username"].lower())
    if state is None:
        raise Refused(404, "Not Found")
    return Answer(body=fill("team-membership", {"role": "member", "state": state}))


@route("GET", "/rate_limit")
def rate_limit(call: Call) -> Answer:
    """Return the calls left; asking costs none."""
    rate = call.fake.ledger.rate(call.token.user.login if call.token else "")
    return Answer(
        body=fill(
            "rate-limit-overview", {"resources": {"core": rate, "search": rate}, "rate": rate}
        )
    )


@route("GET", "/meta")
def meta(call: Call) -> Answer:
    """Return what the server says of itself."""
    known = {"verifiable_password_authentication": False, "domains": {}}
    return Answer(body=fill("api-overview", known))

"""GitHub Apps: what an App asks with its key, and the tokens that it is given."""

from __future__ import annotations

from fakes.github.routing import Answer, Call, Refused, route
from fakes.github.shapes import fill
from fakes.github.state import App, Json

INSTALLATION = "/app/installations/{installation_id}"


def _app(call: Call) -> App:
    """Return the App that asks, which must have signed with its key."""
    token = call.who
    if token.kind != "app" or token.app is None:
        raise Refused(401, "A JSON web token could not be decoded")
    return token.app


@route("GET", "/app")
def app(call: Call) -> Answer:
    """Return the App that asks."""
    return Answer(body=call.fake.app_document(_app(call)))


@route("GET", "/apps/{app_slug}")
def public_app(call: Call) -> Answer:
    """Return an App by its slug, to whoever asks."""
    for known in call.fake.directory.apps.values():
        if known.slug == call.names["app_slug"]:
            return Answer(body=call.fake.app_document(known))
    raise Refused(404, "Not Found")


def _installation(call: Call, app: App) -> Json:
    owner = call.fake.organization
    url = f"{call.shapes.api}/app/installations/{app.installation}"
    known = {
        "id": app.installation,
        "account": call.shapes.user(owner),
        "app_id": app.id,
        "app_slug": app.slug,
        "target_id": owner.id,
        "target_type": owner.type,
        "permissions": app.permissions,
        "events": [],
        "repository_selection": "selected",
        "access_tokens_url": f"{url}/access_tokens",
        "html_url": f"{call.shapes.html}/installations/{app.installation}",
    }
    return fill("installation", known)


@route("GET", "/app/installations")
def installations(call: Call) -> Answer:
    """Return the one installation."""
    return call.page([_installation(call, _app(call))])


@route("GET", "~/installation")
def installation_of_repository(call: Call) -> Answer:
    """Return the installation of the App that asks in a repository."""
    if f"{call.names['owner']}/{call.names['repo']}".lower() not in call.fake.repositories:
        raise Refused(404, "Not Found")
    return Answer(body=_installation(call, _app(call)))


def _known_installation(call: Call) -> App:
    app = _app(call)
    if call.number("installation_id") != app.installation:
        raise Refused(404, "Not Found")
    return app


@route("GET", INSTALLATION)
def installation(call: Call) -> Answer:
    """Return an installation."""
    return Answer(body=_installation(call, _known_installation(call)))


@route("POST", f"{INSTALLATION}/access_tokens")
def access_token(call: Call) -> Answer:
    """Give a token that lasts an hour, with all permissions or with fewer."""
    app = _known_installation(call)
    asked = call.body.get("permissions", app.permissions)
    if any(_more(level, app.permissions.get(name)) for name, level in asked.items()):
        raise Refused(422, "The permissions requested are not granted to this installation.")
    names = {name.lower() for name in call.body.get("repositories", ())}
    unknown = names - {call.fake.repository.name}
    if unknown:
        raise Refused(422, "There is at least one repository that does not exist.")
    lasts = call.fake.installation_lasts
    text = call.fake.directory.installation_token(app, asked, lasts=lasts)
    known = {
        "token": text,
        "expires_at": call.shapes.time(call.fake.clock.now() + lasts),
        "permissions": {"metadata": "read", **asked},
        "repository_selection": "selected",
    }
    return Answer(status=201, body=fill("installation-token", known))


def _more(asked: str, held: str | None) -> bool:
    order = (None, "read", "write", "admin")
    return order.index(asked) > order.index(held)


@route("DELETE", "/installation/token")
def revoke(call: Call) -> Answer:
    """Revoke the token that asks."""
    if call.who.kind != "installation":
        raise Refused(403, "Resource not accessible by personal access token")
    tokens = call.fake.directory.tokens
    for text in [text for text, token in tokens.items() if token is call.token]:
        del tokens[text]
    return Answer(status=204)

"""Webhooks of the repository."""

from __future__ import annotations

from fakes.github.events import emit
from fakes.github.routing import Answer, Call, Refused, not_valid, route
from fakes.github.shapes import fill
from fakes.github.state import Hook, Json

HOOK = "~/hooks/{hook_id}"


def _hook(call: Call, hook: Hook) -> Json:
    url = f"{call.shapes.api}/repos/{call.repository.full_name}/hooks/{hook.id}"
    config = {"url": hook.url, "content_type": "json", "insecure_ssl": "0"}
    if hook.secret:
        config["secret"] = "********"  # GitHub never gives it back
    known = {
        "type": "Repository",
        "id": hook.id,
        "name": "web",
        "active": hook.active,
        "events": hook.events,
        "config": config,
        "url": url,
        "test_url": f"{url}/tests",
        "ping_url": f"{url}/pings",
        "created_at": call.shapes.time(hook.created),
        "updated_at": call.shapes.time(hook.created),
    }
    return fill("hook", known)


@route("GET", "~/hooks")
def hooks(call: Call) -> Answer:
    """Return the webhooks."""
    repository = call.need("admin", "administration", level="read")
    return call.page(_hook(call, hook) for hook in repository.hooks.values())


@route("POST", "~/hooks")
def create_hook(call: Call) -> Answer:
    """Create a webhook, and ping it."""
    repository = call.need("admin", "administration")
    config = call.body.get("config", {})
    if not config.get("url"):
        raise not_valid("Hook", code="custom", message="Config must contain URL for webhooks")
    if any(hook.url == config["url"] for hook in repository.hooks.values()):
        raise not_valid("Hook", code="custom", message="Hook already exists on this repository")
    hook = Hook(
        id=call.fake.new_id(),
        url=config["url"],
        secret=config.get("secret", ""),
        events=call.body.get("events", ["push"]),
        active=call.body.get("active", True),
        created=call.fake.clock.now(),
    )
    repository.hooks[hook.id] = hook
    emit(call.fake, repository, "ping", {"hook_id": hook.id, "zen": "Keep it logically awesome."},
         call.who)  # fmt: skip
    return Answer(status=201, body=_hook(call, hook))


def _known(call: Call, *, level: str = "write") -> Hook:
    repository = call.need("admin", "administration", level=level)
    hook = repository.hooks.get(call.number("hook_id"))
    if hook is None:
        raise Refused(404, "Not Found")
    return hook


@route("GET", HOOK)
def hook(call: Call) -> Answer:
    """Return a webhook."""
    return Answer(body=_hook(call, _known(call, level="read")))


@route("PATCH", HOOK)
def edit_hook(call: Call) -> Answer:
    """Change a webhook; `config` is set as a whole, so that a secret left out is gone."""
    hook, body = _known(call), call.body
    if "config" in body:
        hook.url = body["config"].get("url", hook.url)
        hook.secret = body["config"].get("secret", "")
    hook.events = body.get("events", hook.events)
    hook.events = [*hook.events, *body.get("add_events", ())]
    hook.events = [one for one in hook.events if one not in body.get("remove_events", ())]
    hook.active = body.get("active", hook.active)
    return Answer(body=_hook(call, hook))


@route("DELETE", HOOK)
def delete_hook(call: Call) -> Answer:
    """Delete a webhook."""
    hook = _known(call)
    del call.repository.hooks[hook.id]
    return Answer(status=204)

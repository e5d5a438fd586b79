"""`/rate_limit` and `/meta`."""

from __future__ import annotations

from fakes.github.routing import Answer, Call, route
from fakes.github.shapes import fill


@route("GET", "/rate_limit")
def rate_limit(call: Call) -> Answer:
    """Return the calls left; asking costs none."""
    rate = call.fake.rate(call.token.user.login if call.token else "")
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

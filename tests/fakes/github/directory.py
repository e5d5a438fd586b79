"""Who the fake knows: users, teams, apps, and the tokens that act for them."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from functools import cache
from itertools import count

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fakes.github.clock import Clock
from fakes.github.routing import Refused
from fakes.github.state import App, Token, User

ACTIONS_BOT = 41898282  # the id of github-actions[bot], on GitHub too

# Clients keep tokens by this number, for as long as a process lives.
_INSTALLATIONS = count(70_001)


class Directory:
    """Users by login, tokens by their text, apps by id, teams by slug.

    Args:
        clock: Says when a token is over.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids = 1000
        self.users: dict[str, User] = {}
        self.by_email: dict[str, User] = {}
        self.tokens: dict[str, Token] = {}
        self.apps: dict[int, App] = {}
        self.teams: dict[str, dict[str, str]] = {}

    def add(self, login: str, *, kind: str = "User", emails: tuple[str, ...] = ()) -> User:
        """Add a user, and return them."""
        self._ids += 1
        number = ACTIONS_BOT if login == "github-actions[bot]" else self._ids
        user = User(id=number, login=login, type=kind, emails=emails)
        self.users[login.lower()] = user
        for address in (*emails, user.noreply):
            self.by_email[address.lower()] = user
        return user

    def add_app(self, slug: str, permissions: Mapping[str, str]) -> App:
        """Add a GitHub App that is installed, and return it."""
        self._ids += 1
        app = App(
            id=self._ids,
            slug=slug,
            bot=self.add(f"{slug}[bot]", kind="Bot"),
            installation=next(_INSTALLATIONS),
            permissions={"metadata": "read", **permissions},
            key=_private_key(),
        )
        self.apps[app.id] = app
        return app

    def give_token(self, text: str, token: Token) -> str:
        """Let a text act as a token, and return it."""
        self.tokens[text] = token
        return text

    def installation_token(self, app: App, permissions: Mapping[str, str], *, lasts: float) -> str:
        """Return a new token of an installation."""
        token = Token(
            user=app.bot,
            kind="installation",
            permissions={"metadata": "read", **permissions},
            expires=self._clock.now() + lasts,
            app=app,
        )
        return self.give_token(f"installation-{secrets.token_hex(12)}", token)

    def token_of(self, authorization: str) -> Token | None:
        """Return the token of a header, or None if there is no header.

        Raises:
            Refused: The token is unknown, or its time is over.
        """
        if not authorization:
            return None
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() == "basic":
            text = base64.b64decode(text).decode().partition(":")[2]
        token = self.tokens.get(text.strip())
        if token is None or (token.expires is not None and self._clock.now() >= token.expires):
            raise Refused(401, "Bad credentials")
        return token

    def app_of(self, authorization: str) -> App:
        """Return the App whose key has signed the JSON Web Token of a header.

        Raises:
            Refused: There is no such App, or the token is wrong, over, or longer than ten minutes.
        """
        text = authorization.partition(" ")[2]
        try:
            issuer = jwt.decode(text, options={"verify_signature": False}).get("iss")
            app = self.apps[int(str(issuer))]
            claims = jwt.decode(
                text,
                _public_key(app.key),
                algorithms=["RS256"],
                options={"require": ["exp", "iat"], "verify_exp": False, "verify_iat": False},
            )
        except (jwt.InvalidTokenError, KeyError, ValueError) as error:
            raise Refused(401, "A JSON web token could not be decoded") from error
        now = self._clock.now()
        if not now < claims["exp"] <= now + 600 or claims["iat"] > now + 60:
            raise Refused(401, "'Expiration time' claim ('exp') is too far in the future")
        return app


@cache
def _private_key() -> str:
    """Return a key; one for all Apps of a process, because making one takes a while."""
    return (
        rsa.generate_private_key(public_exponent=65537, key_size=2048)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


@cache
def _public_key(private: str) -> bytes:
    return (
        serialization.load_pem_private_key(private.encode(), None)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )

"""The cluster's forge: a Gitea with an organisation and the people of the journey."""

import json
from pathlib import Path

from e2e.cluster.layout import FORGE_PORT, Layout
from e2e.cluster.processes import Program, start
from e2e.cluster.progress import wait_until
from e2e.forge.api import Api
from e2e.forge.server import Gitea
from e2e.forge.site import BOT, ORGANISATION, OWNER, found_organisation, install

YARD = f"{ORGANISATION}/yard"
"""Made anew by every fork."""

WHO = {"owner": OWNER, "bot": BOT, "ada": "ada", "grace": "grace"}
"""The part that each plays in the journey, and the name of the account."""


def start_forge(layout: Layout) -> None:
    """Start Gitea; its people are made the first time, and their tokens written down."""
    gitea, kept = _gitea(layout), _tokens(layout)
    is_new = not kept.exists()
    if is_new:
        tokens = install(gitea, [login for login in WHO.values() if login != OWNER])
    start(layout, Program(name="gitea", argv=gitea.argv, env=gitea.environment))
    wait_until("Gitea that answers", 60, gitea.answers)
    if is_new:
        found_organisation(Api(client=gitea.client, token=tokens[OWNER]))
        kept.touch(mode=0o600)
        kept.write_text(json.dumps({who: tokens[login] for who, login in WHO.items()}))


def forge_addresses(layout: Layout) -> dict[str, str]:
    """Where it is, and the tokens of those who act there."""
    tokens = json.loads(_tokens(layout).read_text())
    return {
        "forge_url": _gitea(layout).url,
        "forge_repository": YARD,
        **{f"{who}_token": token for who, token in tokens.items()},
    }


def _gitea(layout: Layout) -> Gitea:
    return Gitea(folder=layout.state / "gitea", address=layout.address, port=FORGE_PORT)


def _tokens(layout: Layout) -> Path:
    return layout.state / "gitea" / "tokens.json"

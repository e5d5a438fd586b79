"""What the main branch of the remote has, for commands whose word reaches beyond this checkout."""

from __future__ import annotations

from modelyard.errors import Refused
from modelyard.ports import Services


def check_on_main(services: Services, path: str) -> None:
    """Raise `Refused` when the remote's main branch has no file of this path."""
    from modelyard.adapters.git.names import readable
    from modelyard.adapters.git.remote_refs import RemoteRefs
    from modelyard.adapters.git.repository import Git
    from modelyard.adapters.git.trees import GitTree

    git, repository = Git(services.root), services.repository
    tree = GitTree(git, RemoteRefs(git, repository.remote).tip(repository.main))
    if not tree.exists(path):
        raise Refused(
            f"{repository.remote}/{repository.main} has no {readable(path)}",
            hint="modelyard status",
        )

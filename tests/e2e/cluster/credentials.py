"""Certificates, tokens and kubeconfigs of one cluster, made anew at every start."""

import secrets
import subprocess
from pathlib import Path

import yaml

from e2e.cluster.layout import API_PORT, API_SERVICE, NODE, Layout

# Who may be asked for by token, and as what the API server knows them.
USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
}
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_SELF_SIGNED = (
    *("req", "-x509", *_KEY, "-days", "30", "-subj", "/CN=modelyard-e2e"),
    *("-keyout", "ca.key", "-out", "ca.crt"),
)
_SERVICE_ACCOUNTS = (
    *("ecparam", "-name", "prime256v1", "-genkey", "-noout"),
    *("-out", "service-accounts.key"),
)


def write_credentials(layout: Layout) -> None:
    """The authority, the API server's two certificates, the service-account key, the tokens."""
    folder = layout.state / "pki"
    folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    _openssl(folder, *_SELF_SIGNED)
    names = "DNS:kubernetes.default.svc,DNS:kubernetes.default,DNS:kubernetes,DNS:localhost"
    addresses = f"IP:{layout.address},IP:{API_SERVICE},IP:127.0.0.1"
    _signed(folder, "apiserver", "/CN=kube-apiserver", f"{names},{addresses}")
    _signed(folder, "kubelet-client", "/O=system:masters/CN=kube-apiserver", "DNS:kube-apiserver")
    _openssl(folder, *_SERVICE_ACCOUNTS)
    tokens = {name: secrets.token_hex(16) for name in USERS}
    rows = (f'{tokens[k]},{user},{k},"{groups}"' for k, (user, groups) in USERS.items())
    _private(folder / "tokens.csv", "\n".join(rows) + "\n")
    for name, token in tokens.items():
        _private(layout.state / f"{name}.kubeconfig", _kubeconfig(layout, token))


def _kubeconfig(layout: Layout, token: str) -> str:
    server = f"https://{layout.address}:{API_PORT}"
    authority = str(layout.state / "pki" / "ca.crt")
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "modelyard",
                    "cluster": {"server": server, "certificate-authority": authority},
                }
            ],
            "users": [{"name": "modelyard", "user": {"token": token}}],
            "contexts": [
                {"name": "modelyard", "context": {"cluster": "modelyard", "user": "modelyard"}}
            ],
            "current-context": "modelyard",
        }
    )


def _signed(folder: Path, name: str, subject: str, alternatives: str) -> None:
    request = ["req", "-new", *_KEY, "-subj", subject]
    _openssl(folder, *request, "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\n")
    sign = ["x509", "-req", "-days", "30", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"]
    files = ["-in", f"{name}.csr", "-extfile", f"{name}.ext", "-out", f"{name}.crt"]
    _openssl(folder, *sign, *files)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)

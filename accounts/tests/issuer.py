"""An OIDC issuer on this machine: real RS256 keys, a JWKS endpoint that can misbehave, tokens as Cognito makes them."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

CLIENT = "client-1"


class Issuer:
    """`answer` is (status, headers, body) instead of the keys; `requests` are the paths that were asked for."""

    def __init__(self) -> None:
        self._keys: dict[str, rsa.RSAPrivateKey] = {}
        self.requests: list[str] = []
        self.answer: tuple[int, dict[str, str], bytes] | None = None
        self.add_key("key-1")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/pool"

    def add_key(self, key_id: str) -> None:
        self._keys[key_id] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def reset(self) -> None:
        self._keys = {"key-1": self._keys["key-1"]}
        self.answer = None
        self.requests.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a Cognito access token says; None takes a claim away."""
        now = int(time.time())
        usual = {
            "iss": self.url,
            "sub": "subject-1",
            "client_id": CLIENT,
            "token_use": "access",
            "username": "nora",
            "iat": now,
            "exp": now + 3600,
        }
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def token(self, *, key_id: str = "key-1", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        key = self._keys.get(key_id) or rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return jwt.encode(self.claims(**changes), key, "RS256", headers={"kid": key_id} | (headers or {}))

    def public_pem(self) -> bytes:
        return self._keys["key-1"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def documents(self) -> dict[str, Any]:
        keys = [
            json.loads(RSAAlgorithm.to_jwk(key.public_key())) | {"kid": key_id, "alg": "RS256", "use": "sig"}
            for key_id, key in self._keys.items()
        ]
        return {
            "/pool/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/pool/keys": {"keys": keys},
        }


def _handler_of(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            document = issuer.documents().get(self.path)
            usual = (200 if document else 404, {}, json.dumps(document).encode())
            status, headers, body = issuer.answer or usual
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            pass

    return Handler

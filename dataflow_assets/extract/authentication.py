"""From what a declaration says of secrets to credentials.

What belongs here: reading the variables that a declaration names, when a run needs them, and tokens
that hosts give for a while. What does not: keeping secrets out of texts (`credentials`).
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from typing_extensions import override

from dataflow_assets.declaration.rest import Secret
from dataflow_assets.errors import SettingsError, SourceRefusedError
from dataflow_assets.extract.credentials import Credentials, Proof
from dataflow_assets.extract.http import Ask, HttpClient

if TYPE_CHECKING:
    from dataflow_assets.declaration.rest import ApiKey, Basic, Bearer, Endpoint, OAuth2
    from dataflow_assets.extract.http import Guard, Limits

EARLY_S = 30.0
"""A token is renewed so long before its end."""
DEFAULT_LIFE_S = 300.0


def open_credentials(endpoint: Endpoint, limits: Limits, guard: Guard) -> Credentials:
    """Return who asks an endpoint.

    Args:
        endpoint: The declaration; it names variables.
        limits: For asking for a token.
        guard: For asking for a token.

    Raises:
        SettingsError: A variable is not set, or holds what no request can carry.
    """
    told = _Told()
    headers = {
        name: told.read(value.env)
        for name, value in endpoint.headers.items()
        if isinstance(value, Secret)
    }
    params = {
        name: told.read(value.env)
        for name, value in endpoint.params.items()
        if isinstance(value, Secret)
    }
    auth = endpoint.auth
    if auth is not None and auth.basic is not None:
        headers["Authorization"] = told.basic(auth.basic)
    elif auth is not None and auth.bearer is not None:
        headers["Authorization"] = told.bearer(auth.bearer)
    elif auth is not None and auth.api_key is not None:
        told.api_key(auth.api_key, headers, params)
    proof = Proof(headers, params)
    if auth is not None and auth.oauth2 is not None:
        client = _TokenClient(auth.oauth2, told, limits, guard)
        return TokenCredentials(endpoint.url, proof, told.secrets, client)
    return Credentials(endpoint.url, proof, tuple(told.secrets))


class _Told:
    """What the environment has told, remembered so that no text shows it."""

    def __init__(self) -> None:
        self.secrets: list[str] = []

    def read(self, name: str) -> str:
        value = os.environ.get(name, "")
        if not value:
            raise SettingsError(
                f"the variable {name} is not set.",
                mend=f"Set {name} in the environment of those who run Dagster's code.",
                culprit=name,
            )
        if not value.isascii() or not value.isprintable():
            raise SettingsError(
                f"the variable {name} holds what no header can: line ends, or other than ASCII.",
                mend=f"Set {name} without a line end.",
                culprit=name,
            )
        self.secrets.append(value)
        return value

    def bearer(self, declared: Bearer) -> str:
        return f"Bearer {self.read(declared.token_env)}"

    def basic(self, declared: Basic) -> str:
        return self.pair(self.read(declared.user_env), self.read(declared.password_env))

    def pair(self, user: str, password: str) -> str:
        packed = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.secrets.append(packed)
        return f"Basic {packed}"

    def api_key(self, declared: ApiKey, headers: dict[str, str], params: dict[str, str]) -> None:
        key = self.read(declared.key_env)
        if declared.header is not None:
            headers[declared.header] = key
        if declared.param is not None:
            params[declared.param] = key


class TokenCredentials(Credentials):
    """Credentials with a token that is asked for when it is needed, and anew when it is refused.

    Args:
        url: An address of the host to which they may be sent.
        proof: What is sent besides the token.
        secrets: Values that no text may show.
        client: Asks for tokens.
    """

    def __init__(self, url: str, proof: Proof, secrets: list[str], client: _TokenClient) -> None:
        super().__init__(url, proof, tuple(secrets))
        self._client = client
        self._lock = threading.Lock()
        self._token = ""
        self._ends_at = 0.0

    @override
    def renew(self) -> bool:
        with self._lock:
            self._ends_at = 0.0
        return True

    @override
    def _current(self) -> Proof:
        with self._lock:
            if time.monotonic() >= self._ends_at:
                self._token, life = self._client.ask()
                self.hide(self._token)
                self._ends_at = time.monotonic() + max(life - EARLY_S, life / 2)
            given = {**self._proof.headers, "Authorization": f"Bearer {self._token}"}
            return replace(self._proof, headers=given)


class _TokenClient:
    """Asks for tokens with client credentials."""

    def __init__(self, declared: OAuth2, told: _Told, limits: Limits, guard: Guard) -> None:
        user, password = told.read(declared.client_id_env), told.read(declared.client_secret_env)
        form = {"grant_type": "client_credentials"}
        headers = {}
        if declared.send == "body":
            form |= {"client_id": user, "client_secret": password}
        else:
            pair = told.pair(quote(user, safe=""), quote(password, safe=""))  # as RFC 6749 wants
            headers["Authorization"] = pair
        form |= {"scope": declared.scope} if declared.scope else {}
        form |= {"audience": declared.audience} if declared.audience else {}
        self._url = declared.token_url
        self._form = urlencode(form).encode()
        credentials = Credentials(self._url, Proof(headers), tuple(told.secrets))
        self._http = HttpClient(credentials, limits, guard)

    def ask(self) -> tuple[str, float]:
        """Return a token, and for how many seconds it is good."""
        told = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        response = self._http.send(Ask(self._url, "POST", told, self._form))
        answer = _parsed(response.content)
        token, life = answer.get("access_token"), str(answer.get("expires_in"))
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise SourceRefusedError(
                f"{self._url} answered without a token.",
                mend="Look at token_url and send in the declaration.",
                culprit=self._url,
            )
        return token, float(life) if life.isdigit() else DEFAULT_LIFE_S


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}

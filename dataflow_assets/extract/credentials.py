"""What proves to a host who asks, and keeping it from the eyes of others.

What belongs here: secrets on their way from the environment into requests, and out of texts. What
does not: the requests themselves (`http`).

A declaration names variables; their values are read when a run needs them, are sent to the declared
host only, and stand in no text: whatever is shown, logged or stored goes through `redact` first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from dataflow_assets.declaration.rest import origin_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HIDDEN = "***"
SHORTEST_HIDDEN = 4
"""Shorter secrets are not looked for in texts: they would be found in every word."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What is sent along with a request to prove who asks.

    Attributes:
        headers: Headers.
        params: Parameters of the query.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)


class Credentials:
    """Who asks, for one host; nobody in particular unless told otherwise.

    Args:
        url: An address of the host to which they may be sent, no other.
        proof: What is sent to it.
        secrets: Values that no text may show.
    """

    def __init__(
        self, url: str = "", proof: Proof | None = None, secrets: tuple[str, ...] = ()
    ) -> None:
        self._origin = origin_of(url)
        self._proof = proof or Proof()
        self._secrets = secrets
        self._pattern = _pattern_of(secrets)

    def proof_for(self, url: str) -> Proof:
        """Return what to send to an address: nothing if it is another host's."""
        return self._current() if origin_of(url) == self._origin else Proof()

    def renew(self) -> bool:
        """Forget what a host has refused; return whether there may be something better."""
        return False

    def redact(self, text: str) -> str:
        """Return a text with its secrets hidden, however they are written."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def strip(self, url: str) -> str:
        """Return an address without the parameters that carry secrets, and without a user."""
        parts = urlsplit(url)
        params = parse_qsl(parts.query, keep_blank_values=True)
        kept = [pair for pair in params if pair[0] not in self._proof.params]
        query = parts.query if kept == params else urlencode(kept)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, query, ""))

    def shown(self, url: str) -> str:
        """Return an address as people may see it."""
        return self.redact(self.strip(url))

    def hide(self, secret: str) -> None:
        """Show another secret in no text from now on."""
        self._secrets = (*self._secrets, secret)
        self._pattern = _pattern_of(self._secrets)

    def _current(self) -> Proof:
        return self._proof


def _pattern_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds secrets however many of their characters an address has escaped."""
    told = sorted((one for one in secrets if len(one) >= SHORTEST_HIDDEN), key=len, reverse=True)
    return re.compile("|".join("".join(map(_any_form, one)) for one in told)) if told else None


def _any_form(character: str) -> str:
    escaped = "".join(f"%{byte:02X}" for byte in character.encode())
    forms = [re.escape(character), f"(?i:{escaped})", *([r"\+"] if character == " " else [])]
    return f"(?:{'|'.join(forms)})"

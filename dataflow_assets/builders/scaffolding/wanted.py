"""What a declaration is to be made of, as the person who asks for it says.

What belongs here: the words of the request. What does not: what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wanted:
    """What a declaration is to be made of; nothing: a declaration to fill in.

    Attributes:
        sample: A file, an address on S3, or one over HTTP.
        database_url_env: The variable that holds a database's URL.
        table: The table of it, with its schema if need be.
        query: What to read instead: one ``select``.
        token_env: The variable that holds the token which an API asks for.
    """

    sample: str | None = None
    database_url_env: str | None = None
    table: str | None = None
    query: str | None = None
    token_env: str | None = None

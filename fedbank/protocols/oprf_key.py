"""The long-lived key of the cached set intersection (`oprf_psi.py`): its secret scalar, its name, its agreed life."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import date

from fedbank.errors import UsageError
from fedbank.protocols.set_items import Key, Random

__all__ = ["NAME", "Life", "OprfKey"]

NAME = 16  # bytes of a key's name


@dataclass(frozen=True)
class Life:
    """What both sides agree on for a key: its last day, and how many ids of clients it answers in all (1 to 2^40)."""

    expires: date
    most_queries: int

    def __post_init__(self) -> None:
        if not 1 <= self.most_queries <= 2**40:
            raise UsageError(f"A key answers 1 to 2^40 ids in its life, found {self.most_queries}.")

    def __str__(self) -> str:
        return f"a key that answers {self.most_queries} ids until {self.expires.isoformat()}"


@dataclass(frozen=True, repr=False, eq=False)
class OprfKey:
    """The server's key, its name, agreed life and how many ids it has answered. It cannot be pickled.

    `to_secret_bytes` is for its owner's own file (`party.oprf_files`) and for nothing else.
    """

    name: str
    life: Life
    answered: int
    key: Key

    @classmethod
    def create(cls, life: Life, random: Random = os.urandom) -> OprfKey:
        """Draw a key; its name, 32 hexadecimal digits, is random too."""
        return cls(random(NAME).hex(), life, 0, Key(random))

    def __repr__(self) -> str:
        return f"OprfKey({self.name}, secret)"

    def __reduce__(self) -> str:
        raise TypeError("A secret key is not to be pickled.")

    def spend(self, count: int, today: date) -> OprfKey:
        """Return the key after `count` more answers.

        Raises
        ------
        UsageError
            Its last day is over, or it would answer more ids than agreed.
        """
        remedy = "Make a new key, agree on its life and publish its tags."
        if today > self.life.expires:
            raise UsageError(f"The key {self.name} expired on {self.life.expires.isoformat()}. {remedy}")
        left = self.life.most_queries - self.answered
        if count > left:
            raise UsageError(
                f"The key {self.name} answers {self.life.most_queries} ids in its life and has {left} left; "
                f"{count} are asked for. {remedy}"
            )
        return replace(self, answered=self.answered + count)

    def to_secret_bytes(self) -> bytes:
        """The scalar itself, for the owner's key file."""
        return self.key.to_secret_bytes()

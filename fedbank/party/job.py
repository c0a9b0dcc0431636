"""A job: the agreed piece of work. Both parties hold the same file; the hash of its content names the job."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from fedbank.data.ids import ID_KINDS
from fedbank.errors import UsageError
from fedbank.models.description_requests import CELLS_PER_NUMBER, Request, in_order
from fedbank.models.trees import BoostingParameters
from fedbank.protocols import paillier_histogram, plain_histogram, private_parameters
from fedbank.protocols.histogram import Scheme

__all__ = ["Describe", "Engine", "Job", "RowSplit", "parse", "read_toml"]

PartyName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
RESERVED = ("together", "authority")
S = TypeVar("S", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RowSplit(_Strict):
    """Which aligned people train, validate and test. The active party draws by `seed` and tells the others.

    Attributes
    ----------
    test, validation : shares of the people
    out_of_time : the latest share of the people, by the active party's time column (`table.time` in its party file)
    folds : cross-validation with so many folds instead of a test share: each person is judged by a model that was
        trained on the other folds, and the final model is trained on everybody; 0 for none
    limit : use only so many aligned people, drawn by `seed`; 0 uses all
    seed : draws people; with `table.group` in the active party's file, whole groups
    """

    test: float = Field(0.3, ge=0, lt=1)
    validation: float = Field(0.0, ge=0, lt=1)
    out_of_time: float = Field(0.0, ge=0, lt=1)
    folds: int = Field(0, ge=0, le=20)
    limit: int = Field(0, ge=0)
    seed: int = Field(0, ge=0, lt=2**63)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> RowSplit:
        if self.test + self.validation + self.out_of_time >= 1:
            raise ValueError("test, validation and out_of_time must leave rows for training")
        if self.folds == 1 or (self.folds and self.test):
            raise ValueError("folds must be 0, or 2 and more with test = 0")
        return self


class Engine(_Strict):
    """How histograms are protected.

    `hint` is the fast one (`protocols.private_histogram`), `paillier` the reference for small data; `plaintext`
    protects nothing and is refused by default. `key_bits` is Paillier's.
    """

    name: Literal["hint", "paillier", "plaintext"] = "hint"
    key_bits: int = Field(3072, ge=paillier_histogram.SMALLEST_KEY, le=paillier_histogram.LARGEST_KEY, multiple_of=256)

    @property
    def scheme(self) -> Scheme:
        """The scheme, as far as the job says; the parameters of `hint` follow from the tables' sizes."""
        if self.name == "hint":
            return private_parameters.LEAST_SCHEME
        return plain_histogram.SCHEME if self.name == "plaintext" else paillier_histogram.scheme(self.key_bits)


class Describe(_Strict):
    """What `fedbank describe` opens of the parties' columns, and to whom; training opens none of it.

    Attributes
    ----------
    requests : see `fedbank.models.description_requests.Request`; each kind once at most
    bins : of a column at the most, beside the one for missing values, where information values are asked for
    cells_per_number : refuse if fewer cells, or labels, stand behind each number opened; 0: never refuse
    """

    requests: tuple[Request, ...] = ()
    bins: int = Field(10, ge=2, le=255)
    cells_per_number: int = Field(CELLS_PER_NUMBER, ge=0)

    @pydantic.field_validator("requests")
    @classmethod
    def _each_once(cls, requests: tuple[Request, ...]) -> tuple[Request, ...]:
        return in_order(requests)


class Job(_Strict):
    """One agreed piece of work.

    Attributes
    ----------
    name : for people and folders
    active : the party with the labels
    passive : the parties with columns only
    id_kind : how ids are normalised, see `fedbank.data.ids`
    alignment : the set intersection, "ecdh", "vole" or "vole-ot"; "auto" chooses by set sizes and line
        (`protocols.alignment`)
    rows, boosting, engine, describe : see there
    compare_alone : train each party's columns alone too, to show what working together brings
    blinding : jobs with the same label give a column the same blinded number; empty: new numbers for each job
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    active: PartyName
    passive: tuple[PartyName, ...] = Field(min_length=1, max_length=64)
    id_kind: str = "plain"
    alignment: Literal["auto", "ecdh", "vole", "vole-ot"] = "auto"
    rows: RowSplit = RowSplit()
    boosting: BoostingParameters = BoostingParameters()
    engine: Engine = Engine()
    describe: Describe = Describe()
    compare_alone: bool = True
    blinding: str = Field("", max_length=64)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Job:
        parties = [self.active, *self.passive]
        if len(set(parties)) != len(parties):
            raise ValueError("each party may be named once only, as active or as passive")
        if reserved := [party for party in parties if party in RESERVED]:
            raise ValueError(f"no party may be called {reserved[0]}")
        if self.id_kind not in ID_KINDS:
            raise ValueError(f"id_kind must be one of {', '.join(ID_KINDS)}")
        if self.boosting.early_stopping_rounds and not self.rows.validation:
            raise ValueError("boosting.early_stopping_rounds needs rows.validation above 0")
        return self

    @classmethod
    def load(cls, path: Path) -> Job:
        """Read a job file; raises UsageError with the field and the remedy."""
        return parse(cls, read_toml(path, "job file"), f"Job file {path.name}")

    @property
    def hash(self) -> str:
        """SHA-256 of the content, in hex: spaces, comments and the order of the file do not matter."""
        content = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    @property
    def folder(self) -> str:
        """Name of the job's folder in a party's store."""
        return f"{self.name}-{self.hash[:8]}"

    def role(self, party: str) -> str:
        """Return "active" or "passive"; raises UsageError for a party that the job does not name."""
        if party == self.active:
            return "active"
        if party in self.passive:
            return "passive"
        raise UsageError(
            f"Job {self.name} names {', '.join((self.active, *self.passive))}, not {party}: "
            "correct the job file on both sides, or start it with another party's configuration."
        )

    def partners(self, party: str) -> tuple[str, ...]:
        """The parties with whom `party` converses: all passive ones, or the active one."""
        return self.passive if self.role(party) == "active" else (self.active,)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file; raises UsageError if it is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no {what} at {path}: check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The {what} {path} cannot be read: {type(error).__name__}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The {what} {path} is not valid TOML: {error}.") from None


def parse(kind: type[S], content: dict[str, Any], what: str) -> S:
    """Check a file's content against its model; raises UsageError that names every wrong field."""
    try:
        return kind.model_validate(content)
    except pydantic.ValidationError as error:
        faults = "; ".join(_fault(one) for one in error.errors(include_url=False, include_input=False))
        raise UsageError(f"{what}: {faults}.") from None
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from None


def _fault(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{where}: {message}" if where else message

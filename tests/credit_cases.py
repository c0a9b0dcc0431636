"""Credit data as two parties hold them, and the answer on the joined table; for tests and benchmarks.

`load(name, shared)` gives one of `CASES`: two tables over the same people in the same order, and the labels, which the
active party holds. Every column is a number: columns of words, and of numbers that are names, are one-hot with all
their levels, which ridge makes determinate. Where the files come from: `README.md` of the shared data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedbank.data.forex import bank_table, make_world, regulator_table
from fedbank.models.binning import Binner

Floats = npt.NDArray[np.float64]

FOREX_PEOPLE = 10_000
TIGHT = 1e-10  # "solved": no entry of the mean loss's gradient is larger


@dataclass(frozen=True)
class Case:
    """Two parties' own columns, float64, row by row the same people; the index is their id.

    `labels` is float64 (rows,), 1 for what is to be foreseen, 0 otherwise.
    """

    name: str
    active: pd.DataFrame
    labels: Floats
    passive: pd.DataFrame

    def joined(self) -> Floats:
        """Return both standardised tables side by side, the active party's columns first: (rows, columns)."""
        return np.hstack([standardised(self.active), standardised(self.passive)])


@dataclass(frozen=True)
class Reference:
    """Scikit-learn's answer on a case's joined table.

    Attributes
    ----------
    coefficients, intercept : of ln(odds of 1) over standardised columns, the active party's first
    standard_errors, intercept_error : square roots of the diagonal of the inverse Hessian of what was minimised; ridge
        makes them smaller than those of the plain likelihood
    auc : on the rows that it was fitted to, each weighted
    gradient : largest entry of the gradient of the mean loss, penalty included
    """

    coefficients: Floats
    intercept: float
    standard_errors: Floats
    intercept_error: float
    auc: float
    gradient: float


def standardised(frame: pd.DataFrame) -> Floats:
    """Return each column with mean 0 and variance 1 over its rows (divisor: rows); a constant column becomes 0."""
    table = frame.to_numpy(np.float64)
    centred = table - table.mean(axis=0)
    deviation = centred.std(axis=0)
    constant = table.max(axis=0) == table.min(axis=0)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, deviation))


def reference(case: Case, C: float, sample_weight: Floats | None = None) -> Reference:
    """Fit scikit-learn's ridge logistic regression to the joined standardised table.

    It minimises sum over rows of s log-loss + |w|^2 / (2 C), intercept not penalised. Columns are standardised without
    regard to the weights s, `sample_weight` (rows,).
    """
    table, weights = case.joined(), np.ones(len(case.labels)) if sample_weight is None else sample_weight
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=TIGHT, max_iter=1000)
    model.fit(table, case.labels, sample_weight=weights)
    w, intercept = model.coef_[0], float(model.intercept_[0])
    z = table @ w + intercept
    chance = 1 / (1 + np.exp(-z))
    residuals = weights * (chance - case.labels)
    gradient = np.append(table.T @ residuals + w / C, residuals.sum()) / weights.sum()
    largest = float(np.abs(gradient).max())
    assert largest < 1.01 * TIGHT, f"scikit-learn left a gradient of {largest:.1e} on {case.name} at C = {C:g}"
    errors = _standard_errors(table, weights * chance * (1 - chance), C)
    auc = float(roc_auc_score(case.labels, z, sample_weight=weights))
    return Reference(w, intercept, errors[:-1], float(errors[-1]), auc, largest)


def load(name: str, shared: Path | None = None) -> Case:
    """Return one of `CASES`; those on files need the folder of shared data, whose fixture skips where it is missing."""
    assert name in MADE or shared is not None, f"The case {name} needs the shared data."
    return MADE[name]() if name in MADE else _read(name, shared)


@cache
def _read(name: str, shared: Path) -> Case:
    return READ[name](shared / "data")


def _breast(data: Path) -> Case:
    """569 tumours, 10 + 20 columns, nearly separable."""
    return _hetero("breast", data / "breast", ".csv")


def _default_credit(data: Path) -> Case:
    """30,000 card holders, 13 + 10 standardised columns; the bills of six months are nearly collinear."""
    return _hetero("default_credit", data / "default_credit", ".csv.gz")


def _hetero(name: str, folder: Path, ending: str) -> Case:
    """FATE's pair of files: `guest` has the labels y; columns of both are called x0 and up, so `host`'s become z0."""
    guest = pd.read_csv(folder / f"{name}_hetero_guest{ending}", index_col="id").sort_index()
    host = pd.read_csv(folder / f"{name}_hetero_host{ending}", index_col="id").sort_index()
    assert guest.index.equals(host.index) and guest.index.is_unique
    host.columns = host.columns.str.replace("x", "z")
    return _case(name, guest.drop(columns="y"), guest["y"], host)


def _default_credit_raw(data: Path) -> Case:
    """The same people in yuan and codes as published: unscaled, rare levels."""
    table = pd.read_csv(data / "default_credit" / "UCI_Credit_Card.csv.gz", index_col="ID").sort_index()
    codes = {name: table[name].astype(str) for name in ("SEX", "EDUCATION", "MARRIAGE")}
    theirs = table[["AGE", *(f"PAY_{month}" for month in (0, 2, 3, 4, 5, 6))]].assign(**codes)
    months = range(1, 7)
    own = table[["LIMIT_BAL", *(f"{what}_AMT{month}" for what in ("BILL", "PAY") for month in months)]]
    return _case("default_credit_raw", own, table["default.payment.next.month"], theirs)


PERSONAL = (
    "present_employment_since", "personal_status_and_sex", "present_residence_since", "property", "age_in_years",
    "housing", "job", "number_of_people_being_liable_to_provide_maintenance_for", "telephone", "foreign_worker",
)  # fmt: skip


def _german_credit(data: Path) -> Case:
    """1,000 loans, words and numbers; the bank has account, loan and savings, the other party the person."""
    table = pd.read_csv(data / "german_credit" / "germancredit.csv").rename_axis("id")
    label = table["creditability"] == "bad"
    return _case("german_credit", table.drop(columns=["creditability", *PERSONAL]), label, table[list(PERSONAL)])


def _bank_marketing(data: Path) -> Case:
    """45,211 calls; `duration` is known only after the call and left out."""
    table = pd.read_csv(data / "bank_marketing" / "bank-full.csv.gz", sep=";").rename_axis("id")
    theirs = table.loc[:, "contact":"poutcome"].drop(columns="duration")
    return _case("bank_marketing", table.loc[:, "age":"loan"], table["y"] == "yes", theirs)


@cache
def forex(people: int = FOREX_PEOPLE, seed: int = 1) -> Case:
    """Return the synthetic world: the regulator has the findings and 12 columns, the bank 25."""
    world = make_world(people, seed=seed)
    regulator = regulator_table(world).set_index("person_id")
    bank = bank_table(world).set_index("person_id").loc[regulator.index]
    return _case("forex", regulator.drop(columns="violation"), regulator["violation"], bank)


@cache
def forex_binned(people: int = FOREX_PEOPLE, seed: int = 1, bins: int = 8) -> Case:
    """Return the same, each column as quantile bins, one-hot; bins without a row left out."""
    plain = forex(people, seed)
    return _case("forex_binned", _binned(plain.active, bins), plain.labels, _binned(plain.passive, bins))


def _binned(frame: pd.DataFrame, bins: int) -> pd.DataFrame:
    binner = Binner(bins=bins).fit(frame)
    words = {
        column.name: np.array(column.labels(), dtype=object)[codes]
        for column, codes in zip(binner.bins_.columns, binner.transform(frame).T, strict=True)
    }
    return pd.DataFrame(words, index=frame.index)


def _case(name: str, active: pd.DataFrame, labels: npt.ArrayLike, passive: pd.DataFrame) -> Case:
    tables = [_numbers(active), _numbers(passive)]
    assert len(tables[0]) == len(tables[1]) and not any(table.isna().any(axis=None) for table in tables)
    return Case(name, tables[0], np.asarray(labels, np.float64), tables[1])


def _numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.get_dummies(frame, dtype=np.float64).astype(np.float64)


def _standard_errors(table: Floats, curvature: Floats, C: float) -> Floats:
    design = np.column_stack([table, np.ones(len(table))])
    hessian = design.T @ (curvature[:, None] * design)
    hessian[np.diag_indices(len(hessian) - 1)] += 1 / C
    return np.sqrt(np.diag(np.linalg.inv(hessian)))


READ: dict[str, Callable[[Path], Case]] = {
    "breast": _breast,
    "default_credit": _default_credit,
    "default_credit_raw": _default_credit_raw,
    "german_credit": _german_credit,
    "bank_marketing": _bank_marketing,
}
MADE: dict[str, Callable[[], Case]] = {"forex": forex, "forex_binned": forex_binned}
CASES = (*READ, *MADE)

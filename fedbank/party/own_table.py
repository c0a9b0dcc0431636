"""From a party file to this party's table: the one place that maps `[table]` to `read_table`."""

from __future__ import annotations

from fedbank.data.tables import Table, read_table
from fedbank.party.config import PartyConfig

__all__ = ["read_own_table"]


def read_own_table(
    config: PartyConfig,
    id_kind: str,
    *,
    source: str | None = None,
    features: tuple[str, ...] | None = None,
    beside: bool = True,
) -> Table:
    """Read this party's table.

    Parameters
    ----------
    config : the party file
    id_kind : how ids are normalised, from the job
    source : another source than the party file's
    features : a model's columns; without it all columns count but the ignored ones
    beside : whether the label, group and time columns that the file names are read; they are features in no case
    """
    about = config.table
    named = {"label": about.label, "group": about.group, "time": about.time}
    used = named if beside else dict.fromkeys(named)
    unused = [column for name, column in named.items() if column and not used[name]]
    return read_table(
        source or about.source,
        id_column=about.id,
        id_kind=id_kind,
        label=used["label"],
        group=used["group"],
        time=used["time"],
        features=about.features if features is None else features,
        ignore=[*about.ignore, *unused] if features is None else [],
        duplicates=about.duplicates,
        table=about.table,
        side=config.party,
    )

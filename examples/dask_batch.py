"""Sanitize a table of pictures on Dask: `python examples/dask_batch.py IN.parquet OUT`.

The table has a binary column `bytes` and a column `path`. The guard is built once in each worker process and shared by
its threads; `GuardBatch` itself pickles without it.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import pandas as pd

from ondevice_guard.batch import GuardBatch


@lru_cache(maxsize=1)
def guard() -> GuardBatch:
    """The process's one guard."""
    return GuardBatch("balanced")


def sanitize(frame: pd.DataFrame) -> pd.DataFrame:
    """Judge one partition."""
    return pd.DataFrame(guard()({"bytes": frame["bytes"], "path": frame["path"]}))


def main(source: str, target: str) -> None:
    """Read, judge, keep what is safe, write."""
    import dask.dataframe as dd

    table = dd.read_parquet(source, columns=["bytes", "path"])
    meta = pd.DataFrame({"bytes": [b""], "path": [""], "decision": [""], "verdict": [""], "sha256": [""]}).iloc[:0]
    judged = table.map_partitions(sanitize, meta=meta)
    judged[judged["decision"].isin(["ALLOW", "SANITIZED"])].to_parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])

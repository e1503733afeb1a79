"""Sanitize a table of pictures on Spark: `spark-submit examples/spark_batch.py IN.parquet OUT.parquet`.

The table has a binary column `bytes` and a column `path`. `mapInPandas` hands each worker an iterator of frames, so one
guard is built for each task and its models are loaded once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pandas as pd

from ondevice_guard.batch import GuardBatch


def sanitize(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """Judge the frames of one task."""
    job = GuardBatch("balanced")
    for frame in frames:
        yield pd.DataFrame(job({"bytes": frame["bytes"], "path": frame["path"]}))


def main(source: str, target: str) -> None:
    """Read, judge, keep what is safe, write."""
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName("ondevice-guard").getOrCreate()
    table = spark.read.parquet(source).select("bytes", "path")
    schema = "bytes binary, path string, decision string, verdict string, sha256 string"
    judged = table.mapInPandas(sanitize, schema)
    judged.where("decision in ('ALLOW', 'SANITIZED')").write.parquet(target)


if __name__ == "__main__":
    main(*sys.argv[1:])

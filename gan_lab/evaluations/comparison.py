"""Scores of several runs side by side, if they may stand there."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.directory import RunDirectory
from gan_lab.evaluations import records
from gan_lab.metrics.protocol import differences
from gan_lab.tracking.console import STDOUT


def compare(cfg: DictConfig) -> None:
    """The newest scores of each run, by protocol.

    Raises:
        ValueError: fewer than two runs, none with scores, or no protocol in common under which all were measured alike.
    """
    runs = [RunDirectory.find(path) for path in cfg.compare]
    if len(runs) < 2:
        raise ValueError("compare=[a,b]: give two or more run directories")
    newest = {str(run.path): _newest(run) for run in runs}
    shared = [name for name in next(iter(newest.values())) if all(name in results for results in newest.values())]
    reasons = []
    for protocol in shared:
        taken = [results[protocol]["protocol"] for results in newest.values()]
        if found := differences(taken):
            reasons += [f"{protocol}: {key} is {' and '.join(map(str, values))}" for key, values in found.items()]
            for results in newest.values():
                del results[protocol]
    if not any(newest.values()) or not shared:
        listed = "; ".join(reasons) or "they were measured under different protocols: " + " and ".join(
            f"{path}: {', '.join(results) or 'none'}" for path, results in newest.items()
        )
        raise ValueError(f"compare: these scores can't be compared ({listed}); gan_lab.evaluate measures them anew, alike")
    records.show({path: {"results": {n: results[n] for n in shared if n in results}} for path, results in newest.items()})
    for reason in reasons:
        STDOUT.print(f"left out: {reason}")


def _newest(run: RunDirectory) -> dict[str, Any]:
    """Results by protocol: the training's last, or what an evaluation of the last checkpoint has found since."""
    final = run.read_summary().get("final", {})
    names = [name for name in final if name not in ("images", "protocols")]
    results: dict[str, Any] = {
        protocol: {"protocol": taken, "scores": {n: final[n] for n in names}, "details": {}}
        for protocol, taken in list(final.get("protocols", {}).items())[:1]
    }
    for entry in records.read(run.scores):
        if entry["checkpoint"] == "last":
            results |= entry["results"]
    return results

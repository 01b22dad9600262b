"""Scores of several runs side by side, if they may stand there."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.evaluation import records
from gan_lab.metrics.protocol import differences
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.terminal import STDOUT


def compare(cfg: DictConfig) -> None:
    """The newest scores of each run, by protocol.

    Raises:
        ValueError: fewer than two runs, none with scores, or no protocol in common under which all were measured alike.
    """
    runs = [RunDirectory.find(path) for path in ([cfg.compare] if isinstance(cfg.compare, str) else cfg.compare)]
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
    records.print_scores(
        {path: {"results": {n: results[n] for n in shared if n in results}} for path, results in newest.items()}
    )
    for reason in reasons:
        STDOUT.print(f"left out: {reason}")


def _newest(run: RunDirectory) -> dict[str, Any]:
    """Results by protocol: of the training's end, and what evaluations of that same state have found since."""
    final = run.read_summary().get("final", {})
    results: dict[str, Any] = {}
    for number, (protocol, taken) in enumerate(final.get("protocols", {}).items()):
        prefix = f"{protocol}/" if number else ""
        own = {
            n.removeprefix(prefix): v for n, v in final.items() if n.startswith(prefix) and "/" not in n.removeprefix(prefix)
        }
        scores = {name: value for name, value in own.items() if name not in ("images", "protocols")}
        results[protocol] = {"protocol": taken, "scores": scores, "details": {}}
    for entry in run.evaluations():
        if entry.get("checkpoint") == "last" and entry["images"] == final.get("images", entry["images"]):
            results |= entry["results"]
    return results

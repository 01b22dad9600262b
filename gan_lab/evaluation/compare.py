"""Compares the scores of several runs that were measured under the same protocol."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig

from gan_lab.evaluation import records
from gan_lab.metrics.protocol import differences
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.terminal import STDOUT


def compare(cfg: DictConfig) -> None:
    """Print the latest scores of each run for every protocol that all runs have in common.

    Protocols of the same name with different settings are left out, with the differences printed.

    Raises:
        ValueError: fewer than two runs are given, or no protocol is the same in all.
    """
    runs = [RunDirectory.find(path) for path in ([cfg.compare] if isinstance(cfg.compare, str) else cfg.compare)]
    if len(runs) < 2:
        raise ValueError("compare=[a,b]: give two or more run directories")
    latest = {str(run.path): _latest_results(run) for run in runs}
    shared = [name for name in next(iter(latest.values())) if all(name in results for results in latest.values())]
    comparable, reasons = [], []
    for protocol in shared:
        if found := differences([results[protocol]["protocol"] for results in latest.values()]):
            reasons += [f"{protocol}: {key} is {' and '.join(map(str, values))}" for key, values in found.items()]
        else:
            comparable.append(protocol)
    if not comparable:
        explanation = "; ".join(reasons) or "they were measured under different protocols: " + " and ".join(
            f"{path}: {', '.join(results) or 'none'}" for path, results in latest.items()
        )
        raise ValueError(
            f"compare: the scores of these runs are not comparable ({explanation}); measure them with the same protocol: "
            "gan_lab.evaluate run=... protocol=..."
        )
    records.print_scores({path: {"results": {n: results[n] for n in comparable}} for path, results in latest.items()})
    for reason in reasons:
        STDOUT.print(f"left out: {reason}")


def _latest_results(run: RunDirectory) -> dict[str, Any]:
    """Results of the last checkpoint by protocol: those from the end of training, replaced by later evaluations."""
    final = run.read_summary().get("final", {})
    protocols = final.get("protocols", {})
    scores: dict[str, dict[str, float]] = {protocol: {} for protocol in protocols}
    for name, value in final.items():
        if name in ("images", "protocols") or not protocols:
            continue
        first, *others = protocols
        # scores of all protocols but the first are named <protocol>/<score>, see flatten_scores
        owner = next((protocol for protocol in others if name.startswith(f"{protocol}/")), first)
        scores[owner][name if owner == first else name.removeprefix(f"{owner}/")] = value
    results: dict[str, Any] = {
        protocol: {"protocol": record, "scores": scores[protocol], "details": {}} for protocol, record in protocols.items()
    }
    for entry in run.evaluations():
        if entry.get("checkpoint") == "last" and entry["images"] == final.get("images", entry["images"]):
            results |= entry["results"]
    return results

"""The model card of an exported generator, filled in from its run."""

from __future__ import annotations

from html import escape
from typing import Any

from gan_lab.models.upscaler import Upscaler
from gan_lab.reporting.run_page import final_scores
from gan_lab.runs.run import Run
from gan_lab.utils.formatting import printable
from gan_lab.version import __version__

USE = """```python
import gan_lab

run = gan_lab.Run.open("path/to/this/folder")
{call}
```"""


def model_card(run: Run, picture: str | None) -> str:
    """The text of ``README.md``, with the metadata that the Hub reads.

    Args:
        run: the run.
        picture: path of the sample grid beside it, or None.
    """
    cfg, upscales = run.config, isinstance(run.generator, Upscaler)
    kind = "image-to-image" if upscales else "unconditional-image-generation"
    title = _as_text(f"{run.config.choices.get('model') or 'generator'} on {cfg.dataset.name}")
    call = (
        "run.tiled_upscaler().upscale(image)  # a Pillow image"
        if upscales
        else "images = run.sample(16, seed=0)  # uint8 [16, C, H, W]"
    )
    front = ["---", f"pipeline_tag: {kind}", "tags: [gan, gan_lab]", "---"]
    facts = [f"- {name}: {value}" for name, value in _facts(run).items()]
    parts = ["\n".join(front), f"# {title}"]
    parts += [] if picture is None else [f"![samples]({picture})"]
    parts += ["\n".join(facts), _scores(run), "## Use", USE.format(call=call)]
    parts += ["License: not stated. Before you publish this model, state one here, and check that of the training data."]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(run: Run) -> dict[str, str]:
    cfg, summary = run.config, run.summary
    recipe = {
        key: value for key, value in cfg.choices.items() if key in ("loss", "penalty", "optimizer", "conditioning", "augment")
    }
    named = ", ".join(f"{key} {_choice(value)}" for key, value in recipe.items() if value not in (None, "none"))
    facts = {
        "data": f"{cfg.dataset.name}, {cfg.dataset.channels} channel{'s' * (cfg.dataset.channels > 1)}"
        + ("" if isinstance(run.generator, Upscaler) else f", {cfg.dataset.size} x {cfg.dataset.size} pixels"),
        "training": f"{run.images_seen:,} images seen, {named}",
        "status": str(summary.get("status", "unknown")),
        "parameters": f"{sum(value.numel() for value in run.generator.parameters()):,}",
        "trained with": f"gan_lab {cfg.version}; exported with {__version__}",
    }
    if run.labels.names:
        facts["attributes" if run.labels.multi_label else "classes"] = ", ".join(run.labels.names)
    return {name: _as_text(value) for name, value in facts.items()}


def _as_text(value: Any) -> str:
    """A value of the run in one line that is no HTML, which a page of the Hub may show."""
    return escape(printable(str(value)), quote=False)


def _choice(value: Any) -> str:
    return value if isinstance(value, str) else "+".join(map(str, value))


def _scores(run: Run) -> str:
    """The scores at the end of the training, and the protocols they were measured by."""
    final = run.summary.get("final", {})
    if not (scores := final_scores(run.summary)):
        return "No score was measured during the training."
    rows = ["| score | value |", "|---|---|", *(f"| {_as_text(score['name'])} | {score['final']} |" for score in scores)]
    protocols = [
        _as_text(f"- protocol {name}: {'; '.join(f'{key} {value}' for key, value in record.items())}")
        for name, record in final.get("protocols", {}).items()
    ]
    return "\n".join([f"## Scores after {final.get('images', 0):,} images", "", *rows, "", *protocols])

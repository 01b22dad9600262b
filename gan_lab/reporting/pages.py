"""Renders pages: HTML files that need nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = files("gan_lab.reporting") / "templates"


def render_page(template: str, **values: Any) -> str:
    """An HTML page from a file of ``templates/`` and the values of its variables, which are escaped unless they are Markup."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("gan_lab.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",  # the only script that a browser runs, whatever else a page should contain
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
    }
    return environment


def data_uri(path: Path) -> str:
    """An image file as a data URI; an empty string if there is no file."""
    if not path.is_file():
        return ""
    kind = path.suffix.removeprefix(".")
    return f"data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"

"""A document as one HTML file: nothing is fetched, and all text is escaped."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from .document import Document, plain
from .drawing import VARIABLES, without_glyphs
from .text import visible

_FOLDER = Path(__file__).parent


def to_html(document: Document) -> str:
    """Write the page."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known: set[str] = set()
    environment.filters["picture"] = lambda svg, description: _picture(without_glyphs(svg, known), description)
    script = (_FOLDER / "report.js").read_text(encoding="utf-8").strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        document=plain(document, visible),
        css=Markup((_FOLDER / "report.css").read_text(encoding="utf-8")),  # ours, not text from outside
        script=Markup(script),
        script_hash=digest,
    )


def _picture(svg: str, description: str) -> Markup:
    """Our own SVG, in colours that follow light and dark mode."""
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    head, _, rest = svg.partition(">")
    label = Markup.escape(description)
    return Markup(head) + Markup(' role="img" aria-label="') + label + Markup('">') + Markup(rest)

"""mkdocs hook: render equations to MathML while building, so pages load no script."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

_MATH = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<kind>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)


def on_page_content(page_html: str, **_: object) -> str:
    """Replace each equation that ``pymdownx.arithmatex`` marked by MathML.

    Parameters
    ----------
    page_html : str
        The page's body.

    Returns
    -------
    str
        The body with ``<math>`` elements.
    """

    def render(match: re.Match[str]) -> str:
        display = "block" if match["kind"] == "[" else "inline"
        return convert(html.unescape(match["tex"]).strip(), display=display)

    return _MATH.sub(render, page_html)

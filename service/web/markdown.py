"""Render a model card, which is Markdown from the configured bundle, without trusting it."""

import re
from itertools import pairwise
from typing import Final

from markdown_it import MarkdownIt
from markupsafe import Markup

_LINK: Final = re.compile(r"(https://|#)")


def rendered(text: str) -> Markup:
    """Return the HTML of a text.

    HTML in it is shown as text, images are left out, and only https addresses and anchors are
    links. Wide tables scroll in a frame of their own.
    """
    reader = _Reader("commonmark", {"html": False}).enable("table").disable("image")
    tokens = reader.parse(text)
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            token.attrSet("id", _anchor(inside.content))
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"  # the page itself has the first
    html = reader.renderer.render(tokens, reader.options, {})
    frame = '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>'
    html = html.replace("<table>", frame).replace("</table>", "</table></div>")
    html = html.replace("<th></th>", "<td></td>")  # a blank corner heads nothing
    return Markup(html.replace("<pre>", '<pre tabindex="0">'))  # noqa: S704


def _anchor(heading: str) -> str:
    """Return the anchor that Markdown's readers give a heading."""
    return re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))


class _Reader(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 -- the name of markdown-it
        return _LINK.match(url) is not None

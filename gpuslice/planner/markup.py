"""HTML of a plan's page in small pieces. Whatever comes from the input passes `text`, which escapes it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from gpuslice.planner.amounts import clean, shorten

LONGEST = 400
"""So many characters of one value from the input are shown."""

BYTES = 270_000
"""So long may the rows of one table be, so that a page of six tables stays below 2 MB whatever its names are."""

_NAMESPACE = re.compile(r"\{([^}]*)\}")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")


class Html(str):
    """Text that is HTML already. Everything else is escaped before it reaches a page."""

    __slots__ = ()


@dataclass(frozen=True)
class Table:
    """A table: `rows` beyond `most` or `BYTES` are left out, with a note; above `fold` rows it starts folded."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: frozenset[int] = frozenset()
    most: int = 500
    fold: int = 25


def text(value: Any) -> Html:
    """A value as HTML: itself if it is `Html`, else cleaned, cut to `LONGEST` characters and escaped."""
    return value if isinstance(value, Html) else Html(html.escape(shorten(value, LONGEST)))


def tag(name: str, *content: Any, **attributes: str) -> Html:
    """An element; a trailing underscore of an attribute's name is dropped, others become hyphens."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(clean(value))}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{said}>{''.join(map(text, content))}</{name}>")


def listed(items: Iterable[Any]) -> Html:
    return tag("ul", *[tag("li", item) for item in items])


def section(title: str, name: str, *content: Any) -> Html:
    """A part of the page under a heading, which also names it to a screen reader."""
    return tag("section", tag("h2", title, id=f"{name}-head"), *content, id=name, aria_labelledby=f"{name}-head")


def table(data: Table) -> Html:
    """The table, in a box that scrolls on a narrow screen."""
    if not data.rows:
        return tag("p", "None.")
    heads = [tag("th", head, scope="col", **_aligned(data, place)) for place, head in enumerate(data.heads)]
    body = _rows(data)
    whole = tag(
        "table", tag("caption", data.caption), tag("thead", tag("tr", *heads)), tag("tbody", Html("\n".join(body)))
    )
    box = tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=data.caption)
    left = len(data.rows) - len(body)
    note = (
        f"The first {len(body):,} of {len(data.rows):,} rows; {left:,} are left out here and stand in the JSON answer."
    )
    return _folded(data, Html(box + tag("p", note, class_="note")) if left > 0 else box)


def _rows(data: Table) -> list[Html]:
    body, size = [], 0
    for row in data.rows[: data.most]:
        body.append(_row(data, row))
        size += len(body[-1].encode())
        if size > BYTES:
            break
    return body


def _row(data: Table, row: Sequence[Any]) -> Html:
    first, *rest = row
    cells = [tag("td", cell, **_aligned(data, place)) for place, cell in enumerate(rest, 1)]
    return tag("tr", tag("th", first, scope="row"), *cells)


def _aligned(data: Table, place: int) -> dict[str, str]:
    return {"class_": "number"} if place in data.numbers else {}


def _folded(data: Table, content: Html) -> Html:
    if len(data.rows) <= data.fold:
        return content
    return tag("details", tag("summary", f"{data.caption}: {len(data.rows):,} rows"), content)


def inline_svg(document: str, name: str, title: str, description: str) -> Html:
    """An SVG document of matplotlib as an element of a page: named for screen readers, with ids of its own.

    Raises `xml.etree.ElementTree.ParseError` for what is not XML.
    """
    root = ElementTree.fromstring(document)
    for dropped in [e for e in root if e.tag.endswith(("}metadata", "}title"))]:
        root.remove(dropped)
    for parent in list(root.iter()):
        for style in [e for e in parent if e.tag.endswith("}style")]:
            # It would rule the whole page; the page's own style says the same of pictures.
            parent.remove(style)
    used = set(_REFERENCE.findall(document)) | set(re.findall(r'xlink:href="#([^"]*)"', document))
    for element in root.iter():
        _plain(element, name, used)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": f"{name}-title {name}-text"}
    for place, (kind, said) in enumerate((("title", title), ("desc", description))):
        label = ElementTree.Element(kind, {"id": f"{name}-{'title' if kind == 'title' else 'text'}"})
        label.text = clean(said)
        root.insert(place, label)
    return Html(ElementTree.tostring(root, encoding="unicode"))


def _plain(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Names without namespaces, as HTML wants them, and only ids that something refers to, told apart by `name`."""
    element.tag = _NAMESPACE.sub("", element.tag)
    for key, value in list(element.attrib.items()):
        del element.attrib[key]
        key = _NAMESPACE.sub("", key)
        if key == "id":
            if value in used:
                element.set(key, f"{name}-{value}")
        elif key == "href":
            element.set(key, f"#{name}-{value[1:]}")
        else:
            element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
    # The line breaks of the document are nothing to look at, except in text.
    element.tail = None if element.tag != "tspan" else element.tail
    if element.tag not in ("text", "tspan"):
        element.text = None

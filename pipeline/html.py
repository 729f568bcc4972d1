"""From a web page to the text, title and date of the article in it."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from ..models.errors import InputError

logger = logging.getLogger(__name__)

_DOCUMENT_START = re.compile(
    r"\s*(?:<\?xml[^<>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b[^<>]*>", re.IGNORECASE
)
_BLOCK_END = re.compile(
    r"</(?:p|div|article|section|main|body|html|ul|ol|table|h[1-6])\s*>", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class HtmlArticle:
    """The article of a web page; the date in ISO form, where the page names one."""

    text: str
    title: str | None = None
    date: str | None = None


def looks_like_html(text: str) -> bool:
    """Whether the text is a web page or a piece of one, rather than prose that names a tag."""
    if _DOCUMENT_START.match(text):
        return True
    return text.lstrip()[:1] == "<" and bool(_BLOCK_END.search(text))


def extract_html(html: str) -> HtmlArticle:
    """Take the article out of a web page, without its menus, links and comments.

    Paragraphs are parted by a blank line. Where no article is recognized, the visible text of the
    whole page is taken. No network is used. Raises InputError when the page has no text.
    """
    import trafilatura

    # Parsers refuse NUL and lone surrogates, and an encoding declared inside a str.
    html = re.sub("[\x00\ud800-\udfff]", "", html)
    html = re.sub(r"^\s*<\?xml[^<>]*>", "", html)
    article: Any = None
    if html.strip():
        article = trafilatura.bare_extraction(
            html,
            include_comments=False,
            with_metadata=True,
            # The extensive search guesses from any number in the page, copyright years included.
            date_extraction_params={"original_date": True, "extensive_search": False},
        )
    text, title, date = "", None, None
    if article is not None:
        text, title, date = article.text or "", article.title, article.date
    if not text.strip():
        logger.info("no article recognized in the page: taking all its text")
        text = _visible_text(html)
    if not text.strip():
        raise InputError(
            "The web page holds no text. It may build its text by script: save the page from a "
            "browser, or give the article as plain text."
        )
    paragraphs = (line.strip() for line in text.split("\n"))
    return HtmlArticle("\n\n".join(filter(None, paragraphs)), title or None, date or None)


_BLOCK_TAGS = "p div article section main li tr h1 h2 h3 h4 h5 h6 br blockquote"
_HIDDEN_TAGS = ("script", "style", "noscript", "template", "head")


def _visible_text(html: str) -> str:
    import lxml.etree
    import lxml.html

    etree: Any = lxml.etree  # a C module without annotations

    try:
        root = lxml.html.fromstring(html)
    except (etree.ParserError, etree.XMLSyntaxError, ValueError):
        return ""
    etree.strip_elements(root, *_HIDDEN_TAGS, etree.Comment, with_tail=False)
    for element in root.iter(*_BLOCK_TAGS.split()):
        element.tail = "\n" + (element.tail or "")
    return str(root.text_content())

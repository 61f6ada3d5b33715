"""Statements as plain text: one kind of line end, and no HTML where a page was copied as it is."""

import html
import re

_PAGE = re.compile(r"</(?:pre|p|div|section|strong|h[1-6]|code|li|td)>", re.IGNORECASE)
_BLOCK = re.compile(
    r"</?(?:pre|p|div|section|h[1-6]|ul|ol|li|br|hr|blockquote)(?:\s[^<>\n]{0,200})?/?>", re.IGNORECASE
)
_INLINE = re.compile(
    r"</?(?:strong|b|em|i|u|code|span|var|font|a|small|tt|kbd|samp|img|sub)(?:\s[^<>\n]{0,200})?/?>",
    re.IGNORECASE,
)
_SUPERSCRIPT = re.compile(r"<sup>([^<>\n]{1,20})</sup>", re.IGNORECASE)


def plain(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _PAGE.search(text) is None:
        return text
    text = _SUPERSCRIPT.sub(r"^\1", text)
    return html.unescape(_INLINE.sub("", _BLOCK.sub("\n", text))).replace("\xa0", " ")

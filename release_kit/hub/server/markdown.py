"""Cards as safe HTML: Markdown is rendered, HTML inside it is shown as text, links stay inside the repository.

The only import point of markdown-it.
"""

import html
import re
from functools import lru_cache
from urllib.parse import quote

MAX_MARKDOWN_BYTES = 1 << 20


def render_markdown(text: str, *, file_base: str, page_base: str) -> str:
    """Return HTML that runs no script and loads nothing from elsewhere.

    Args:
        text: Markdown, without front matter.
        file_base: address prefix of raw files, for relative images.
        page_base: address prefix of file pages, for relative links.
    """
    parser = _parser()
    tokens = parser.parse(text[:MAX_MARKDOWN_BYTES])
    for token in tokens:
        for inner in token.children or ():
            if inner.type == "image":
                inner.attrSet("src", _inside(inner.attrGet("src"), file_base))
            elif inner.type == "link_open":
                inner.attrSet("href", _inside(inner.attrGet("href"), page_base))
                inner.attrSet("rel", "nofollow noopener noreferrer")
    return parser.renderer.render(tokens, parser.options, {})


def _inside(address: str | float | None, base: str) -> str:
    text = str(address or "")
    if not text or text.startswith(("#", "/")) or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", text):
        return text
    return base + quote(text.removeprefix("./"), safe="/%#?=&")


@lru_cache(maxsize=1)
def _parser():
    from markdown_it import MarkdownIt

    # With `html` the parser recognises raw HTML as such; the two rules below then decide what becomes of it.
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    parser.add_render_rule("html_block", _raw_html)
    parser.add_render_rule("html_inline", _raw_html)
    return parser


def _raw_html(self, tokens, index, options, env) -> str:
    """Comments vanish, everything else is shown as the text that it is."""
    return html.escape(re.sub(r"<!--.*?-->", "", tokens[index].content, flags=re.DOTALL))

"""Pages from the templates in ``pages/``, everything escaped by default; what is shown is decided in ``browse``."""

from functools import lru_cache


@lru_cache(maxsize=1)
def _environment():
    import jinja2

    loader = jinja2.PackageLoader("release_kit.hub.server", "pages")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)


def render(name: str, **values: object) -> str:
    """Return the page ``name``; every value is escaped except ``html``, which ``markdown`` made safe."""
    return _environment().get_template(f"{name}.html").render({"search": ""} | values)

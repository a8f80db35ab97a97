"""The page about ``encoding.yaml`` says what the grammar says, key by key, and its example is read."""

import re
from collections.abc import Iterator
from pathlib import Path

from release_kit.core.grammar.kinds import Flag, Free, Key, Kind, Many, Named, Number, Numbers, Record, Text, Texts
from release_kit.encoding.pipeline.choices import DIFFERENCES
from release_kit.encoding.pipeline.tables import COLUMNS
from release_kit.encoding.spec.grammar import ANALYSIS
from release_kit.encoding.spec.read import parse_analysis

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "formats" / "encoding.md").read_text(encoding="utf-8")


def sections(record: Record, prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield the heading and the rows of the table of every record."""
    yield prefix.removesuffix("."), [row(f"{prefix}{name}", key) for name, key in record.keys.items()]
    for name, key in record.keys.items():
        inner = {Record: lambda k: k, Many: lambda k: k.record, Named: lambda k: k.value}.get(type(key.kind))
        if inner is not None:
            yield from sections(inner(key.kind), f"{prefix}{name}.")


def row(name: str, key: Key) -> str:
    if key.required:
        default = "**required**"
    elif key.default in (None, (), {}):
        default = {(): "none"}.get(key.default, "") if not isinstance(key.default, dict) else ""
    else:
        shown = list(key.default) if isinstance(key.default, tuple) else key.default
        text = {True: "true", False: "false"}.get(shown) if isinstance(shown, bool) else str(shown)
        default = f"`{text.removesuffix('.0') if isinstance(shown, float) else text}`"
    return f"| `{name}` | {kind(key.kind)} | {default} | {key.doc} |"


def kind(of: Kind) -> str:
    match of:
        case Text(choices=choices) if choices:
            return " / ".join(f"`{choice}`" for choice in choices)
        case Number(above=above, least=least, whole=whole):
            bound = f" > {above:g}" if above is not None else f" ≥ {least:g}" if least is not None else ""
            return f"{'whole number' if whole else 'number'}{bound}"
    names = {Text: "text", Flag: "true or false", Texts: "list of texts", Numbers: "list of numbers", Free: "mapping",
             Record: "mapping", Many: "list", Named: "mapping by name"}  # fmt: skip
    return names[type(of)]


def test_every_key_stands_on_the_page_as_the_grammar_has_it():
    expected = [line for _, rows in sections(ANALYSIS) for line in rows]
    there = [line for line in PAGE.splitlines() if re.match(r"\| `[a-z_.]+` \| .* \| .* \| .* \|$", line)]
    assert there == expected, "write the tables of docs/formats/encoding.md again"


def test_the_example_is_an_analysis():
    text = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert text is not None
    analysis = parse_analysis(text[1], file=Path("encoding.yaml"))
    assert set(analysis.bands) and analysis.compare and len(analysis.features) >= 3


def test_every_table_and_column_stands_on_the_page():
    for name, columns in COLUMNS.items():
        line = next(line for line in PAGE.splitlines() if line.startswith(f"| `tables/{name}.parquet` |"))
        assert ", ".join(columns) in line


def test_the_page_about_modes_lists_every_difference():
    page = (DOCS / "encoding-modes.md").read_text(encoding="utf-8")
    rows = [f"| {each.key} | {each.paper} | {each.corrected} | {each.why} |" for each in DIFFERENCES]
    there = [line for line in page.splitlines() if line in rows]
    assert there == rows, "write the table of docs/encoding-modes.md again"

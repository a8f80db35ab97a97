"""Options that several commands of ``release-kit sft`` share."""

import re

import click

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def _checked(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Refuse a device that no worker could use, before a worker is started."""
    if not _DEVICE.fullmatch(value):
        raise click.BadParameter(f"{value!r} is not a device; use cpu, cuda, or cuda:1 and so on")
    return value


device_option = click.option(
    "--device", default="cpu", show_default=True, callback=_checked, help="Where models compute: cpu, cuda, cuda:1 …"
)

"""Learning rates are transformers' own; the log and its picture depend on nothing but the steps; costs are read."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch
from tiny_training import make_settings
from transformers import get_scheduler

from release_kit.core.errors import ArtifactError
from release_kit.sft.train.energy import Cost, Meter
from release_kit.sft.train.log import LogRow, log_bytes, mean_loss, read_log
from release_kit.sft.train.picture import draw_loss
from release_kit.sft.train.schedule import learning_rate

NAMES = {"constant": "constant_with_warmup", "linear": "linear", "cosine": "cosine"}


@pytest.mark.parametrize("schedule", NAMES)
@pytest.mark.parametrize(("n_steps", "warmup_ratio"), [(1, 0.0), (7, 0.0), (20, 0.1), (23, 0.3), (5, 1.0)])
def test_learning_rates_are_those_of_transformers(schedule: str, n_steps: int, warmup_ratio: float):
    settings = make_settings(schedule=schedule, warmup_ratio=warmup_ratio)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=settings.learning_rate)
    n_warmup = -int(-warmup_ratio * n_steps // 1)
    scheduler = get_scheduler(NAMES[schedule], optimizer, num_warmup_steps=n_warmup, num_training_steps=n_steps)
    for step in range(1, n_steps + 1):
        wanted = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, n_steps, settings) == pytest.approx(wanted, rel=1e-9, abs=1e-15)
        optimizer.step()
        scheduler.step()


def _rows(n: int) -> list[LogRow]:
    return [
        LogRow(step=i, epoch=i / 10, loss=3 / i**0.5 + (i % 3) / 10, learning_rate=1e-3 * (1 - i / (n + 1)),
               gradient_norm=1 / i, n_tokens=100 + i, n_trained=i)
        for i in range(1, n + 1)
    ]  # fmt: skip


def test_log_is_read_as_it_was_written(tmp_path: Path):
    rows = _rows(25)
    (tmp_path / "log.parquet").write_bytes(log_bytes(rows))
    assert read_log(tmp_path / "log.parquet") == rows
    assert log_bytes(rows) == log_bytes(list(rows))
    assert mean_loss(rows) == pytest.approx(sum(row.loss * row.n_trained for row in rows) / sum(range(26)))


def test_log_that_is_none_is_named(tmp_path: Path):
    (tmp_path / "log.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ArtifactError, match="is not a training log"):
        read_log(tmp_path / "log.parquet")
    with pytest.raises(ArtifactError, match="is not a training log"):
        read_log(tmp_path / "missing.parquet")


@pytest.mark.parametrize("n", [1, 2, 7, 5000])
def test_picture_is_svg_inside_its_frame_and_small(n: int):
    rows = _rows(n)
    svg = draw_loss(rows, {"epoch-1": max(1, n // 2), "final": n}, "Loss of <a> & b")
    assert svg == draw_loss(rows, {"final": n, "epoch-1": max(1, n // 2)}, "Loss of <a> & b")
    root = ET.fromstring(svg)
    assert root[0].text == "Loss of <a> & b"
    assert len(svg) < 40_000 and "nan" not in svg
    for path in root.iter("{http://www.w3.org/2000/svg}path"):
        for part in path.attrib["d"].replace("M", "L").split("L"):
            if " " in part and "H" not in part and "V" not in part and "h" not in part and "Z" not in part:
                x, y = map(float, part.split())
                assert 60 <= x <= 800 and 20 <= y <= 290


def _counter(folder: Path, microjoules: int) -> None:
    package = folder / "intel-rapl:0"
    package.mkdir(parents=True, exist_ok=True)
    (package / "energy_uj").write_text(f"{microjoules}\n")
    (package / "max_energy_range_uj").write_text("10000000\n")


def test_joules_are_the_difference_of_the_counter_also_when_it_starts_again(tmp_path: Path):
    _counter(tmp_path, 2_000_000)
    meter = Meter(rapl=tmp_path)
    _counter(tmp_path, 5_500_000)
    first = meter.read()
    assert (first.joules, first.energy_source) == (3.5, "rapl")
    later = Meter(before=first, rapl=tmp_path)
    _counter(tmp_path, 500_000)
    assert later.read().joules == pytest.approx(3.5 + 5.0)


def test_joules_are_unknown_without_a_counter_and_after_a_part_without_one(tmp_path: Path):
    cost = Meter(rapl=tmp_path / "none").read()
    assert cost.joules is None and cost.energy_source is None and cost.peak_memory_bytes > 0
    _counter(tmp_path, 1)
    assert Meter(before=cost, rapl=tmp_path).read().joules is None
    before = Cost(seconds=100.0, cpu_seconds=50.0, joules=None, energy_source=None, peak_memory_bytes=2**50)
    total = Meter(before=before, rapl=tmp_path).read()
    assert total.seconds >= 100 and total.cpu_seconds >= 50 and total.peak_memory_bytes == 2**50

"""What identifies is removed by name and by form; dates move by a secret that is the same in every call."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.bids.recipe.model import Privacy
from release_kit.bids.sidecars.privacy import (
    acquisition_time,
    builtin_scrub,
    date_shift_days,
    identifying_form,
    load_shift_key,
    scrub,
    shifted,
)
from release_kit.core.errors import RecordError, StudyError

KEY = bytes(range(32))


def test_every_key_of_the_list_has_its_reason():
    listed = builtin_scrub()
    assert {"DeviceSerialNumber", "StationName", "InstitutionAddress", "AcquisitionTime", "PatientName"} <= set(listed)
    assert all(len(reason) > 10 for reason in listed.values())


def test_keys_go_at_any_depth_and_in_any_case():
    values = {"a": {"stationName": 1, "b": [{"PatientID": 2, "c": 3}]}, "STUDYID": "x", "EchoTime": 0.03}
    assert scrub(values, Privacy()) == (
        {"a": {"b": [{"c": 3}]}, "EchoTime": 0.03},
        ("STUDYID", "a.b[0].PatientID", "a.stationName"),
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1.3.12.2.1107.5.2.32.35131.2014031012481958900586557.0.0.0", "a DICOM unique number"),
        ("2014-03-10T13:49:38.315000", "a date"),
        ("2014-03-10", "a date"),
        ("20140310", "a date"),
        ("20140310134938.3", "a date"),
        ("13:49:38.315", "a time of day"),
        ("1793-09-10T13:49:38", None),
        ("1.11.1", None),
        ("v1.0.20260724", None),
        ("syngo MR E11", None),
        ("66112", None),
    ],
)
def test_values_are_known_by_their_form(text: str, what: str | None):
    assert identifying_form(text) == what
    assert scrub({"SomeKey": text, "Many": ["x", text]}, Privacy())[1] == (("Many[1]", "SomeKey") if what else ())


def test_a_key_that_is_removed_and_kept_is_refused():
    with pytest.raises(StudyError, match="stationname"):
        scrub({}, Privacy(scrub=("StationName",), keep=("stationname",)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(["2014-03-10", "12:00:00"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["StationName", "EchoTime", "x", "UID"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["PatientID", "a", "b"]), JSON, max_size=3))
def test_scrubbing_twice_removes_nothing_more(values):
    once, removed = scrub(values, Privacy())
    assert scrub(once, Privacy()) == (once, ())
    assert removed or once == values


@given(st.datetimes(min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)), st.text(min_size=1, max_size=8))
def test_every_scan_moves_to_before_1925_and_its_time_of_day_stays(when: datetime, label: str):
    moved = shifted(when.isoformat(), date_shift_days(label, KEY))
    assert 1700 < int(moved[:4]) < 1925 and moved[10:] == when.isoformat()[10:]


@given(st.dates(min_value=date(1980, 1, 1), max_value=date(2100, 1, 1)), st.integers(0, 900))
def test_intervals_of_a_subject_stay(first, days):
    shift = date_shift_days("01", KEY)
    moved = [date.fromisoformat(shifted(day.isoformat(), shift)) for day in (first, first + timedelta(days=days))]
    assert (moved[1] - moved[0]).days == days


def test_the_shift_depends_on_subject_and_key_alone():
    assert date_shift_days("01", KEY) == 82_948
    assert len({date_shift_days(f"{n:02d}", KEY) for n in range(50)}) > 45
    assert date_shift_days("01", KEY) != date_shift_days("01", bytes(32))


@pytest.mark.parametrize("text", ["yesterday", "2014-13-40", "10.03.2014", "2300-01-01", ""])
def test_what_cannot_be_shifted_is_refused(text: str):
    with pytest.raises(StudyError):
        shifted(text, date_shift_days("01", KEY))


def test_a_time_zone_is_dropped_since_it_says_where():
    assert shifted("2014-03-10 13:49:38+09:00", 73_050).endswith("T13:49:38")


def test_acquisition_times_come_from_dcm2niix_or_not_at_all():
    assert acquisition_time({"AcquisitionDateTime": "2014-03-10T13:49:38.3"}) == "2014-03-10T13:49:38.3"
    assert acquisition_time({"AcquisitionTime": "13:49:38.3"}) is None


def test_the_key_is_made_once_for_everybody_and_only_its_owner_reads_it(tmp_path: Path):
    path = tmp_path / "private" / "shift.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_shift_key(path), range(16)))
    assert len(keys) == 1 and len(keys.pop()) == 32
    assert os.stat(path).st_mode & 0o777 == 0o600 and [p.name for p in path.parent.iterdir()] == ["shift.key"]


def test_a_key_inside_the_dataset_is_refused_and_not_made(tmp_path: Path):
    (tmp_path / "elsewhere").symlink_to(tmp_path / "dataset")
    for path in (tmp_path / "dataset/code/shift.key", tmp_path / "elsewhere/shift.key"):
        with pytest.raises(StudyError, match="inside the dataset"):
            load_shift_key(path, dataset=tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


@pytest.mark.parametrize("content", [b"", b"secret\n", b"ab" * 31 + b"\n", b"\xff" * 64])
def test_a_key_that_was_changed_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(RecordError):
        load_shift_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == content

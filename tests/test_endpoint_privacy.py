"""After two hundred requests about people, no file, metric or span of the endpoint names one."""

import asyncio
import base64
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.data import get_testdata_file

from tests.live_endpoint import KEY, Live

pytestmark = pytest.mark.slow

PEOPLE = [
    ("Zhang^Wei", "张伟强", "MRN-0049182", "11010519491231002X", "13812345678"),
    ("Quokka^Ann", "欧阳若兰", "MRN-7718235", "QK-77-18-235", "+86 139 8765 4321"),
]
ROUTES = ("ray_doctor_sun_requests_total", "ray_doctor_sun_tokens_total")


def picture_of(person: tuple[str, ...]) -> bytes:
    """A PNG whose text names somebody."""
    notes = PngInfo()
    for key, value in zip(("Name", "Chinese", "Record", "Id", "Phone"), person, strict=True):
        notes.add_itxt(key, value)
    stream = io.BytesIO()
    Image.new("L", (48, 48), 90).save(stream, "PNG", pnginfo=notes)
    return stream.getvalue()


def dicom_of(person: tuple[str, ...]) -> bytes:
    """A DICOM file of somebody."""
    data = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    data.PatientName, data.PatientID, data.OtherPatientIDs = person[0], person[2], person[3]
    data.PatientTelephoneNumbers = person[4]
    stream = io.BytesIO()
    data.save_as(stream)
    return stream.getvalue()


def requests() -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Bodies and headers, all with somebody in them; a third is refused."""
    for number in range(200):
        person = PEOPLE[number % 2]
        told = [picture_of(person), dicom_of(person), b"%PDF " + person[2].encode() * 9][number % 3]
        kind = ["image/png", "application/dicom", "image/png"][number % 3]
        url = f"data:{kind};base64,{base64.b64encode(told).decode()}"
        text = f"{number}: {', '.join(person)}?"
        content = [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": text},
        ]
        body = {
            "messages": [{"role": "user", "content": content, "name": person[0]}],
            "user": person[2],
            "max_tokens": 2,
            "stream": number % 2 == 0,
            "stop": [person[1]],
        }
        if number % 20 == 0:
            body["model"] = person[2]
        yield body, {"x-request-id": person[2], "user-agent": person[0], "referer": person[3]}


async def ask_all(live: Live) -> list[int]:
    """Send them, eight at a time; the statuses."""
    limits = httpx.Limits(max_connections=8)
    async with httpx.AsyncClient(limits=limits, timeout=120) as client:

        async def ask(body: dict[str, Any], headers: dict[str, str]) -> int:
            headers = {**headers, "Authorization": f"Bearer {KEY}"}
            url = f"{live.url}/chat/completions?patient={headers['x-request-id']}"
            return (await client.post(url, json=body, headers=headers)).status_code

        return await asyncio.gather(*(ask(*request) for request in requests()))


def temporary(since: float) -> Iterator[tuple[Path, bytes]]:
    """Files in the temporary folders, of this user, written since then; not the tests' own."""
    for folder in (Path("/tmp"), Path("/dev/shm"), Path("/var/tmp")):
        for where, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(("pytest-", "plasma"))]
            for name in names:
                file = Path(where) / name
                try:
                    told = file.lstat()
                    if file.is_file() and told.st_mtime >= since and told.st_size < 64 << 20:
                        yield file, file.read_bytes()
                except OSError:
                    continue


def test_two_hundred_requests_about_people_leave_no_word_of_them(live: Live) -> None:
    started = time.time()
    statuses = asyncio.run(ask_all(live))
    assert statuses.count(200) > 100
    assert statuses.count(400) + statuses.count(404) == 200 - statuses.count(200)
    deadline = time.monotonic() + 60  # Ray offers its metrics every few seconds
    while not all(name in live.metrics() for name in ROUTES):
        assert time.monotonic() < deadline
        time.sleep(1)
    words = {word.encode() for person in PEOPLE for word in person}
    words |= {base64.b64encode(dicom_of(person))[:80] for person in PEOPLE}
    looked = [*live.texts_written(), *temporary(started)]
    looked.append((Path("metrics"), live.metrics().encode()))
    for kind in ("audit-", "spans", "metrics"):  # they were among them
        assert any(kind in str(file) for file, _ in looked), kind
    for file, content in looked:
        for word in words:
            assert word not in content, file
            assert json.dumps(word.decode()).strip('"').encode() not in content, file

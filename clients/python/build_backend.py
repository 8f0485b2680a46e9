# Copyright 2026 The wsgi_party Authors
# SPDX-License-Identifier: Apache-2.0

"""Builds this package (PEP 517, PEP 660) with nothing but Python, so that
``pip install ./clients/python`` needs no network, the same from the same files, and
leaves nothing beside them.
"""

import ast
import base64
import gzip
import hashlib
import importlib.util
import io
import os
import re
import sys
import tarfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))  # else 1980, where zip begins


def _project():
    """Returns [project] of pyproject.toml, whose values are also Python's but for the =
    of a table, and which not every Python has a parser for.
    """
    text = (HERE / "pyproject.toml").read_text("utf-8").partition("\n[project]\n")[2]
    project = {}
    for line in text.partition("\n[")[0].splitlines():
        name, equals, value = line.partition(" = ")
        if equals:
            project[name] = ast.literal_eval(value.replace('" = "', '": "'))
    module = (HERE / "wsgi_party" / "__init__.py").read_text("utf-8")
    project["version"] = re.search(r'^__version__ = "(.+)"$', module, re.MULTILINE).group(1)
    return project


PROJECT = _project()
NAME = "%s-%s" % (PROJECT["name"].replace("-", "_"), PROJECT["version"])
DIST_INFO = NAME + ".dist-info"


def _license():
    """Returns the licence's text: of the sdist, or of the repository."""
    for folder in (HERE, HERE.parent.parent):
        if (folder / "LICENSE").is_file():
            return (folder / "LICENSE").read_bytes()
    return None


def _package():
    """Returns the package's files."""
    return {
        path.relative_to(HERE).as_posix(): path.read_bytes()
        for path in sorted((HERE / "wsgi_party").rglob("*"))
        if path.suffix == ".py" or path.name == "py.typed"
    }


def _metadata():
    lines = [
        "Metadata-Version: 2.4", "Name: " + PROJECT["name"], "Version: " + PROJECT["version"],
        "Summary: " + PROJECT["description"], "Keywords: " + ",".join(PROJECT["keywords"]),
        *["Author: " + author["name"] for author in PROJECT["authors"]],
        "License-Expression: " + PROJECT["license"],
        *(["License-File: LICENSE"] if _license() is not None else []),
        *["Classifier: " + classifier for classifier in PROJECT["classifiers"]],
        *["Project-URL: %s, %s" % url for url in PROJECT["urls"].items()],
        "Requires-Python: " + PROJECT["requires-python"],
        "Description-Content-Type: text/markdown", "",
        (HERE / PROJECT["readme"]).read_text("utf-8"),
    ]
    return "\n".join(lines).encode()


def _dist_info():
    files = {
        DIST_INFO + "/METADATA": _metadata(),
        DIST_INFO + "/WHEEL": b"Wheel-Version: 1.0\nGenerator: wsgi-party-caddy\n"
        b"Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if _license() is not None:
        files[DIST_INFO + "/licenses/LICENSE"] = _license()
    return files


def _wheel(directory, files):
    files = {**files, **_dist_info()}
    record = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
        record.append("%s,sha256=%s,%d\n" % (name, digest.decode(), len(content)))
    record.append(DIST_INFO + "/RECORD,,\n")
    files[DIST_INFO + "/RECORD"] = "".join(record).encode()
    name = NAME + "-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, time.gmtime(max(EPOCH, 315532800))[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, of whose kind the next line is
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, content)
    return name


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, _package())


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _wheel(wheel_directory, {"__editable__.wsgi_party_caddy.pth": os.fsencode(HERE) + b"\n"})


def build_sdist(sdist_directory, config_settings=None):
    own = ("pyproject.toml", "build_backend.py", PROJECT["readme"])
    files = {
        "PKG-INFO": _metadata(), **{name: (HERE / name).read_bytes() for name in own}, **_package(),
    }
    if _license() is not None:
        files["LICENSE"] = _license()
    tarball = io.BytesIO()
    with tarfile.open(fileobj=tarball, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo("%s/%s" % (NAME, name))
            entry.size, entry.mtime = len(content), EPOCH
            tar.addfile(entry, io.BytesIO(content))
    name = NAME + ".tar.gz"
    with open(os.path.join(sdist_directory, name), "wb") as file:
        with gzip.GzipFile("", "wb", fileobj=file, mtime=EPOCH) as compressed:
            compressed.write(tarball.getvalue())
    return name


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    for name, content in _dist_info().items():
        path = Path(metadata_directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return DIST_INFO


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def _leave_nothing():
    """Removes what Python kept of this module as it was imported."""
    kept = Path(importlib.util.cache_from_source(__file__))
    try:
        kept.unlink()
        kept.parent.rmdir()  # if there is nothing else in it
    except OSError:
        pass


if not sys.dont_write_bytecode:
    _leave_nothing()

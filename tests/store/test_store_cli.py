"""`hean db`, as it is called."""

import json

import pytest
from typer.testing import CliRunner

from hean_router.cli.db import app
from hean_router.domain.errors import CommandError, ConfigError


def hean(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words):
    done = hean(*words, "--json")
    return done.exit_code, json.loads(done.output)


def test_up_check_down(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told("check") == (
        1,
        {
            "ok": False,
            "version": "",
            "newest": "0001",
            "amiss": ["tables at version none, not 0001: hean db upgrade"],
            "journal_rows": None,
            "journal_hash": "",
            "damaged_row": None,
        },
    )
    assert not (tmp_path / "state").exists()  # looking leaves nothing behind
    assert told("upgrade") == (0, {"before": "", "version": "0001"})
    assert (tmp_path / "state" / "query.sqlite3").exists()
    assert told("check")[1]["ok"]
    assert told("downgrade", "base") == (0, {"before": "0001", "version": ""})


def test_where_the_store_is_may_come_from_the_configuration(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEAN_QUERY__URL", f"sqlite:///{tmp_path}/elsewhere.sqlite3")
    assert told("upgrade")[0] == 0
    assert (tmp_path / "elsewhere.sqlite3").exists()
    monkeypatch.setenv("HEAN_QUERY__URL", "off")
    assert isinstance(hean("upgrade").exception, CommandError)
    assert told("upgrade", "--state", tmp_path / "s")[0] == 0


def test_a_wrong_url_is_a_mistake_of_the_configuration_without_the_password(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEAN_QUERY__URL", "mysql://me:s3cret@host/db")
    done = hean("upgrade")
    assert isinstance(done.exception, ConfigError)
    assert "s3cret" not in str(done.exception) + done.output


@pytest.mark.parametrize("words", [("backup", "x"), ("rebuild",)])
def test_without_a_journal_it_says_so(tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert "no journal" in str(hean(*words).exception)


def test_up_and_down_on_postgres(postgres_url):
    url = postgres_url.render_as_string(hide_password=False)
    assert told("upgrade", "--url", url) == (0, {"before": "", "version": "0001"})
    assert told("check", "--url", url)[1]["amiss"] == []
    assert told("downgrade", "base", "--url", url)[1]["version"] == ""

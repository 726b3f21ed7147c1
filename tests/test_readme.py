"""What README shows works."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_python_example_prints_what_it_says(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split("\n")
    assert [line.split() for line in printed[:2]] == [["a", "0.90"], ["b", "0.10"]]
    assert printed[2] == "100.01" or float(printed[2]) == 100.01


def test_every_command_it_names_exists():
    from typer.main import get_command

    from hean_router.cli.main import app

    named = set(re.findall(r"`?hean ([a-z]+)\b", README.read_text()))
    assert named <= set(get_command(app).commands)

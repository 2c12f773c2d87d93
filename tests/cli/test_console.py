"""What the commands print."""

from __future__ import annotations

from pathlib import Path

from featalign.cli.console import conclude, err, out


def test_names_in_brackets_are_printed_as_they_are(capsys):
    conclude({}, images=1, folder=Path("answers[new]"))
    err.print("runs/[/old]")
    out.print(Path("a[bold]b"))
    said = capsys.readouterr()
    assert said.out == "1 of 1 images written to answers[new]\na[bold]b\n" and said.err == "runs/[/old]\n"

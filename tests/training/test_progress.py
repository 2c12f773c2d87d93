from __future__ import annotations

import io

from rich.console import Console

from featalign.training.progress import ProgressLine, training_status

ROW = {"loss": 0.5, "lr": 0.0123, "images_per_second": 12.34, "seconds_left": 3723.4, "peak_rss_mb": 900.2}


def test_line_says_loss_rate_speed_time_and_memory() -> None:
    assert training_status(ROW) == "loss 0.500  lr 0.01230  12.3 images/s  1:02:03 left  900 MB"
    assert training_status({k: v for k, v in ROW.items() if k != "peak_rss_mb"}).endswith("left")


def test_plain_lines_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    with ProgressLine(Console(file=file, width=40), total=20) as progress:
        for step in range(1, 21):
            progress.step(step)
            if step % 10 == 0:
                progress.row(step, ROW)
        progress.start_validation(2)
        progress.validated_image()
        progress.end_validation("mIoU [50]")
    assert file.getvalue().splitlines() == [
        f"step 10  {training_status(ROW)}",
        f"step 20  {training_status(ROW)}",
        "mIoU [50]",
    ]


def test_bar_on_a_terminal() -> None:
    file = io.StringIO()
    with ProgressLine(Console(file=file, width=120, force_terminal=True), total=20) as progress:
        progress.step(20)
        progress.row(20, ROW)
    assert "20/20" in file.getvalue()
    assert "12.3 images/s" in file.getvalue()

"""Tests of the progress display, with a clock that the test moves."""

import io

import pytest
from rich.console import Console

from netzoo.progress import Progress, track, waiting


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def show(progress, step):
    progress.update(step, epoch=step / 50, rate=1234.5, loss=0.5, data_wait=0.031)


def test_plain_lines_are_sparse_and_the_last_always_comes():
    """Protects log files: at most one line every ten seconds, and one at the end."""
    file, clock = io.StringIO(), Clock()
    with Progress(200, 0, "vit", "images", console=Console(file=file), clock=clock) as progress:
        for step in range(1, 201):
            clock.now += 0.12
            show(progress, step)
    lines = file.getvalue().splitlines()
    assert [line.split("step ")[1].split("/")[0] for line in lines] == ["84", "168", "200"]
    assert lines[0] == (
        "vit  step 84/200  epoch 1.7/4  loss 0.5000  1,234 images/s  data wait 3%  0:00:14 left"
    )
    assert "left" not in lines[-1]


def test_time_left_of_a_resumed_run_counts_its_own_steps():
    """Protects the estimate: 10 steps took 20 s, so 90 more take 180 s, not 20 s / 110 x 90."""
    file, clock = io.StringIO(), Clock()
    with Progress(200, 100, "vit", "images", console=Console(file=file), clock=clock) as progress:
        clock.now += 20
        show(progress, 110)
    assert file.getvalue().endswith("0:03:00 left\n")


def test_plain_text_has_no_control_characters(monkeypatch):
    """Protects log files where the environment forces colour."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    with Progress(2, 0, "vit", "images", console=Console(file=file)) as progress:
        progress.message("kernel [3, 3, 32, 64] [bold]")
        show(progress, 2)
    assert "kernel [3, 3, 32, 64] [bold]\n" in file.getvalue()
    assert "\x1b" not in file.getvalue()


def test_a_terminal_gets_a_bar_with_all_the_facts(monkeypatch):
    """Protects the text of the bar and the messages above it, including brackets."""
    monkeypatch.setenv("TERM", "xterm-256color")
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=120, _environ={})
    with Progress(200, 0, "vit", "images", console=console) as progress:
        progress.message("kernel [3, 3, 32, 64] [bold]")
        show(progress, 200)
    text = file.getvalue()
    assert "kernel [3, 3, 32, 64] [bold]" in text
    for fact in ("vit", "epoch 4.0/4", "loss 0.5000", "1,234 images/s", "data wait 3%", "━"):
        assert fact in text


def test_the_display_ends_with_an_error():
    """Protects the terminal of a run that crashed: the error passes and the bar is stopped."""
    console = Console(file=Terminal(), force_terminal=True, width=120, _environ={})
    progress = Progress(200, 0, "vit", "images", console=console)
    with pytest.raises(RuntimeError, match="boom"), progress:
        raise RuntimeError("boom")
    assert progress._bar.finished is False and not progress._bar.live.is_started


@pytest.mark.parametrize("terminal", [True, False])
def test_tracked_items_come_and_are_shown_on_terminals_alone(terminal):
    """Protects log files and the input of other programs from bars and empty lines."""
    file = Terminal() if terminal else io.StringIO()
    # This also holds if a variable such as FORCE_COLOR declares every file a terminal.
    console = Console(file=file, force_terminal=True, _environ={})
    assert list(track(range(3), "counting", console)) == [0, 1, 2]
    assert ("counting" in file.getvalue()) == terminal
    assert terminal or not file.getvalue()


def test_descriptions_are_shown_as_they_are():
    """Protects bars from names that look like markup or contain control characters."""
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=120, color_system=None, _environ={})
    name = "[bold]test[/bold] [red]\x1b]0;x\x07"
    assert list(track([0], name, console)) == [0]
    with Progress(2, 0, name, "images", console=console) as progress:
        show(progress, 2)
    assert file.getvalue().count("[bold]test[/bold] [red]\\x1b]0;x\\x07") >= 2
    assert "\x1b]0" not in file.getvalue()


def test_no_thread_draws_a_hidden_bar():
    """Protects batch jobs from a thread that draws nothing."""
    items = range(3)
    assert track(items, "counting", Console(file=io.StringIO())) is items


def test_waiting_says_what_to_expect_and_then_once_a_minute():
    """Protects users from thinking that a compilation of minutes hangs, and logs from noise."""
    file, clock = io.StringIO(), Clock()
    with waiting("compiling [x]", "minutes", console=Console(file=file), clock=clock) as still:
        for _ in range(130):
            clock.now += 1
            still()
    lines = file.getvalue().splitlines()
    assert lines[0] == "compiling [x]; minutes"
    assert lines[1:] == ["compiling [x]: 0:01:00 elapsed", "compiling [x]: 0:02:00 elapsed"]


def test_waiting_is_one_line_on_a_terminal():
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=80, color_system=None, _environ={})
    with waiting("compiling [x]", "minutes", console=console) as still:
        still()
    assert "compiling [x]; minutes" in file.getvalue()
    assert "elapsed" not in file.getvalue()

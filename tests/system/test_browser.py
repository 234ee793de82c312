"""Every chapter as a reader meets it: JupyterLab in Chromium, at a laptop's size."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from browser import FLAGS, INSTALL, Opened, chromium, jupyterlab, plain
from chapters import CHAPTERS, NOTEBOOKS, Chapter
from exercises import desk

pytestmark = [
    pytest.mark.stage,
    pytest.mark.skipif(not chromium(), reason=f"no Chromium: {INSTALL}"),
]

SIZE = {"width": 1280, "height": 800}
PRESS = None
KNOBS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "00_start_here": [
        ({"tokens in": 100_000}, "claude-haiku-5-5 $101.50"),
        ({"tokens in": 100_100}, "claude-haiku-5-5 $508.00"),
    ],
    "01_auth_and_policy": [
        ({"settle": False, "reserve": 1_000}, "admitted 180,000"),
        ({"settle": True}, "admitted 180,000"),
        ({"reserve": 4_000, "calls/s": 16, "processes": 8}, "6.5 times the limit"),
    ],
    "02_mcp": [
        ({"attempts": 3, "delay, s": 0.25}, "0.2 s try 2 1 s given up"),
        ({"attempts": 6}, "5 s try 6 10 s given up"),
        ({"attempts": 7}, "10 s try 7"),
    ],
    "03_multi_agent": [
        ({"lost": 0, "at once": 1}, "1 at once, 0% of calls lost: 49.0 s"),
        ({"at once": 3}, "3 at once, 0% of calls lost: 19.0 s"),
        ({"at once": 8}, "8 at once, 0% of calls lost: 19.0 s"),
    ],
    "04_monitoring": [
        ({"play": PRESS}, "Wed 15:00 last hour"),
        ({"stop": PRESS, "hour": 64}, "burn rate 21.5"),
        ({"hour": 106}, "Fri 10:00 last hour"),
    ],
    "05_prompting": [
        ({"next request": "another user"}, "56 of 2,328 characters begin as before"),
        ({"build_system_prompt": PRESS}, "2,268 of 2,400 characters begin as before"),
        ({"next request": "a minute later"}, "2,418 of 2,418 characters begin as before"),
    ],
    "06_response_quality": [
        ({"right, %": 30, "wrong answers": 1}, "1 wrong answer: right with 9.9%"),
        ({"wrong answers": 2}, "2 wrong answers: right with 20.6%"),
        ({"wrong answers": 5}, "5 wrong answers: right with 40.3%"),
        ({"right, %": 50, "wrong answers": 1}, "50 %, 1 wrong answer: right with 50.0%"),
        ({"right, %": 70}, "70 %, 1 wrong answer: right with 90.1%"),
    ],
    "07_prompt_caching": [
        ({"changes, %": 100}, "planned tools (1h, 100% hits) $"),
        ({"changes, %": 30, "turn grows": 500}, "turns (5m, 64% hits)"),
    ],
    "08_batching": [
        ({"calls": "60,000"}, "→ fan-out $420.00 60 min"),
        ({"deadline": "24 h"}, "→ batch"),
        ({"calls": "10", "deadline": "0.1 h"}, "→ one by one"),
    ],
}
"""What each chapter's text asks the reader to turn, in order, and what they then see."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason=f"no playwright: {INSTALL}")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=chromium(), args=list(FLAGS))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with jupyterlab(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.fixture(scope="module", params=CHAPTERS, ids=lambda chapter: chapter.stem)
def chapter(request: pytest.FixtureRequest) -> Chapter:
    found: Chapter = request.param
    return found


@pytest.fixture(scope="module")
def opened(browser: Any, address: str, chapter: Chapter) -> Iterator[Opened]:
    """The chapter after *Run All*."""
    page = browser.new_page(viewport=SIZE)
    found = Opened(page, address, chapter.path.name)
    found.run_all()
    yield found
    found.close()


def code(chapter: Chapter, tag: str = "") -> list[int]:
    """Places of the code cells, or of those with a tag."""
    cells = enumerate(chapter.cells)
    return [at for at, each in cells if each.kind == "code" and (not tag or tag in each.tags)]


def compared(chapter: Chapter, texts: list[str]) -> dict[int, str]:
    """What the cells show that show the same each time; pictures and widgets have no text."""
    loose = set(code(chapter, "nbval-ignore-output"))
    return {at: texts[at] for at in code(chapter) if at not in loose}


def test_run_all_shows_what_is_stored(chapter: Chapter, opened: Opened) -> None:
    """Every cell ran, in order; no error but the deliberate ones, and no script broke."""
    cells = opened.cells()
    assert [cells[at]["count"] for at in code(chapter)] == list(range(1, len(code(chapter)) + 1))
    failed = [
        at
        for at in code(chapter)
        if any(each["output_type"] == "error" for each in cells[at]["outputs"])
    ]
    assert set(failed) <= set(code(chapter, "raises-exception"))
    stored = [plain(cell.outputs) for cell in chapter.cells]
    assert compared(chapter, opened.texts()) == compared(chapter, stored)
    assert opened.crashes == []


def test_every_picture_is_there_and_no_dollar_became_a_formula(
    chapter: Chapter, opened: Opened
) -> None:
    """Images have a size and an alt text; `$1 … $2` in a text is money."""
    for at, stored in enumerate(chapter.cells):
        if "$" in stored.source or "<img" in stored.pages:
            cell = opened.look(at)
            assert cell.locator("mjx-container, .MathJax").count() == 0, at
            for image in cell.locator("img").all():
                assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
                assert image.get_attribute("alt")


def test_predictions_are_hidden_until_they_are_opened(chapter: Chapter, opened: Opened) -> None:
    """Each answer is folded after *Run All*, and a click shows it."""
    asked = [at for at in code(chapter) if "**Predict**" in chapter.cells[at - 1].source]
    assert len(asked) >= 3
    for at in asked:
        folded = opened.look(at).locator("details")
        inside = folded.locator("> :not(summary)").first
        assert not inside.is_visible()
        folded.locator("summary").click()
        inside.wait_for(state="visible")


def test_nothing_scrolls_sideways_in_a_narrow_window(chapter: Chapter, opened: Opened) -> None:
    """Code wraps, tables and pictures fit, at 700 pixels."""
    opened.page.set_viewport_size({"width": 700, "height": 5_000})
    opened.page.evaluate("() => jupyterapp.shell.collapseLeft()")
    wide = set()
    for at in range(0, len(chapter.cells), 8):  # only what is near the window is laid out
        opened.look(at)
        wide |= opened.too_wide()
    opened.page.set_viewport_size(SIZE)
    assert wide == set()


def test_each_cell_runs_again(chapter: Chapter, opened: Opened) -> None:
    """One by one, from the first to the last, with the same to see."""
    first = compared(chapter, opened.texts())
    for at in code(chapter):
        opened.run(at)
    assert compared(chapter, opened.texts()) == first


def test_knobs_reach_what_the_text_names(chapter: Chapter, opened: Opened) -> None:
    """By keyboard and mouse, over the values of the text."""
    for at in code(chapter, "nbval-ignore-output"):
        opened.run(at)
        for knobs, seen in KNOBS[chapter.stem]:
            for knob, value in knobs.items():
                opened.turn(at, knob, value)
            opened.wait_for(at, seen)


def test_a_guess_opens_its_answer_with_a_comment(chapter: Chapter, opened: Opened) -> None:
    """Typed in place of None; the first of the choices that the cell names."""
    at = next(at for at in code(chapter) if "guess = None" in chapter.cells[at].source)
    source = chapter.cells[at].source
    choice = re.search(r'guess = None  # [^"\d\n]*("[^"]+"|\d+)', source)
    guess = choice[1] if choice else "1"
    opened.write(at, source.replace("guess = None", f"guess = {guess}"))
    opened.run(at)
    opened.wait_for(at, "You said " + guess.strip('"'))


def test_an_exercise_is_solved(chapter: Chapter, opened: Opened) -> None:
    """The solution typed in place of the starter is graded as solved."""
    exercise = desk.exercises_of(chapter.path)[0]
    call = f'check("{exercise.name}", answer)'
    at = next(at for at in code(chapter, "exercise") if call in chapter.cells[at].source)
    assert "not yet" in opened.texts()[at]
    opened.write(at, f"{exercise.solution}\n\n{call}")
    assert "✓ solved" in opened.run(at)
    opened.wait_for(at, "✓ solved")


def prompts(chapter: Chapter) -> Iterator[tuple[int, str]]:
    """Cells with a text of some words that a recorded request holds, and the first such text."""
    recording = json.loads((NOTEBOOKS / "recordings" / f"{chapter.stem}.json").read_text("utf-8"))
    asked = "\n".join(strings([each["request"] for each in recording["exchanges"]]))
    for at in code(chapter):
        source = chapter.cells[at].source
        for node in ast.walk(ast.parse(source)):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and text in asked and text in source and " " in text.strip():
                yield at, text
                break


def strings(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


def test_an_edited_prompt_gets_a_line_and_no_traceback(chapter: Chapter, opened: Opened) -> None:
    """What differs, and the two ways on; where the request is made in that cell."""
    told = []
    for at, text in prompts(chapter):
        source = chapter.cells[at].source
        opened.write(at, source.replace(text, f"{text} Really?"))
        said = opened.run(at)
        assert "Traceback" not in said
        if "RecordingMissing" in said:
            told.append(at)
            assert said.count("\n") <= 12
        opened.write(at, source)
        opened.run(at)
    assert told

"""patterns.copy.index: what comes along with a pattern is small, and so is the package."""

from collections import defaultdict
from statistics import median

from patterns.copy.closure import ROOT, code_lines
from patterns.copy.index import patterns

NOT_TAKEN = ("fake_api", "course", "copy")
"""What runs the course, or copies the patterns."""


def test_half_of_the_patterns_are_at_most_350_lines_in_5_files() -> None:
    """Counted with all that they import; the largest, a whole chain, stays under 2,500."""
    sizes = [each.lines for each in patterns().values()]
    assert median(sizes) <= 350
    assert median(len(each.files) for each in patterns().values()) <= 5
    assert max(sizes) <= 2_500
    assert len(sizes) < 40


def test_every_chapter_has_a_pattern_of_a_page_or_two() -> None:
    """200 code lines at most, with all that comes along."""
    smallest: dict[str, list[int]] = defaultdict(list)
    for each in patterns().values():
        smallest[each.chapter].append(each.lines)
    assert all(min(sizes) <= 200 for sizes in smallest.values()), smallest


def test_the_package_stays_a_small_one() -> None:
    """The code lines of what can be taken home, over all chapters."""
    folders = [each for each in ROOT.iterdir() if each.name not in NOT_TAKEN]
    files = [file for each in folders for file in each.rglob("*.py")]
    assert sum(code_lines(file.read_text("utf-8")) for file in files) <= 15_200

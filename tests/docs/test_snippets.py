"""The runner of the pages' snippets: what it finds, what it runs, and that what fails there fails the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from snippets import blocks, run

pytestmark = pytest.mark.unit

PAGE = """# A page
```bash
echo one > a.txt
```
Then the file:
```python title="package/module.py"
TEXT = "```"
```
````markdown
```bash
exit 1
```
````
```python
from package.module import TEXT

print(TEXT + open("a.txt").read(), end="")
```
```text
shown only
```
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_blocks_are_found_in_order_with_language_title_and_line(page: Path) -> None:
    found = [(block.language, block.title, block.line) for block in blocks(page)]
    assert found == [
        ("bash", "", 2),
        ("python", "package/module.py", 6),
        ("markdown", "", 9),
        ("python", "", 14),
        ("text", "", 19),
    ]
    assert [block.text for block in blocks(page, "bash")] == ["echo one > a.txt\n"]


def test_they_run_in_one_folder(page: Path, tmp_path: Path) -> None:
    told = [(block.line, output) for block, output in run(page, tmp_path, shorten={"one": "two"})]
    assert told == [(2, ""), (6, ""), (14, "```two\n")]


def test_a_failure_names_its_line(page: Path, tmp_path: Path) -> None:
    page.write_text(PAGE.replace("echo one", "false; echo one"))
    with pytest.raises(AssertionError, match=r"page\.md:2\nfalse; echo one"):
        list(run(page, tmp_path))


def test_a_replacement_that_never_occurs_is_noticed(page: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="nothing to replace by"):
        list(run(page, tmp_path, shorten={"three": "four"}))


def test_what_cannot_run_here_is_parsed(page: Path, tmp_path: Path) -> None:
    reason = 'skip="no such machine"'
    page.write_text(f"```bash {reason}\nsrun false\n```\n```python {reason}\nimport nowhere\n```\n")
    assert [block.skip for block, _ in run(page, tmp_path)] == ["no such machine", "no such machine"]
    for broken in ("```bash {}\nif true; then\n```\n", "```python {}\ndef f(:\n```\n"):
        page.write_text(broken.format(reason))
        with pytest.raises(AssertionError, match=r"page\.md:1"):
            list(run(page, tmp_path))

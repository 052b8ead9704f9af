"""What the conformance kit tells: one result a check, and a report that knows what is missing. Loads no torch."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["passed", "failed", "skipped"]
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Result:
    """How one check of one part ended.

    Attributes:
        kind: "plugin", "datasets", "views", "encoders", "methods", "tasks" or "apps".
        part: name of the part.
        check: name of the check.
        status: passed, failed or skipped.
        seconds: that it took.
        reason: why it failed or was skipped; for a passed check a remark, e.g. on which device.
    """

    kind: str
    part: str
    check: str
    status: Status
    seconds: float
    reason: str = ""

    @property
    def case(self) -> str:
        """``"datasets/digits/samples"``."""
        return f"{self.kind}/{self.part}/{self.check}"


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one plugin.

    Attributes:
        plugin: its name.
        version: of its distribution.
        demanded: every case that the plugin's parts demand, e.g. ``"datasets/digits/samples"``.
        results: of the checks that were reached.
    """

    plugin: str
    version: str
    demanded: tuple[str, ...]
    results: tuple[Result, ...]

    @property
    def failures(self) -> list[Result]:
        """The failed results."""
        return [result for result in self.results if result.status == "failed"]

    @property
    def missing(self) -> list[str]:
        """Cases that are demanded and have no result."""
        reached = {result.case for result in self.results}
        return [case for case in self.demanded if case not in reached]

    @property
    def conforms(self) -> bool:
        """Whether nothing failed, nothing is missing, and no skip is without a reason."""
        silent = [result for result in self.results if result.status == "skipped" and not result.reason.strip()]
        return bool(self.demanded) and not (self.failures or self.missing or silent)

    def summary(self) -> str:
        """One line: how many checks were demanded, ran, failed and were skipped."""
        count = Counter(result.status for result in self.results)
        ran = count["passed"] + count["failed"]
        told = f"{len(self.demanded)} checks demanded, {ran} ran: {count['passed']} passed, {count['failed']} failed"
        told += f"; {count['skipped']} skipped with a reason"
        missing = f"; {len(self.missing)} NOT REACHED" if self.missing else ""
        return f"{self.plugin} {self.version}: {told}{missing}"

    def to_json(self) -> str:
        """The report as JSON text."""
        facts: dict[str, Any] = {"format": FORMAT, "conforms": self.conforms, **asdict(self)}
        facts["results"] = [{**row, "seconds": round(row["seconds"], 3)} for row in facts["results"]]
        return json.dumps(facts, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what `to_json` wrote."""
        facts = json.loads(text)
        results = tuple(Result(**row) for row in facts["results"])
        return cls(facts["plugin"], facts["version"], tuple(facts["demanded"]), results)
